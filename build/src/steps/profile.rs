//! What the interpreter does most, for the compiler: CPython is built so that it counts, runs the tests of its own
//! profile-guided build (`recipes/cpython/profile`), and the counts are made into a profile.
//!
//! Equal inputs give an equal profile, see [`super::train`].

use std::fs;
use std::path::{Path, PathBuf};

use wasmparser::{BinaryReader, Parser, Payload, RelocSectionReader};
use wasmtime::{Instance, Store};
use wasmtime_wasi::p1::WasiP1Ctx;

use super::cpython::{self, Compiled};
use super::cpython_dev::LIBRARY;
use super::cross::words;
use super::{Work, component, train};
use crate::error::{Error, Result};
use crate::files::write;
use crate::recipe::{Recipe, Source};

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 4;

/// The file name of the profile in the result.
pub const PROFILE: &str = "cpython.profdata";

/// Room for the targets of indirect calls is reserved in advance, by default one for each such call in the whole program:
/// what starts Python took all of it.
const COUNTING: &[&str] = &["-fprofile-generate", "-mllvm", "-vp-counters-per-site=16"];

/// The parts of compiler-rt's profile library that count and write; its others are about files.
const RUNTIME: &[&str] = &[
    "InstrProfiling.c",
    "InstrProfilingBuffer.c",
    "InstrProfilingInternal.c",
    "InstrProfilingPlatformLinux.c",
    "InstrProfilingValue.c",
    "InstrProfilingVersionVar.c",
    "InstrProfilingWriter.c",
];

/// Makes the profile.
///
/// # Errors
/// When a command or the training fails.
pub fn take(work: &Work, recipe: &Recipe, sources: &[Source]) -> Result<()> {
    let llvm = work.dir.join("llvm");
    work.unpack(sources, &[], &llvm)?;
    let compiled = cpython::compile(work, recipe, &words(COUNTING))?;
    for archive in cpython::archives_of(&compiled)? {
        let mut bytes = fs::read(&archive)?;
        absolute(&mut bytes).map_err(|error| error.context(format!("`{}`", archive.display())))?;
        write(&archive, bytes)?;
    }
    let objects = counters(work, &compiled, &llvm.join("compiler-rt"))?;
    cpython::link(work, recipe, &compiled, &[], &objects, &work.dir.join(LIBRARY))?;
    let module = train::fused(work, &compiled, component::shared(&work.dir, LIBRARY)?)?.0.module;
    let raw = work.dir.join("counts.profraw");
    write(&raw, train::run(&module, &work.log, written)?)?;
    work.cmd(llvm.join("tools/usr/lib/llvm-22/bin/llvm-profdata"))
        .env("LD_LIBRARY_PATH", work.input("rust")?.join("lib/x86_64-linux-gnu"))
        .args(["merge", "-o"])
        .arg(work.out.join(PROFILE))
        .arg(&raw)
        .run()
}

/// Compiles what counts, and what runs the training.
fn counters(work: &Work, compiled: &Compiled, compiler_rt: &Path) -> Result<Vec<PathBuf>> {
    let folder = compiler_rt.join("lib/profile");
    let mut flags =
        [&folder, &compiler_rt.join("include")].map(|folder| format!("-I{}", folder.display())).to_vec();
    // There is one thread, in which the compiler's atomic operations are plain ones.
    flags.push("-DCOMPILER_RT_HAS_ATOMICS=1".to_owned());
    let ours = work.input("training")?.join("counts.c");
    let mut objects = Vec::new();
    for source in RUNTIME.iter().map(|name| folder.join(name)).chain([ours]) {
        let name = source.file_name().unwrap_or_default();
        let object = work.dir.join("counters").join(name).with_extension("o");
        fs::create_dir_all(work.dir.join("counters"))?;
        cpython::internal_object(work, compiled, &flags, &source, &object)?;
        objects.push(object);
    }
    Ok(objects)
}

/// The relocations of an address relative to its own place, and of an address.
const RELATIVE: u8 = 23;
const ABSOLUTE: u8 = 5;

