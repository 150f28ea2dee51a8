//! That results do not depend on where, when and by whom they are made.

use std::path::Path;
use std::process::{Command, Stdio};

use eryx_build::layout::Layout;
use tempfile::TempDir;

use super::{PACKAGES, STEM, checkout, component, text};

/// Steps of each kind of work that take seconds: unpacking, compiling C and Rust by each build
/// system, byte code, merging, the link.
const STEPS: [&str; 8] = [
    "tools sysroot",
    "vfs",
    "sysroot",
    "library zlib",
    "library xz",
    "wheel typing-extensions",
    "guest",
    "component numpy+pydantic",
];

/// Variables by which users configure the programs that steps run, each with a value that would change a result or
/// end the step.
const CONFIGURED: &[(&str, &str)] = &[
    ("TZ", "Asia/Kathmandu"),
    ("LC_ALL", "tr_TR.UTF-8"),
    ("LANG", "de_DE"),
    ("USER", "somebody"),
    ("SOURCE_DATE_EPOCH", "1"),
    ("SHELLOPTS", "verbose"),
    ("BASH_ENV", "/nowhere"),
    ("ENV", "/nowhere"),
    // Compilers and linkers.
    ("CC", "/bin/false"),
    ("CXX", "/bin/false"),
    ("LD", "/bin/false"),
    ("AR", "/bin/false"),
    ("CFLAGS", "-O1 -g"),
    ("CXXFLAGS", "-O1 -g"),
    ("CPPFLAGS", "-DNDEBUG=7"),
    ("LDFLAGS", "-lnothing"),
    ("CPATH", "/nowhere"),
    ("C_INCLUDE_PATH", "/nowhere"),
    ("CPLUS_INCLUDE_PATH", "/nowhere"),
    ("LIBRARY_PATH", "/nowhere"),
    ("COMPILER_PATH", "/nowhere"),
    ("GCC_EXEC_PREFIX", "/nowhere/"),
    ("CCC_OVERRIDE_OPTIONS", "+-O0"),
    ("LD_RUN_PATH", "/nowhere"),
    // Build systems.
    ("MAKEFLAGS", "-k -n"),
    ("MAKEFILES", "/nowhere"),
    ("DESTDIR", "/nowhere"),
    ("CONFIG_SITE", "/nowhere"),
    ("CMAKE_GENERATOR", "Unix Makefiles"),
    ("CMAKE_PREFIX_PATH", "/nowhere"),
    ("CMAKE_TOOLCHAIN_FILE", "/nowhere"),
    ("NINJAFLAGS", "-n"),
    ("NINJA_STATUS", "x"),
    ("PKG_CONFIG", "/bin/false"),
    ("PKG_CONFIG_PATH", "/nowhere"),
    ("PKG_CONFIG_LIBDIR", "/nowhere"),
    ("PKG_CONFIG_SYSROOT_DIR", "/nowhere"),
    ("MESONFLAGS", "-Doptimization=0"),
    // Python.
    ("PYTHONPATH", "/nowhere"),
    ("PYTHONHOME", "/nowhere"),
    ("PYTHONSTARTUP", "/nowhere"),
    ("PYTHONOPTIMIZE", "2"),
    ("PYTHONHASHSEED", "7"),
    ("PYTHONPYCACHEPREFIX", "/nowhere"),
    ("PYTHONWARNINGS", "error"),
    ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
    ("DISTUTILS_DEBUG", "1"),
    ("SETUPTOOLS_USE_DISTUTILS", "stdlib"),
    // Rust.
    ("RUSTFLAGS", "-Copt-level=0"),
    ("CARGO_ENCODED_RUSTFLAGS", "-Copt-level=0"),
    ("RUSTC", "/bin/false"),
    ("RUSTC_WRAPPER", "/bin/false"),
    ("CARGO_BUILD_RUSTFLAGS", "-Copt-level=0"),
    ("CARGO_BUILD_TARGET_DIR", "/nowhere"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("RUSTUP_TOOLCHAIN", "none"),
    // git and patch.
    ("GIT_DIR", "/nowhere"),
    ("GIT_CONFIG_GLOBAL", "/nowhere"),
    ("PATCH_GET", "1"),
    ("POSIXLY_CORRECT", "1"),
    ("VERSION_CONTROL", "numbered"),
];

/// Files in a home directory by which users configure the same programs.
const AT_HOME: &[(&str, &str)] = &[
    (
        ".cargo/config.toml",
        "[profile.release]\nopt-level = 0\nlto = \"off\"\n[build]\nrustflags = [\"-Cdebuginfo=2\"]\n",
    ),
    ("Cargo.toml", "[workspace]\nmembers = [\"cache/*/work/*/runtime\"]\n[profile.release]\nopt-level = 0\n"),
    (".config/pip/pip.conf", "[install]\nno-binary = :all:\n"),
    (".pydistutils.cfg", "[build_ext]\ndebug = 1\n"),
    ("setup.cfg", "[build_ext]\ndebug = 1\n"),
    (".gitconfig", "[core]\nautocrlf = true\n"),
    (".config/git/attributes", "* eol=crlf\n"),
    (".ccache/ccache.conf", "sloppiness = time_macros\n"),
    (".config/meson/native.ini", "[built-in options]\noptimization = '0'\n"),
    (".local/lib/python3.14/site-packages/usercustomize.py", "raise SystemExit('usercustomize')\n"),
    ("sitecustomize.py", "raise SystemExit('sitecustomize')\n"),
    (".profile", "exit 1\n"),
    (".bashrc", "exit 1\n"),
];

/// A directory in memory, if there is room and programs may run from it: there directories list their entries in
/// another order than on a disk. Elsewhere only the place is another.
fn elsewhere() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail * found.f_frsize);
    let runs = |folder: &TempDir| {
        let program = folder.path().join("program");
        std::fs::copy("/bin/true", &program).is_ok_and(|_| Command::new(program).status().is_ok())
    };
    let found = (room > 4 << 30).then(|| tempfile::tempdir_in(memory).ok()).flatten();
    found.filter(runs).unwrap_or_else(|| tempfile::tempdir().unwrap())
}

