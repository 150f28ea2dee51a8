//! Compiling for the guest: compiler wrappers that carry target, sysroot and path maps, so that build
//! systems need not know of them and no path of the build machine gets into a result.

use std::path::{Path, PathBuf};

use super::Work;
use crate::command::Cmd;
use crate::error::Result;
use crate::files::{write, write_executable};
use crate::recipe::Build;

/// The guest's target triple.
pub const TARGET: &str = "wasm32-wasip1";

/// What every object of the guest is compiled with: position-independent, the CPU features that all engines
/// have, and 128-bit SIMD. Relaxed SIMD stays off: its results differ between machines.
pub const CFLAGS: &[&str] = &["-fPIC", "-mcpu=lime1", "-msimd128", "-O2"];

/// C++ exceptions by the standard exception-handling instructions.
pub const EXCEPTIONS: &[&str] = &["-fwasm-exceptions", "-mllvm", "-wasm-use-legacy-eh=false"];

/// setjmp and longjmp by the same instructions.
pub const SETJMP: &[&str] = &["-mllvm", "-wasm-enable-sjlj", "-mllvm", "-wasm-use-legacy-eh=false"];

/// The flags of a recipe's C++ code besides those of its C code. Code that throws without the recipe saying so does
/// not compile: clang would otherwise drop its `try` and `catch` for this target without a word.
#[must_use]
pub fn cxxflags(build: &Build) -> Vec<String> {
    let quiet = (!build.exceptions).then(|| "-fno-exceptions".to_owned());
    quiet.into_iter().chain(build.cxxflags.iter().cloned()).collect()
}

/// The wrappers of one step.
#[derive(Debug)]
pub struct Cross {
    /// The folder of the wrappers: `cc`, `c++`, `ar`, `ranlib`, `wasm-ld`.
    pub bin: PathBuf,
    /// The sysroot that the wrappers use.
    pub sysroot: PathBuf,
}

impl Cross {
    /// Writes the wrappers into the step's work directory; `cxxflags` come after `flags` in the one for C++.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn new(work: &Work, sysroot: &Path, flags: &[String], cxxflags: &[String]) -> Result<Self> {
        let toolchain = work.input("toolchain")?;
        let bin = work.dir.join("bin");
        let maps = std::iter::once((work.dir.as_path(), "/build"))
            .chain([(toolchain, "/toolchain"), (sysroot, "/sysroot")])
            .map(|(path, name)| format!("-ffile-prefix-map={}={name}", path.display()))
            .chain(
                work.inputs_of("host/")
                    .map(|(name, path)| format!("-ffile-prefix-map={}=/{name}", path.display())),
            )
            .collect::<Vec<_>>()
            .join(" ");
        // The pinned clang does not look for the sysroot's C++ headers by itself.
        let headers = sysroot.join("include").join(TARGET).join("c++/v1");
        let cxx = format!(
            " {} --start-no-unused-arguments -stdlib++-isystem '{}' --end-no-unused-arguments",
            cxxflags.join(" "),
            headers.display()
        );
        for (name, tool, cxx) in [("cc", "clang", ""), ("c++", "clang++", cxx.as_str())] {
            let script = format!(
                "#!/bin/sh\nexec '{}/bin/{tool}' --target={TARGET} '--sysroot={}' {maps} {}{cxx} \"$@\"\n",
                toolchain.display(),
                sysroot.display(),
                flags.join(" "),
            );
            write_executable(&bin.join(name), script)?;
        }
        for (name, tool) in [("ar", "llvm-ar"), ("ranlib", "llvm-ranlib"), ("wasm-ld", "wasm-ld")] {
            let script = format!("#!/bin/sh\nexec '{}/bin/{tool}' \"$@\"\n", toolchain.display());
            write_executable(&bin.join(name), script)?;
        }
        // The pinned compiler has neither; build systems call them for information only.
        for name in ["nm", "strip"] {
            write_executable(&bin.join(name), "#!/bin/sh\nexit 0\n")?;
        }
        // The linker does not see a tag that another shared library exports; these two it may leave open.
        write(&bin.join("tags.txt"), "__cpp_exception\n__c_longjmp\n")?;
        Ok(Self { bin, sysroot: sysroot.to_owned() })
    }

    /// The path of a wrapper.
    #[must_use]
    pub fn tool(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The sysroot's folder of libraries.
    #[must_use]
    pub fn lib(&self) -> PathBuf {
        self.sysroot.join("lib").join(TARGET)
    }

    /// A command that finds the wrappers by the usual variables.
    #[must_use]
    pub fn env(&self, cmd: Cmd) -> Cmd {
        cmd.env("CC", self.tool("cc"))
            .env("CXX", self.tool("c++"))
            .env("AR", self.tool("ar"))
            .env("RANLIB", self.tool("ranlib"))
            .env("NM", self.tool("nm"))
            .env("STRIP", self.tool("strip"))
    }

    /// A command that links a shared library of the guest.
    #[must_use]
    pub fn shared(&self, work: &Work, output: &Path) -> Cmd {
        work.cmd(self.tool("cc"))
            .args(["-shared", "-Wl,--gc-sections"])
            .arg(self.open_tags())
            .arg("-o")
            .arg(output)
    }

    /// The linker flag that leaves the exception tags to the component's link.
    #[must_use]
    pub fn open_tags(&self) -> String {
        format!("-Wl,--allow-undefined-file={}", self.bin.join("tags.txt").display())
    }
}

/// Constants as owned words.
#[must_use]
pub fn words(constants: &[&str]) -> Vec<String> {
    constants.iter().map(|word| (*word).to_owned()).collect()
}
