//! Packages that no recipe names come from the index as wheels; the lock file keeps which.

use std::fs;

use super::{checkout, eryx_in, text};

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