#[test]
fn another_place_time_user_order_and_number_of_jobs_give_the_same() {
    component();
    assert!(STEPS.iter().any(|step| step.ends_with(STEM)));
    let folder = elsewhere();
    let checkout = folder.path().join("a checkout");
    checkout::copy_locked(&checkout);
    // Steps run below this home, so that what looks for its configuration in the folders above finds it, too.
    let home = folder.path().join("home");
    for (file, content) in AT_HOME {
        let path = home.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    // cargo itself stays to be found.
    let cargo = std::env::var_os("CARGO").unwrap();
    std::fs::create_dir_all(home.join(".cargo/bin")).unwrap();
    std::os::unix::fs::symlink(cargo, home.join(".cargo/bin/cargo")).unwrap();
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "umask 077; exec \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_eryx-build"),
            "verify",
            "--offline",
        ])
        .args(["--jobs", "4"])
        .arg("--prefix")
        .arg(home.join("cache/of-some-length"))
        .args(STEPS.iter().flat_map(|step| ["--step", step]))
        .args(PACKAGES)
        .stdin(Stdio::null());
    // What a build might see of a user, and must not.
    command.envs(CONFIGURED.iter().copied());
    command
        .env("ERYX_CHECKOUT", &checkout)
        .env("ERYX_CACHE", Layout::cache_folder().unwrap())
        .env("HOME", &home)
        .env("CARGO_HOME", home.join(".cargo"))
        .env("TMPDIR", folder.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = format!("{} steps were made twice, with equal results\n", STEPS.len());
    assert_eq!(text(&output.stdout), said);
}

#[test]
fn a_step_that_is_not_there_is_refused() {
    component();
    let output = super::eryx(&[&["verify", "--offline", "--step", "vsf"], &PACKAGES[..]].concat());
    assert_eq!(
        text(&output.stderr),
        "error: the plan does not have these steps\n  `vsf`\nhint: `plan` lists them\n"
    );
}
