//! Installing wheels: what pip installs, and wheels that try to do more than install themselves.

mod wheels;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use eryx_build::error::Result;
use eryx_build::file_name::FileName;
use eryx_build::files::files_below;
use eryx_build::install::{Scheme, install};
use sha2::{Digest as _, Sha256};
use wheels::{FILE, Wheel};

/// A folder with a wheel in it, which is installed to `out/site` and `out/prefix`.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        Self(folder)
    }

    fn install(&self, file: &str, wheel: &[u8]) -> Result<()> {
        let folder = self.0.path();
        fs::write(folder.join("wheel.whl"), wheel).unwrap();
        let scheme = Scheme {
            site: folder.join("out/lib/python3.14/site-packages"),
            prefix: folder.join("out"),
            to_prefix: "../../..",
        };
        let scratch = folder.join("scratch");
        let _ = fs::remove_dir_all(&scratch);
        install(&folder.join("wheel.whl"), &FileName::new(file)?, &scratch, &scheme)
    }

    /// What is in `out`; executable files with a star.
    fn listing(&self) -> Vec<String> {
        listing(&self.0.path().join("out"))
    }
}

fn listing(folder: &Path) -> Vec<String> {
    let star =
        |path: &Path| match fs::symlink_metadata(folder.join(path)).unwrap().permissions().mode() & 0o7111 {
            0 => "",
            0o111 => "*",
            _ => "!",
        };
    files_below(folder).unwrap().iter().map(|path| format!("{}{}", path.display(), star(path))).collect()
}

const RICH: [&str; 9] = [
    "bin/gui*",
    "bin/packed*",
    "bin/sample*",
    "bin/shell*",
    "etc/sample/settings,1.toml",
    "include/python3.14/sample/sample.h",
    "lib/python3.14/site-packages/platlib.py",
    "lib/python3.14/site-packages/purelib.py",
    "lib/python3.14/site-packages/sample/__init__.py",
];

fn rich() -> Wheel {
    Wheel::new()
        .file("sample-1.0.data/purelib/purelib.py", "")
        .file("sample-1.0.data/platlib/platlib.py", "")
        .file("sample-1.0.data/headers/sample.h", "int sample;\n")
        .file("sample-1.0.data/data/etc/sample/settings,1.toml", "a = 1\n")
        .mode("sample-1.0.data/scripts/packed", "#!python -s\nprint('packed')\n", 0o100_755)
        .mode("sample-1.0.data/scripts/shell", "#!/bin/sh\necho shell\n", 0o100_755)
        .file(
            "sample-1.0.dist-info/entry_points.txt",
            "# comment\n[console_scripts]\nsample = sample:main [extra]\n\n[other]\nx = not a function\n\
             [gui_scripts]\ngui=sample:main\n",
        )
}

#[test]
fn all_parts_of_a_wheel_are_installed_and_listed() {
    let machine = Machine::new();
    machine.install(FILE, &rich().bytes()).unwrap();
    let listing: Vec<String> =
        machine.listing().into_iter().filter(|file| !file.contains(".dist-info/")).collect();
    assert_eq!(listing, RICH);

    let site = machine.0.path().join("out/lib/python3.14/site-packages");
    let record = fs::read_to_string(site.join("sample-1.0.dist-info/RECORD")).unwrap();
    for line in record.lines() {
        let mut fields: Vec<&str> = line.rsplitn(3, ',').collect();
        fields.reverse();
        let path = site.join(fields[0].trim_matches('"'));
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if !fields[1].is_empty() {
            assert_eq!(
                fields[1],
                format!("sha256={}", URL_SAFE_NO_PAD.encode(Sha256::digest(&bytes))),
                "{line}"
            );
            assert_eq!(fields[2], bytes.len().to_string(), "{line}");
        }
    }
    assert_eq!(record.lines().count(), machine.listing().len());

    let script = fs::read_to_string(machine.0.path().join("out/bin/packed")).unwrap();
    assert_eq!(script, "#!/usr/bin/env python3\nprint('packed')\n");
    let ran = Command::new("python3")
        .arg(machine.0.path().join("out/bin/sample"))
        .env("PYTHONPATH", &site)
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "ran\n", "{}", String::from_utf8_lossy(&ran.stderr));
}

