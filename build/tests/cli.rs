//! The command line: what every verb prints, to the letter, and its status, where nothing need be built.
//!
//! Each test has a directory of its own with a copy of the checkout, which is shown as `<dir>`.
//! `ERYX_BLESS=1 cargo test --test cli` rewrites the expectations in `tests/cli/`.

mod checkout;
mod wheels;

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use tempfile::TempDir;

struct Place {
    dir: TempDir,
}

struct Answer {
    stdout: String,
    stderr: String,
    status: i32,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With a copy of everything that a plan is made from, and no lock file.
    fn with_checkout() -> Self {
        let place = Self::new();
        checkout::copy(&place.path("checkout"));
        place
    }

    /// With the lock file, too, so that nobody need be asked for a plan.
    fn locked() -> Self {
        let place = Self::new();
        checkout::copy_locked(&place.path("checkout"));
        place
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn write(&self, file: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(file), content).unwrap();
    }

    /// Runs the binary in the directory with a cache of its own and an environment that has nothing else.
    fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with(&[], arguments)
    }

    /// With more in the environment.
    fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("ERYX_CACHE", self.path("cache"));
        command.envs(variables.iter().copied());
        if self.path("checkout").is_dir() {
            command.env("ERYX_CHECKOUT", self.path("checkout"));
        }
        let output = command.output().unwrap();
        let text = |bytes: Vec<u8>| {
            String::from_utf8(bytes).unwrap().replace(&self.dir.path().display().to_string(), "<dir>")
        };
        Answer {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            status: output.status.code().unwrap(),
        }
    }

    /// Writes a pure wheel with one module.
    fn wheel(&self, folder: &str, name: &str, version: &str, requires: &[&str]) -> PathBuf {
        let requires: String = requires.iter().map(|one| format!("Requires-Dist: {one}\n")).collect();
        wheels::write(&self.path(folder), name, version, &requires, &[(&format!("{name}.py"), b"x = 1\n")])
    }

    /// Leaves in the lock file what recipes and the sysroot are built with.
    fn keep_only_tools(&self) {
        let mut pins = include_str!("../src/plan.rs").to_owned();
        for recipe in fs::read_dir(self.path("checkout/recipes")).unwrap() {
            pins += &fs::read_to_string(recipe.unwrap().path().join("recipe.toml")).unwrap_or_default();
        }
        let text = self.lock();
        let is_tool = |entry: &&str| {
            let name = entry.split("name = \"").nth(1).and_then(|rest| rest.split('"').next());
            name.is_none_or(|name| pins.contains(&format!("\"{name}==")))
        };
        let kept: Vec<_> = text.split("[[wheel]]").filter(is_tool).collect();
        self.write("checkout/eryx.lock", kept.join("[[wheel]]"));
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.path("checkout/eryx.lock")).unwrap()
    }

    #[track_caller]
    fn expect(&self, arguments: &[&str], status: i32, stdout: &str, stderr: &str) {
        let answer = self.run(arguments);
        assert_eq!(answer.stderr, stderr, "standard error of {arguments:?}");
        assert_eq!(answer.stdout, stdout, "standard output of {arguments:?}");
        assert_eq!(answer.status, status, "status of {arguments:?}");
    }
}

fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli").join(name);
    if std::env::var_os("ERYX_BLESS").is_some_and(|value| value == "1") {
        fs::write(path, found).unwrap();
    } else {
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{}: run with ERYX_BLESS=1 to accept", path.display());
    }
}

const NO_CHECKOUT: &str = "\
error: expected `recipes` and `sysroot` in `<dir>` or above it
hint: run inside a checkout of eryx-wasm-runtime, or set `ERYX_CHECKOUT` to one
";
const GRANT_HINT: &str = "hint: a grant is written `HOST`, `HOST:ro`, `HOST::GUEST` or `HOST::GUEST:ro`, such as `./data::/data:ro`\n";

#[test]
fn the_version_is_the_package_s() {
    let version = format!("eryx-build {}\n", env!("CARGO_PKG_VERSION"));
    Place::new().expect(&["--version"], 0, &version, "");
}