/// Makes absolute addresses of relative ones in the objects of an archive, where they stand. Records of counters have
/// relative addresses, and the linker has no relocation for them in a shared library; `counts.c` undoes it.
///
/// # Errors
/// When it is no archive, or an object in it is malformed.
fn absolute(archive: &mut [u8]) -> Result<()> {
    const MAGIC: &[u8] = b"!<arch>\n";
    let malformed = || Error::new("malformed archive");
    archive.starts_with(MAGIC).then_some(()).ok_or_else(malformed)?;
    let mut place = MAGIC.len();
    while place < archive.len() {
        let header = archive.get(place..place + 60).ok_or_else(malformed)?;
        let size = std::str::from_utf8(header.get(48..58).unwrap_or_default()).map_err(|_| malformed())?;
        let size: usize = size.trim().parse().map_err(|_| malformed())?;
        let member = archive.get_mut(place + 60..place + 60 + size).ok_or_else(malformed)?;
        if member.starts_with(b"\0asm") {
            for at in relative(member).map_err(|error| Error::new(error.to_string()))? {
                if let Some(kind) = usize::try_from(at).ok().and_then(|at| member.get_mut(at)) {
                    *kind = ABSOLUTE;
                }
            }
        }
        // Members begin at even places.
        place += 60 + size.next_multiple_of(2);
    }
    Ok(())
}

/// Where an object's relative relocations stand.
fn relative(object: &[u8]) -> wasmparser::Result<Vec<u64>> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(object) {
        if let Payload::CustomSection(section) = payload?
            && section.name().starts_with("reloc.")
        {
            let reader = BinaryReader::new(section.data(), section.data_offset());
            for entry in RelocSectionReader::new(reader)?.entries().into_iter_with_offsets() {
                let (at, entry) = entry?;
                if entry.ty as u8 == RELATIVE {
                    found.push(at);
                }
            }
        }
    }
    Ok(found)
}

/// Has the interpreter write its counts, and takes them from its memory.
fn written(store: &mut Store<WasiP1Ctx>, instance: &Instance) -> wasmtime::Result<Vec<u8>> {
    let mut call =
        |function: &str| instance.get_typed_func::<(), u32>(&mut *store, function)?.call(&mut *store, ());
    let (begin, length) = (call("__eryx_profile")?, call("__eryx_profile_length")?);
    let memory = instance.get_memory(&mut *store, "memory");
    let counts = memory.and_then(|memory| {
        memory.data(&*store).get(begin as usize..)?.get(..length as usize).map(<[u8]>::to_vec)
    });
    counts.filter(|_| begin != 0).ok_or_else(|| wasmtime::Error::msg("the counts could not be written"))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use wasm_encoder::{CustomSection, Module};

    use super::*;

    /// An archive of one object whose data have relocations of these kinds, and of a file that is no object.
    fn archive(kinds: &[u8]) -> Vec<u8> {
        // The number of the section that they are about, and how many they are; each with a place, a symbol, an addend.
        let mut data = vec![1, kinds.len() as u8];
        for kind in kinds {
            data.extend([*kind, RELATIVE, RELATIVE, 16]);
        }
        let mut module = Module::new();
        module.section(&CustomSection { name: Cow::from("reloc.DATA"), data: Cow::from(data) });
        module.section(&CustomSection { name: Cow::from("other"), data: Cow::from(vec![RELATIVE; 3]) });
        let mut bytes = b"!<arch>\n".to_vec();
        for member in [module.finish(), vec![RELATIVE; 5]] {
            bytes.extend(format!("{:<48}{:<10}`\n", "name/", member.len()).bytes());
            bytes.extend(&member);
            bytes.extend(std::iter::repeat_n(b'\n', member.len() % 2));
        }
        bytes
    }

    #[test]
    fn relative_addresses_become_absolute_and_nothing_else_changes() {
        let mut found = archive(&[RELATIVE, 4, RELATIVE]);
        absolute(&mut found).unwrap();
        assert_eq!(found, archive(&[ABSOLUTE, 4, ABSOLUTE]));
    }

    #[test]
    fn a_malformed_archive_is_refused() {
        let whole = archive(&[RELATIVE]);
        for length in [0, 9, 60, 90, whole.len() - 2] {
            assert!(absolute(&mut whole[..length].to_vec()).is_err(), "{length}");
        }
    }
}
