//! Packages that no recipe names come from the index as wheels; the lock file keeps which.

use std::fs;

use super::{checkout, eryx_in, made, text};

#[test]
fn pure_wheels_are_bundled_and_locked() {
    let folder = tempfile::tempdir().unwrap();
    checkout::copy_locked(folder.path());
    let lock = folder.path().join("eryx.lock");
    let before = fs::read_to_string(&lock).unwrap();

    let built = eryx_in(folder.path(), &[], &["bundle", "jinja2", "attrs"]);
    assert!(built.status.success(), "{}", text(&built.stderr));
    let locked = fs::read_to_string(&lock).unwrap();
    for name in ["attrs", "jinja2"] {
        let entry = format!("name = \"{name}\"");
        assert!(locked.contains(&entry), "{locked}");
        assert!(before.contains(&entry), "`{name}` is not locked in the checkout: {before}");
    }
    // What is locked is taken again, with nobody asked.
    let again = eryx_in(folder.path(), &[], &["bundle", "jinja2", "attrs", "--offline"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(fs::read_to_string(&lock).unwrap(), locked);
    assert!(text(&again.stdout).contains(", 0 processes started\n"), "{}", text(&again.stdout));

    let dist = folder.path().join("dist");
    let manifest = fs::read_to_string(dist.join("attrs+jinja2.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let inputs = manifest["inputs"].as_array().unwrap();
    for name in ["attrs", "jinja2", "markupsafe"] {
        let input = inputs.iter().find(|input| input["name"] == name);
        let input = input.unwrap_or_else(|| panic!("`{name}` is not listed"));
        assert!(input["license"].is_string() && input["version"].is_string(), "{input}");
    }

    let code = "import attr, jinja2, markupsafe, importlib.metadata as metadata
assert metadata.version('markupsafe') == '3.0.4' and markupsafe._speedups
@attr.define
class Row:
    name: str
    size: int = attr.field(converter=int)
page = jinja2.Environment(autoescape=True).from_string('{% for r in rows %}{{ r.name }}={{ r.size }};{% endfor %}')
print(page.render(rows=[Row('a<b', '1'), Row('c', 2)]))
";
    let output = eryx_in(folder.path(), &[], &["run", "dist/attrs+jinja2.wasm", "-c", code]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(text(&output.stdout), "a&lt;b=1;c=2;\n");
}

#[test]
fn given_wheels_may_have_equal_files_and_no_others_of_one_name() {
    let folder = tempfile::tempdir().unwrap();
    checkout::copy_locked(folder.path());
    let wheels = folder.path().join("wheels");
    let shared: (&str, &[u8]) =
        ("nspace/__init__.py", b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n");
    let one = made::write(&wheels, "nspace_one", "1", "", &[shared, ("nspace/one.py", b"x = 1\n")]);
    let two = made::write(&wheels, "nspace_two", "1", "", &[shared, ("nspace/two.py", b"x = 2\n")]);
    let run = |names: &[&str]| eryx_in(folder.path(), &[], &[&["bundle", "--offline"], names].concat());
    let paths = [one.to_str().unwrap(), two.to_str().unwrap()];
    let built = run(&paths);
    assert!(built.status.success(), "{}", text(&built.stderr));
    let code = "import nspace.one, nspace.two; print(nspace.one.x + nspace.two.x)";
    let output = eryx_in(folder.path(), &[], &["run", "dist/nspace-one+nspace-two.wasm", "-c", code]);
    assert_eq!((text(&output.stdout).as_str(), text(&output.stderr).as_str()), ("3\n", ""));

    let other = made::write(&wheels, "nspace_three", "1", "", &[("nspace/__init__.py", b"")]);
    let refused = text(&run(&[paths[0], other.to_str().unwrap()]).stderr);
    let clash =
        "\n  `/usr/lib/python3.14/site-packages/nspace/__init__.py`: `nspace-one` and `nspace-three`\n";
    assert!(refused.contains(clash), "{refused}");
    let native = made::write(&wheels, "native", "1", "", &[("native/speed.so", b"\x7fELF\x02\x01\x01")]);
    let refused = text(&run(&[native.to_str().unwrap()]).stderr);
    let file = "\n  `native`: `/usr/lib/python3.14/site-packages/native/speed.so`\n";
    assert!(
        refused.contains("packages hold compiled code for other machines") && refused.contains(file),
        "{refused}"
    );
}