#[test]
fn help_is_golden() {
    let place = Place::new();
    let mut text = String::new();
    for verb in [None, Some("bundle"), Some("lock"), Some("run"), Some("check"), Some("shell")] {
        let arguments: Vec<&str> = verb.into_iter().chain(["--help"]).collect();
        let answer = place.run(&arguments);
        assert_eq!((answer.status, answer.stderr.as_str()), (0, ""), "{arguments:?}");
        text.push_str(&format!("$ eryx-build {}\n{}\n", arguments.join(" "), answer.stdout));
    }
    assert_golden("help.txt", &text);
}

#[test]
fn an_unknown_verb_is_refused() {
    let expected = "\
error: unrecognized subcommand 'frob'

Usage: eryx-build <COMMAND>

For more information, try '--help'.
";
    Place::new().expect(&["frob"], 2, "", expected);
}

#[test]
fn options_of_python_are_known() {
    let usage = "hint: after the component come `[-iuO] [-W FILTER] [-X OPTION] [-c CODE | -m MODULE | SCRIPT | -] [ARGUMENT …]`\n";
    let unknown = |option| format!("error: unknown option `{option}`\n{usage}");
    Place::new().expect(&["run", "x.wasm", "-z"], 2, "", &unknown("-z"));
    Place::new().expect(&["run", "x.wasm", "-u", "--nope"], 2, "", &unknown("--nope"));
    Place::new().expect(&["run", "x.wasm", "-c"], 2, "", "error: expected a value after the option `-c`\n");
}

#[test]
fn recipes_are_golden() {
    let answer = Place::with_checkout().run(&["recipes"]);
    assert_eq!((answer.status, answer.stderr.as_str()), (0, ""));
    assert_golden("recipes.txt", &answer.stdout);
}