/// pip is the judge of what belongs where.
#[test]
fn pip_installs_the_same_files() {
    let machine = Machine::new();
    machine.install(FILE, &rich().bytes()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let wheel = folder.path().join(FILE);
    fs::write(&wheel, rich().bytes()).unwrap();
    let prefix = folder.path().join("prefix");
    let pip = Command::new("python3")
        .args(["-I", "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile", "--ignore-installed"])
        .args(["--quiet", "--root-user-action=ignore", "--prefix"])
        .arg(&prefix)
        .arg(&wheel)
        .output()
        .unwrap();
    assert!(pip.status.success(), "{}", String::from_utf8_lossy(&pip.stderr));
    let version = fs::read_dir(prefix.join("lib")).unwrap().next().unwrap().unwrap().file_name();
    let version = version.into_string().unwrap();
    let only = |file: &String| {
        !file.contains("/INSTALLER") && !file.contains("/REQUESTED") && !file.contains("direct_url")
    };
    // Debian's pip puts programs and modules into other folders.
    let theirs: Vec<String> = listing(&prefix)
        .into_iter()
        .filter(only)
        .map(|file| file.replace("local/", "").replace("dist-packages", "site-packages"))
        .map(|file| file.replace(&version, "python3.14").replace("include/site/", "include/"))
        .collect();
    assert_eq!(machine.listing(), theirs);
}

#[test]
fn a_wheel_is_installed_as_it_is_packed_when_it_has_modules_only() {
    let machine = Machine::new();
    let wheel = Wheel::new();
    machine.install(FILE, &wheel.bytes()).unwrap();
    let record = machine.0.path().join("out/lib/python3.14/site-packages/sample-1.0.dist-info/RECORD");
    assert_eq!(fs::read_to_string(record).unwrap(), wheel.right_record());
    // Again, as when two wheels have an equal file.
    machine.install(FILE, &wheel.bytes()).unwrap();
}

/// Each of these must be refused, for this reason, with nothing written.
fn attacks() -> Vec<(&'static str, Wheel, &'static str)> {
    let long = "x".repeat(300);
    let mut attacks = vec![
        ("absolute script", Wheel::new().scripts("/tmp/eryx-evil = sample:main"), "it has a separator"),
        ("script above", Wheel::new().scripts("../../evil = sample:main"), "it has a separator"),
        ("script of dots", Wheel::new().scripts(".. = sample:main"), "way to another folder"),
        ("script below", Wheel::new().scripts("a/b = sample:main"), "it has a separator"),
        ("script with a backslash", Wheel::new().scripts("..\\evil = sample:main"), "it has a separator"),
        ("script without a name", Wheel::new().scripts(" = sample:main"), "it is empty"),
        ("script with an escape", Wheel::new().scripts("a\u{1b}[2Jb = sample:main"), "not printed"),
        ("script turned around", Wheel::new().scripts("a\u{202e}b = sample:main"), "not printed"),
        (
            "gui script",
            Wheel::new()
                .file("sample-1.0.dist-info/entry_points.txt", "[gui_scripts]\n../evil = sample:main\n"),
            "it has a separator",
        ),
        ("code for a module", Wheel::new().scripts("x = os;import evil:main"), "expected `module:function`"),
        ("code for a function", Wheel::new().scripts("x = os:system('evil')#"), "expected `module:function`"),
        (
            "a carriage return",
            Wheel::new().scripts("x = os:system\rimport evil"),
            "expected `module:function`",
        ),
        ("no function", Wheel::new().scripts("x = sample"), "expected `module:function`"),
        ("unknown part", Wheel::new().file("sample-1.0.data/evil/x", ""), "unknown part `evil`"),
        ("a part that is a file", Wheel::new().file("sample-1.0.data/scripts", ""), "expected a folder"),
        ("another's data", Wheel::new().file("other-1.0.data/data/x", ""), "another distribution"),
        ("data above", Wheel::new().file("sample-1.0.data/data/../../../x", ""), "`..` in its path"),
        ("absolute file", Wheel::new().file("/tmp/eryx-evil", ""), "an absolute path"),
        ("file above", Wheel::new().file("../evil", ""), "`..` in its path"),
        ("backslash", Wheel::new().file("..\\evil", ""), "a backslash in its path"),
        ("line feed", Wheel::new().file("a\nb.py", ""), "not printed"),
        ("hidden mark", Wheel::new().file("a\u{200b}b.py", ""), "not printed"),
        ("link away", Wheel::new().mode("sample/link", "/etc/passwd", 0o120_777), "links lead out of it"),
        ("link inside", Wheel::new().mode("sample/link", "__init__.py", 0o120_777), "is a symbolic link"),
        (
            "changed file",
            Wheel::new()
                .record(|text| text.replace("sample/__init__.py,sha256=", "sample/__init__.py,sha256=x")),
            "expected sha256 `x",
        ),
        (
            "file not listed",
            Wheel::new().record(|text| {
                let kept = text.lines().filter(|line| !line.starts_with("sample/__init__.py,"));
                kept.map(|line| format!("{line}\n")).collect()
            }),
            "`sample/__init__.py` is not listed",
        ),
        (
            "listed and missing",
            Wheel::new().record(|text| text + "gone.py,sha256=x,1\n"),
            "`gone.py` is listed and not there",
        ),
        (
            "listed above",
            Wheel::new().record(|text| text + "../../evil.py,sha256=x,1\n"),
            "`../../evil.py` is listed and not there",
        ),
        ("listed twice", Wheel::new().record(|text| format!("{text}{text}")), "is listed twice"),
        ("weak digest", Wheel::new().record(|text| text.replace("sha256=", "md5=")), "found `md5`"),
        ("no digest", Wheel::new().record(|text| text.replace("sha256=", "")), "no digest"),
        (
            "wrong size",
            Wheel::new().record(|text| text.replace(",25\n", ",24\n")),
            "expected 24 bytes but found 25",
        ),
        ("unfinished quote", Wheel::new().record(|text| format!("\"{text}")), "is not listed"),
        (
            "another format",
            Wheel::new().file("sample-1.0.dist-info/WHEEL", "Wheel-Version: 2.0\n"),
            "expected a wheel of format 1 but found `2.0`",
        ),
        ("no format", Wheel::new().file("sample-1.0.dist-info/WHEEL", "x\n"), "expected `Wheel-Version`"),
        (
            "no `WHEEL`",
            Wheel::new().without("sample-1.0.dist-info/WHEEL"),
            "cannot read `sample-1.0.dist-info/WHEEL`",
        ),
        (
            "two distributions",
            Wheel::new().file("other-1.0.dist-info/METADATA", ""),
            "expected one folder `*.dist-info` but found 2",
        ),
    ];
    attacks.push((
        "a long script",
        Wheel::new().scripts(&format!("{long} = sample:main")),
        "longer than 255 bytes",
    ));
    attacks
}

#[test]
fn hostile_wheels_are_refused_and_write_nothing() {
    for (what, wheel, expected) in attacks() {
        let machine = Machine::new();
        let error = machine.install(FILE, &wheel.bytes()).expect_err(what).to_string();
        assert!(error.starts_with("cannot install `sample-1.0-py3-none-any.whl`"), "{what}: {error}");
        assert!(error.contains(expected), "{what}: {error}");
        assert_eq!(machine.listing(), [""; 0], "{what}");
        let mut beside: Vec<_> =
            fs::read_dir(machine.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.retain(|name| name != "scratch");
        beside.sort();
        assert_eq!(beside, ["out", "secret", "wheel.whl"], "{what}");
        assert_eq!(fs::read(machine.0.path().join("secret")).unwrap(), b"secret", "{what}");
        assert!(!Path::new("/tmp/eryx-evil").exists(), "{what}");
    }
}

#[test]
fn a_wheel_of_another_name_is_refused() {
    for file in ["other-1.0-py3-none-any.whl", "sample-2.0-py3-none-any.whl", "sample.whl"] {
        let error = Machine::new().install(file, &Wheel::new().bytes()).unwrap_err().to_string();
        assert!(error.contains("but found `sample-1.0.dist-info`"), "{file}: {error}");
    }
    for file in ["../sample-1.0-py3-none-any.whl", "/sample-1.0-py3-none-any.whl"] {
        let error = Machine::new().install(file, &Wheel::new().bytes()).unwrap_err();
        assert!(error.message().contains("it has a separator"), "{error}");
    }
}

#[test]
fn two_wheels_with_different_files_of_one_name_are_refused() {
    let machine = Machine::new();
    machine.install(FILE, &Wheel::new().bytes()).unwrap();
    let other = Wheel::new().file("sample/__init__.py", "changed = True\n");
    let error = machine.install(FILE, &other.bytes()).unwrap_err().to_string();
    assert!(error.contains("/sample/__init__.py` is already there, with other content"), "{error}");
}

#[test]
fn all_problems_of_a_list_are_reported_and_no_more_than_a_screen_of_them() {
    let mut wheel = Wheel::new();
    for number in 0..40 {
        wheel = wheel.file(&format!("m{number:02}.py"), "");
    }
    let wheel = wheel.record(|text| {
        text.lines().filter(|line| !line.starts_with('m')).map(|line| format!("{line}\n")).collect()
    });
    let error = Machine::new().install(FILE, &wheel.bytes()).unwrap_err().to_string();
    assert!(error.contains("`m00.py` is not listed") && error.contains("and 20 more"), "{error}");
    assert!(error.lines().count() <= 24, "{error}");
}
