//! What a component is called.

use super::{COMMAND_WORLD, DEFAULT_WORLD, Form};
use crate::digest::Digest;
use crate::name::PackageName;

/// The longest list of packages in the name of a file, in bytes.
const LONGEST: usize = 100;
/// Room in it for the number of the packages that are left out, and a digest of all.
const TAIL: usize = 24;

/// The packages that are named, joined by `+`, and what makes the component another program of the same packages, which
/// must not take the usual one's name.
pub(super) fn names(named: &[PackageName], world: &str, form: &Form) -> String {
    let names: Vec<_> = named.iter().map(PackageName::as_str).collect();
    let names = if names.is_empty() { "python".to_owned() } else { names.join("+") };
    let of_world = (world != DEFAULT_WORLD).then_some(world);
    let marks = [
        (form.dynamic, "dynamic"),
        (form.cold && !form.dynamic && world != COMMAND_WORLD, "cold"),
        (form.imports.is_some(), "import"),
        (form.setup.is_some(), "setup"),
        (form.debug_names, "debug"),
    ];
    let marks = marks.into_iter().filter_map(|(differs, mark)| differs.then_some(mark));
    of_world.into_iter().chain(marks).fold(names, |names, mark| format!("{names}.{mark}"))
}

/// A component's name in a length that the name of a file can have: of a long list of packages the first ones, with the
/// number of the others and a digest of all.
#[must_use]
pub fn in_file(names: &str) -> String {
    // No package has a dot in its name.
    let (packages, kind) = names.split_at(names.find('.').unwrap_or(names.len()));
    if packages.len() <= LONGEST {
        return names.to_owned();
    }
    let mut short = String::new();
    let mut left = packages.split('+').count();
    for name in packages.split('+') {
        if short.len() + name.len() + 1 > LONGEST - TAIL {
            break;
        }
        short.push_str(name);
        short.push('+');
        left -= 1;
    }
    format!("{short}{left}-more-{}{kind}", Digest::of(packages.as_bytes()).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_do_not_share_a_name() {
        let named = [PackageName::new("numpy").unwrap()];
        let usual = Form::default();
        let forms = [
            (Form { cold: true, ..usual.clone() }, "numpy.cold"),
            (Form { dynamic: true, cold: true, ..usual.clone() }, "numpy.dynamic"),
            (Form { imports: Some(Vec::new()), ..usual.clone() }, "numpy.import"),
            (Form { setup: Some(String::new()), debug_names: true, ..usual.clone() }, "numpy.setup.debug"),
        ];
        for (form, expected) in forms {
            assert_eq!(names(&named, "sandbox", &form), expected);
        }
        assert_eq!(names(&[], "sandbox", &usual), "python");
        assert_eq!(names(&named, "command", &Form { cold: true, ..usual.clone() }), "numpy.command");
    }

    #[test]
    fn long_lists_have_short_names() {
        let list = |count: usize| {
            (0..count).map(|number| format!("package-{number:02}")).collect::<Vec<_>>().join("+")
        };
        assert_eq!(in_file(&list(9)), list(9));
        assert_eq!(in_file("numpy.command"), "numpy.command");
        let short = in_file(&format!("{}.eryx-0.14", list(40)));
        let digest = Digest::of(list(40).as_bytes()).short();
        assert_eq!(short, format!("{}+34-more-{digest}.eryx-0.14", list(6)));
        assert_ne!(in_file(&list(40)), in_file(&list(41)));
        let one = in_file(&"x".repeat(300));
        assert!(one.starts_with("1-more-") && one.len() < 30, "{one}");
        assert!(in_file(&list(1000)).len() <= LONGEST);
    }
}
