//! The recipes of the checkout, and what is said of faulty ones.
//!
//! Each folder `tests/recipes/<case>/` is a case: its `recipes/` is read as a catalog, and the error must be
//! `error.txt` to the letter. `ERYX_BLESS=1 cargo test --test recipes` rewrites the expectations, and the table
//! of keys in `recipes/README.md`; look at the difference before you commit it.

use std::fs;
use std::path::{Path, PathBuf};

use eryx_build::name::PackageName;
use eryx_build::recipe::{Backend, Catalog, Kind, schema};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn bless() -> bool {
    std::env::var_os("ERYX_BLESS").is_some_and(|value| value == "1")
}

fn assert_golden(path: &Path, found: &str) {
    if bless() {
        fs::write(path, found).unwrap();
    } else {
        let expected = fs::read_to_string(path).unwrap_or_default();
        assert_eq!(found, expected, "{}: run with ERYX_BLESS=1 to accept", path.display());
    }
}

#[test]
fn errors_are_golden() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes");
    let mut folders = fs::read_dir(&cases).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    folders.sort();
    assert!(folders.len() >= 10, "there are cases in {}", cases.display());
    for folder in folders {
        let Err(error) = Catalog::load(&folder.join("recipes")) else {
            panic!("{} has no error", folder.display());
        };
        let found = error.render().replace(&format!("{}/", folder.display()), "");
        assert_golden(&folder.join("error.txt"), &found);
    }
}

#[test]
fn the_recipes_of_the_checkout_are_sound() {
    let catalog = Catalog::load(&checkout().join("recipes")).unwrap_or_else(|error| panic!("{error}"));
    let kinds = catalog.iter().map(|recipe| recipe.kind).collect::<Vec<_>>();
    for kind in [Kind::Extension, Kind::Pure, Kind::Library, Kind::Interpreter] {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
    assert!(matches!(catalog.interpreter().unwrap().build.backend, Backend::Cpython { .. }));
    for recipe in catalog.iter().filter(|recipe| recipe.kind != Kind::Library) {
        assert!(recipe.smoke.is_some(), "`{}` is tried by nothing", recipe.name);
    }
    let numpy = catalog.get(&PackageName::new("NumPy").unwrap()).unwrap();
    assert_eq!(numpy.version.to_string(), "2.5.5");
    assert_eq!(catalog.nearest("numpi").map(PackageName::as_str), Some("numpy"));
    let core = catalog.get(&PackageName::new("pydantic_core").unwrap()).unwrap();
    let Backend::CargoPyo3(cargo) = &core.build.backend else { panic!("{:?}", core.build) };
    assert_eq!((cargo.manifest.as_str(), cargo.lib.as_str()), ("Cargo.toml", "_pydantic_core"));
}

#[test]
fn the_build_key_holds_what_changes_the_result() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    let key = |patch: &str, edit: &dyn Fn(String) -> String| {
        fs::write(folder.path().join("a/0001-fix.patch"), patch).unwrap();
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let text = format!(
            "[package]\nname = \"a\"\nversion = \"1.0\"\nkind = \"extension\"\nimports = [\"a\"]\n\
             license = {{ spdx = \"MIT\", files = [\"LICENSE\"] }}\n\
             [[source]]\npypi = \"a-1.0.tar.gz\"\nsha256 = \"{digest}\"\nsize = 1\n\
             [[patch]]\nfile = \"0001-fix.patch\"\nreason = \"r\"\nupstream = \"u\"\ndrop = \"d\"\n\
             [build]\nbackend = \"setuptools\"\ncflags = [\"-O2\"]\n\
             [requires]\nbuild = [\"setuptools==84.2.1\"]\nrun = [\"b\"]\n[check]\nsmoke = \"import a\"\n"
        );
        fs::write(folder.path().join("a/recipe.toml"), edit(text)).unwrap();
        let catalog = Catalog::load(folder.path()).unwrap_or_else(|error| panic!("{error}"));
        serde_json::to_string(&catalog.get(&PackageName::new("a").unwrap()).unwrap().build_key()).unwrap()
    };
    let same = |text: String| text;
    let base = key("p", &same);
    assert_eq!(base, key("p", &same));
    for (from, to) in [
        ("\"r\"", "\"because\""),
        ("import a", "import b"),
        ("run = [\"b\"]", "run = []"),
        ("\"MIT\"", "\"ISC\""),
    ] {
        assert_eq!(base, key("p", &|text| text.replace(from, to)), "{from}");
    }
    assert_ne!(base, key("q", &same), "the content of a patch");
    for (from, to) in
        [("-O2", "-O1"), ("84.2.1", "84.2.2"), ("size = 1", "size = 1\nstrip = 0"), ("ba7", "bb7")]
    {
        assert_ne!(base, key("p", &|text| text.replace(from, to)), "{from}");
    }
}

#[test]
fn the_readme_lists_every_key() {
    const BEGIN: &str = "<!-- keys: made from the schema, see build/tests/recipes.rs -->\n";
    const END: &str = "<!-- end of keys -->\n";
    let path = checkout().join("recipes/README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    assert_golden(&path, &format!("{before}{BEGIN}{}{END}{after}", schema::markdown()));
}

#[test]
fn the_readme_shows_a_recipe_that_parses() {
    let text = fs::read_to_string(checkout().join("recipes/README.md")).unwrap();
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let (recipe, _) = rest.split_once("```\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("kiwisolver")).unwrap();
    fs::write(folder.path().join("kiwisolver/recipe.toml"), recipe).unwrap();
    fs::write(folder.path().join("kiwisolver/0001-callback-arity.patch"), "").unwrap();
    Catalog::load(folder.path()).unwrap_or_else(|error| panic!("{error}"));
}