#[test]
fn what_a_change_of_recipes_affects_is_listed() {
    let place = Place::with_checkout();
    let affected = |names: &[&str]| {
        let answer = place.run(&[&["recipes", "--affected-by"], names].concat());
        assert_eq!(answer.status, 0, "{names:?}");
        answer.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(affected(&["numpy", "not-any-more"]), ["numpy", "pandas"]);
    let said = place.run(&["recipes", "--affected-by", "numpy", "not-any-more", "nunpy"]).stderr;
    let expected = "warning: there is no recipe `not-any-more`\nwarning: there is no recipe `nunpy`; did you mean `numpy`?\n";
    assert_eq!(said, expected);
    assert!(affected(&["pydantic-core"]).contains(&"pydantic".to_owned()));
    // zlib is in the interpreter, and that in everything.
    let all = affected(&["zlib"]);
    assert_eq!(all, affected(&["cpython"]));
    assert!(all.contains(&"numpy".to_owned()) && !all.contains(&"zlib".to_owned()), "{all:?}");
}

#[test]
fn a_checkout_is_needed_to_build() {
    let place = Place::new();
    for verb in [
        &["bundle"][..],
        &["plan", "numpy"],
        &["why"],
        &["fetch"],
        &["vendor", "x"],
        &["recipes"],
        &["clean"],
        &["gc"],
        &["shell", "libc"],
    ] {
        place.expect(verb, 1, "", NO_CHECKOUT);
    }
    assert!(!place.path("cache").exists(), "nothing was made");
}

#[test]
fn a_checkout_is_found_from_below() {
    let place = Place::new();
    for folder in ["recipes", "sysroot", "a/b"] {
        fs::create_dir_all(place.path(folder)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    let output = command
        .arg("recipes")
        .current_dir(place.path("a/b"))
        .env_remove("ERYX_CHECKOUT")
        .env("ERYX_CACHE", place.path("cache"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!stderr.contains("expected `recipes` and `sysroot`"), "{stderr}");
}

#[test]
fn a_cache_is_needed() {
    let place = Place::with_checkout();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    let output = command
        .args(["plan", "--offline"])
        .current_dir(place.dir.path())
        .env_clear()
        .env("ERYX_CHECKOUT", place.path("checkout"))
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "error: no cache directory\nhint: set `ERYX_CACHE` to a directory\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_package_that_nobody_knows_is_refused_offline() {
    let expected = "\
error: cannot look up a package on pip's index: offline
  `numpi`: similar recipes: `numpy`
hint: run the same command without `--offline` once; what it finds is kept in the lock file
";
    let place = Place::with_checkout();
    place.expect(&["plan", "numpi", "--offline"], 1, "", expected);
    place.expect(&["bundle", "numpi", "--offline"], 1, "", expected);
    assert!(!place.path("checkout/eryx.lock").exists(), "nothing was chosen");
    assert!(!place.path("checkout/dist").exists(), "nothing was made");
}

#[test]
fn names_that_are_no_requirements_are_told_together() {
    let place = Place::with_checkout();
    let answer = place.run(&["plan", "--offline", "num py", "pydantic", "=="]);
    assert_eq!((answer.status, answer.stdout.as_str()), (1, ""));
    assert_golden("requirements.txt", &answer.stderr);
}

#[test]
fn offline_all_missing_files_are_named() {
    let place = Place::locked();
    let answer = place.run(&["bundle", "--offline", "--jobs", "1"]);
    assert_eq!((answer.status, answer.stdout.as_str()), (1, ""));
    let lines: Vec<_> = answer.stderr.lines().collect();
    let [first, files @ .., hint] = lines.as_slice() else { panic!("{}", answer.stderr) };
    let expected =
        format!("error: {} files are not in the store, and offline forbids fetching them", files.len());
    assert_eq!(*first, expected);
    for part in ["  `cmake-", "  `python3.14_", "  `zlib_"] {
        assert!(files.iter().any(|file| file.starts_with(part)), "`{part}` in {files:?}");
    }
    assert_eq!(*hint, "hint: run `eryx-build fetch` with the network first");
    assert!(!place.path("checkout/dist").exists(), "nothing was made");
}

#[test]
fn a_component_that_is_not_there_is_named() {
    let place = Place::new();
    let missing = "error: cannot read the component `none.wasm`: no such file or directory (os error 2)\n";
    place.expect(&["run", "none.wasm", "-c", "pass"], 2, "", missing);
    place.expect(&["check", "none.wasm"], 1, "", missing);
}

#[test]
fn code_that_is_not_there_is_named() {
    let place = Place::new();
    let missing = "error: cannot read `none.py`: no such file or directory (os error 2)\n";
    place.expect(&["run", "none.wasm", "none.py"], 2, "", missing);
}

#[test]
fn what_is_no_component_is_refused() {
    let place = Place::new();
    place.write("text.wasm", "print(1)");
    place.write("module.wasm", b"\0asm\x01\0\0\0");
    let text = "error: `text.wasm` is not a component\n";
    let module = "error: `module.wasm` is not a component\n  it is a core module\n";
    place.expect(&["check", "text.wasm"], 1, "", text);
    place.expect(&["check", "module.wasm"], 1, "", module);
    place.expect(&["run", "text.wasm", "-c", "pass"], 2, "", text);
    place.expect(&["run", "module.wasm", "-c", "pass"], 2, "", module);
}

#[test]
fn a_component_of_another_world_is_refused() {
    let place = Place::new();
    place.write("other.wasm", wat::parse_str("(component)").unwrap());
    let answer = place.run(&["run", "other.wasm", "-c", "pass"]);
    assert_eq!((answer.status, answer.stdout.as_str()), (2, ""));
    assert!(answer.stderr.starts_with("error: cannot start `other.wasm`: "), "{}", answer.stderr);
    let answer = place.run(&["check", "other.wasm"]);
    assert_eq!(answer.status, 1);
    assert!(answer.stderr.contains(" in `other.wasm`\n"), "{}", answer.stderr);
}

#[test]
fn options_of_run_are_read_before_anything_else() {
    let place = Place::new();
    let with = |more: [&'static str; 2]| {
        ["run"].into_iter().chain(more).chain(["none.wasm", "-c", "pass"]).collect::<Vec<_>>()
    };
    place.expect(
        &with(["--dir", "bad:x"]),
        2,
        "",
        &format!("error: expected `::` in the grant `bad:x`\n{GRANT_HINT}"),
    );
    let hint = "hint: `--env ERYX_NOT_THERE=VALUE` sets it";
    let expected = format!(
        "error: cannot pass on the variable `ERYX_NOT_THERE`: environment variable not found\n{hint}\n"
    );
    place.expect(&with(["--env", "ERYX_NOT_THERE"]), 2, "", &expected);
    place.expect(&with(["--env", "=x"]), 2, "", "error: expected `NAME=VALUE` but found `=x`\n");
    let hint = "hint: write seconds such as `30` or `1.5`, or use a unit: `200ms`, `30s`, `2m`, `1h`";
    let expected = format!("error: expected a duration but found `soon`\n{hint}\n");
    place.expect(&with(["--timeout", "soon"]), 2, "", &expected);
    let hint = "hint: write bytes such as `268435456`, or use a unit: `512K`, `256M`, `1.5G`";
    let expected = format!("error: expected a size but found `much`\n{hint}\n");
    place.expect(&with(["--max-memory", "much"]), 2, "", &expected);
}

#[test]
fn a_world_that_is_not_there_is_refused() {
    let expected = "\
error: there is no world `../sandbox`
hint: worlds are `command`, `eryx-0.14`, `sandbox`
";
    Place::locked().expect(&["plan", "--offline", "--world", "../sandbox"], 1, "", expected);
}

#[test]
fn what_differs_is_named() {
    let place = Place::new();
    let write = |stem: &str, module: &str, input: &str| {
        let bytes = wat::parse_str(format!("(component (core module {module}))")).unwrap();
        let sha256 = eryx_build::digest::Digest::of(&bytes);
        let manifest = serde_json::json!({
            "names": "numpy", "world": "sandbox", "sha256": sha256, "size": bytes.len(), "files": 1,
            "libraries": { "libc.so": 10 },
            "inputs": [
                { "file": "a.whl", "sha256": sha256, "steps": ["tools x"] },
                { "file": input, "sha256": "0".repeat(64), "steps": ["libc"] },
            ],
            "crates": [], "checks": [],
        });
        place.write(&format!("{stem}.wasm"), bytes);
        place.write(&format!("{stem}.json"), manifest.to_string());
    };
    write("one", "(func nop)", "b.tar");
    write("same", "(func nop)", "b.tar");
    write("other", "(func nop) (func unreachable)", "c.tar");
    place.expect(&["diff", "one.wasm", "same.wasm"], 0, "", "");
    place.expect(&["diff", "one.json", "same.json"], 0, "", "");
    let manifests = place.run(&["diff", "one.json", "other.json"]);
    let lines: Vec<_> = manifests.stdout.lines().collect();
    assert!(lines[0].starts_with("input `a.whl`: sha256 ") && lines[0].contains(" became "), "{lines:?}");
    assert_eq!(lines[1..3], ["input `b.tar`: went away", "input `c.tar`: is new"]);
    assert!(lines[3].starts_with("size: ") && lines[4].starts_with("sha256: "), "{lines:?}");
    assert_eq!((lines.len(), manifests.status), (5, 1));
    let components = place.run(&["diff", "one.wasm", "other.wasm"]);
    let last = components.stdout.lines().last().unwrap();
    assert!(
        last.starts_with("bytes: first at byte 0x")
            && last.contains(", in the function section of core module 0; "),
        "{last}"
    );

    let error = "error: expected a component or a manifest but found something else in `text`\n";
    place.write("text", "{}");
    place.expect(&["diff", "one.wasm", "text"], 2, "", error);
    fs::remove_file(place.path("one.json")).unwrap();
    let error = "error: cannot compare a component without a manifest to a manifest\n";
    place.expect(&["diff", "one.wasm", "other.json"], 2, "", error);
}

#[test]
fn an_empty_cache_can_be_cleaned() {
    let place = Place::with_checkout();
    place.expect(&["clean"], 0, "freed 0 B\n", "");
    place.expect(&["clean"], 0, "freed 0 B\n", "");
    let nothing = "removed 0 records, 0 trees and 0 files\nremoved 0 B, and 0 B stay in the store\n";
    place.expect(&["gc"], 0, nothing, "");
    place.expect(&["gc", "--dry-run"], 0, &nothing.replace("removed", "would remove"), "");
}

#[test]
fn clean_removes_what_is_in_the_cache_and_nothing_else() {
    let place = Place::with_checkout();
    for folder in ["work/libc-0", "log", "compiled", "mine"] {
        fs::create_dir_all(place.path("cache").join(folder)).unwrap();
    }
    place.expect(&["clean"], 0, "freed 0 B\n", "");
    for folder in ["work", "log", "compiled"] {
        assert!(!place.path("cache").join(folder).exists(), "{folder}");
    }
    assert!(place.path("cache/mine").is_dir());
}

#[test]
fn a_step_that_never_failed_has_no_directory() {
    let expected = "\
error: expected a kept work directory of step `library zlib` but found none
hint: only a step that failed keeps its work directory; `eryx-build plan` shows the names of steps
";
    Place::with_checkout().expect(&["shell", "library zlib"], 1, "", expected);
}

#[test]
fn a_shell_stands_where_the_step_failed() {
    let place = Place::with_checkout();
    let folder = place.path("cache/work/library-zlib-0123456789ab");
    fs::create_dir_all(&folder).unwrap();
    let failed = r#"{"command": "make 'a b'", "cwd": "/there", "env": {"CC": "the compiler"}}"#;
    fs::write(folder.join("failed-command.json"), failed).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.args(["shell", "library zlib"]).env("ERYX_CACHE", place.path("cache"));
    command.env("ERYX_CHECKOUT", place.path("checkout")).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).env("HOME", "/elsewhere");
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"pwd; echo $CC$HOME; exit 7\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let expected = format!("{}\nthe compiler\n", folder.canonicalize().unwrap().display());
    assert_eq!(stdout, expected);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "this command failed in `/there`:\nmake 'a b'\n");
    assert_eq!(output.status.code(), Some(7), "the shell's own status");
}

#[test]
fn a_plan_says_what_is_missing() {
    let place = Place::locked();
    let answer = place.run(&["plan", "--offline"]);
    assert_eq!((answer.status, answer.stderr.as_str()), (0, ""));
    let first = answer.stdout.lines().next().unwrap_or_default();
    assert_eq!(first.split_whitespace().collect::<Vec<_>>(), ["toolchain", "missing"]);
    let last: Vec<_> = answer.stdout.lines().rev().take(2).collect();
    assert_eq!(
        last[0].split_whitespace().collect::<Vec<_>>().join(" "),
        "check python after component python"
    );
    assert!(last[1].starts_with("component python  after cpython, "), "{last:?}");
}

/// Runs the binary with its standard output going elsewhere; its status, and what it says on standard error.
fn run_into(place: &Place, arguments: &[&str], output: Stdio) -> (ExitStatus, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.args(arguments).stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("ERYX_CACHE", place.path("cache"));
    command.env("ERYX_CHECKOUT", place.path("checkout"));
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    (output.status, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn nobody_reads_what_is_printed() {
    let place = Place::locked();
    for verb in ["recipes", "plan", "why"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let (status, said) = run_into(&place, &[verb], writer.into());
        assert_eq!((status.signal(), said.as_str()), (Some(13), ""), "{verb}");
    }
}

#[test]
fn what_is_printed_does_not_fit() {
    let place = Place::locked();
    for verb in ["recipes", "plan", "why"] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let (status, said) = run_into(&place, &[verb], full.into());
        assert_eq!(status.code(), Some(1), "{verb}");
        assert_eq!(said, "error: cannot write to standard output: no space left on device (os error 28)\n");
    }
}

#[test]
fn a_cache_that_build_systems_do_not_take_is_refused_at_once() {
    for (name, letter) in
        [("a b", " "), ("it's", "\\'"), ("a$HOME", "$"), ("a;b", ";"), ("a\"b", "\\\""), ("a\nb", "\\n")]
    {
        let place = Place::locked();
        let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
        command.arg("plan").env_clear().env("PATH", "/usr/bin:/bin").env("ERYX_CACHE", place.path(name));
        let output = command.env("ERYX_CHECKOUT", place.path("checkout")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("it has the character `{letter}`")), "{said}");
        assert!(said.contains("\nhint: set `ERYX_CACHE` to a directory whose path has letters"), "{said}");
        assert!(!place.path(name).exists());
    }
}

#[test]
fn a_checkout_may_have_any_path() {
    let place = Place::new();
    let folder = place.path("it's a \"checkout\"");
    checkout::copy_locked(&folder);
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    command.arg("plan").env_clear().env("PATH", "/usr/bin:/bin").env("ERYX_CACHE", place.path("cache"));
    let output = command.env("ERYX_CHECKOUT", &folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_registry_that_does_not_answer_is_noticed_before_the_build() {
    let place = Place::locked();
    let answer = place.run(&["publish", "127.0.0.1:9/x:1"]);
    assert_eq!((answer.status, answer.stdout.as_str()), (1, ""));
    assert!(answer.stderr.contains("connection refused"), "{}", answer.stderr);
    assert!(!answer.stderr.contains("start "), "{}", answer.stderr);
}

/// A remote cache is never needed, whatever keeps its credentials away.
#[test]
fn a_missing_credential_helper_is_a_warning() {
    let place = Place::locked();
    fs::create_dir(place.path("docker")).unwrap();
    for (config, why) in [
        (r#"{"credsStore": "none-such"}"#, "cannot run `docker-credential-none-such`"),
        (r#"{"credsStore": "../../bin/sh"}"#, "expected a credential helper but found `../../bin/sh`"),
        ("{", "malformed in line 1"),
    ] {
        place.write("docker/config.json", config);
        let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
        command.args(["plan", "--remote", "127.0.0.1:9/cache"]).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("ERYX_CACHE", place.path("cache")).env("ERYX_CHECKOUT", place.path("checkout"));
        let output = command.env("DOCKER_CONFIG", place.path("docker")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        assert!(said.contains("going on without the remote cache `127.0.0.1:9/cache`: "), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

const STAYS: &str = "the lock file stays as it is\n";

#[test]
fn only_some_verbs_write_the_lock_file() {
    let place = Place::locked();
    let before = place.lock();
    place.wheel("links", "x", "1", &["y>=1"]);
    place.wheel("links", "y", "1", &[]);
    let links = ["--offline", "--find-links", "links"];
    let with = |arguments: &[&'static str]| [arguments, &links].concat();
    for verb in ["plan", "why"] {
        let answer = place.run(&with(&[verb, "x"]));
        assert_eq!((answer.status, answer.stderr.as_str()), (0, ""), "{verb}");
        assert!(answer.stdout.contains("wheel x"), "{}", answer.stdout);
        assert_eq!(place.lock(), before, "{verb}");
    }
    let would = "\
error: `<dir>/checkout/eryx.lock` would change
  `x-1-py3-none-any.whl` is new
  `y-1-py3-none-any.whl` is new
hint: `eryx-build lock` with the same packages writes it
";
    for verb in ["plan", "bundle", "fetch", "lock"] {
        place.expect(&with(&[verb, "x", "--locked"]), 1, "", would);
        assert_eq!(place.lock(), before, "{verb}");
    }
    let new = "`x-1-py3-none-any.whl` is new\n`y-1-py3-none-any.whl` is new\n";
    place.expect(&with(&["lock", "x"]), 0, new, "");
    place.expect(&with(&["lock", "x", "--locked"]), 0, STAYS, "");
    assert_eq!(place.run(&["plan", "x", "--locked", "--offline"]).status, 0);
}

#[test]
fn upgrades_change_the_lock_file_for_what_is_named() {
    let place = Place::locked();
    let links = ["--offline", "--find-links", "links"];
    let lock = |arguments: &[&'static str]| [&["lock"][..], &links, arguments].concat();
    place.wheel("links", "x", "1", &["y>=1"]);
    place.wheel("links", "y", "1", &[]);
    let new = "`x-1-py3-none-any.whl` is new\n`y-1-py3-none-any.whl` is new\n";
    place.expect(&lock(&["x"]), 0, new, "");
    place.wheel("links", "x", "2", &["y>=1"]);
    place.wheel("links", "y", "2", &[]);
    let moved =
        |name: &str| format!("`{name}-1-py3-none-any.whl` goes away\n`{name}-2-py3-none-any.whl` is new\n");
    place.expect(&lock(&["x"]), 0, STAYS, "");
    place.expect(&lock(&["x", "--upgrade", "y"]), 0, &moved("y"), "");
    place.expect(&lock(&["--upgrade", "x"]), 0, &moved("x"), "");
    place.wheel("links", "y", "3", &[]);
    let expected = "`y-2-py3-none-any.whl` goes away\n`y-3-py3-none-any.whl` is new\n";
    place.expect(&lock(&["x", "--upgrade"]), 0, expected, "");
    let expected = "error: some packages have the version of their recipe\n  `numpy`\n";
    place.expect(&lock(&["--upgrade", "numpy"]), 1, "", expected);
    place.wheel("links", "z", "1", &[]);
    let expected = "error: some packages are not among those that are resolved\n  `z`\n";
    place.expect(&lock(&["x", "--upgrade", "z"]), 1, "", expected);
}

#[test]
fn an_upgrade_of_everything_keeps_components_apart() {
    let place = Place::locked();
    place.keep_only_tools();
    let tools = place.lock().matches("[[wheel]]").count();
    let lock = ["lock", "--offline", "--find-links", "links"];
    place.wheel("links", "x", "1", &["y>=1"]);
    place.wheel("links", "w", "1", &["y<3"]);
    place.wheel("links", "y", "1", &[]);
    for name in ["x", "w"] {
        assert_eq!(place.run(&[&lock[..], &[name]].concat()).status, 0, "{name}");
    }
    place.wheel("links", "x", "2", &["y>=1"]);
    place.wheel("links", "y", "2", &[]);
    place.wheel("links", "y", "4", &[]);
    // Each has its newest release, though they share a package that one of them wants old.
    let expected = "\
`x-1-py3-none-any.whl` goes away
`x-2-py3-none-any.whl` is new
`y-1-py3-none-any.whl` goes away
`y-2-py3-none-any.whl` is new
`y-4-py3-none-any.whl` is new
";
    place.expect(&[&lock[..], &["--upgrade"]].concat(), 0, expected, "");
    assert_eq!(place.lock().matches("[[wheel]]").count(), tools + 4, "no tool is touched");
}

#[test]
fn wheels_can_be_given_as_files() {
    let place = Place::locked();
    place.wheel("links", "y", "1", &[]);
    // A name of a person may be in any encoding.
    let metadata = "Author: J\u{f6}rg\nRequires-Dist: y; extra == 'more'\n";
    let wheel = wheels::write(&place.path("one"), "x", "1", metadata, &[("x.py", b"x = 1\n")]);
    let more = ["--offline", "--find-links", "links"];
    let run = |arguments: &[&str]| place.run(&[arguments, &more].concat());
    let answer = run(&["plan", "one/x-1-py3-none-any.whl[more]"]);
    assert_eq!((answer.status, answer.stderr.as_str()), (0, ""));
    assert!(answer.stdout.contains("wheel x") && answer.stdout.contains("wheel y"), "{}", answer.stdout);
    assert!(answer.stdout.contains("component x "), "{}", answer.stdout);
    assert_eq!(run(&["lock", "./one/x-1-py3-none-any.whl"]).stdout, "`x-1-py3-none-any.whl` is new\n");
    let lock = place.lock();
    assert!(lock.contains("local = true") && !lock.contains("one/"), "{lock}");
    // Elsewhere the same bytes are the same wheel; other bytes are another one; its name alone is not enough.
    fs::create_dir(place.path("two")).unwrap();
    fs::rename(&wheel, place.path("two/x-1-py3-none-any.whl")).unwrap();
    assert_eq!(run(&["lock", "two/x-1-py3-none-any.whl", "--locked"]).stdout, STAYS);
    place.wheel("two", "x", "1", &["y"]);
    let answer = run(&["plan", "two/x-1-py3-none-any.whl", "--locked"]);
    assert!(answer.stderr.contains("\n  `x-1-py3-none-any.whl` changes\n"), "{}", answer.stderr);
    let answer = run(&["plan", "x"]);
    assert!(
        answer.stderr.starts_with("error: cannot look up a package on pip's index: offline\n  `x`\n"),
        "{}",
        answer.stderr
    );
}

#[test]
fn what_is_no_wheel_for_a_component_is_refused() {
    let place = Place::locked();
    let wheel = place.wheel("w", "x", "1", &[]);
    for name in ["x-1-cp314-cp314-manylinux_2_17_x86_64.whl", "x-2-py3-none-any.whl", "x.whl", "y-1.tar.gz"] {
        fs::copy(&wheel, place.path("w").join(name)).unwrap();
    }
    place.write("w/z-1-py3-none-any.whl", "no archive");
    let arguments = [
        "plan",
        "--offline",
        "./w",
        "w/none-1-py3-none-any.whl",
        "w/x-1-cp314-cp314-manylinux_2_17_x86_64.whl",
        "w/x-2-py3-none-any.whl",
        "w/x.whl",
        "w/y-1.tar.gz",
        "w/z-1-py3-none-any.whl",
    ];
    let answer = place.run(&arguments);
    assert_eq!((answer.status, answer.stdout.as_str()), (1, ""));
    assert_golden("wheels.txt", &answer.stderr);
}

#[test]
fn pip_may_be_configured_for_folders() {
    let place = Place::locked();
    place.wheel("files", "x", "1", &["y"]);
    place.wheel("links", "y", "1", &[]);
    fs::create_dir_all(place.path("simple/x")).unwrap();
    let page = "<a href=\"../../files/x-1-py3-none-any.whl\">x-1-py3-none-any.whl</a>";
    place.write("simple/x/index.html", page);
    let index = format!("file://{}", place.path("simple").display());
    let links = place.path("links").display().to_string();
    let variables = [("PIP_INDEX_URL", index.as_str()), ("PIP_FIND_LINKS", links.as_str())];
    for more in [&[][..], &["--offline"]] {
        let answer = place.run_with(&variables, &[&["plan", "x"], more].concat());
        assert_eq!((answer.status, answer.stderr.as_str()), (0, ""), "{more:?}");
        assert!(answer.stdout.contains("wheel x") && answer.stdout.contains("wheel y"), "{}", answer.stdout);
    }
    let alone = [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", links.as_str())];
    assert_eq!(place.run_with(&alone, &["plan", "y"]).stderr, "");
}

#[test]
fn hints_name_the_program_as_it_is_called() {
    let place = Place::locked();
    place.wheel("links", "x", "1", &[]);
    let arguments = ["plan", "x", "--locked", "--offline", "--find-links", "links"];
    let answer = place.run_with(&[("ERYX_INVOKED_AS", "just")], &arguments);
    assert!(
        answer.stderr.ends_with("hint: `just lock` with the same packages writes it\n"),
        "{}",
        answer.stderr
    );
}

#[test]
fn long_lists_of_packages_have_short_names() {
    let place = Place::locked();
    let names: Vec<String> = (0..40).map(|number| format!("package-number-{number}")).collect();
    for name in &names {
        place.wheel("links", &name.replace('-', "_"), "1", &[]);
    }
    let mut arguments = vec!["plan", "--offline", "--find-links", "links"];
    arguments.extend(names.iter().map(String::as_str));
    let answer = place.run(&arguments);
    assert_eq!((answer.status, answer.stderr.as_str()), (0, ""));
    let last = answer.stdout.lines().last().unwrap();
    let name = last.strip_prefix("check ").and_then(|rest| rest.split_whitespace().next()).unwrap();
    assert!(name.contains("-more-") && name.len() <= 100, "{name}");
}
