//! The last step: all libraries and files become one component, with a manifest beside it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::json;

use super::contents::Contents;
use super::packages::{PREFIX, SITE_PACKAGES, is_module};
use super::{Work, cross::TARGET};
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::files::{files_below, write};
use crate::fuse;
use crate::image::{self, Content, Entry};
use crate::link::{self, Library, Linkage, RUNTIME, Role};
use crate::name::PackageName;
use crate::plan::Parts;
use crate::preinit::{self, Request};
use crate::preview1;
use crate::wasm::Symbols;

/// Changes when the result changes for equal inputs.
pub const REVISION: u32 = 14;

/// The file name of the component in the result.
pub const COMPONENT: &str = "component.wasm";
/// The file name of the manifest in the result.
pub const MANIFEST: &str = "manifest.json";

/// What runs most, and the small functions before it: the loop of the interpreter, and that of regular expressions over
/// text in Latin-1. The first then begins 32 bytes behind a multiple of 64, and what goes on to its next instruction lies in
/// one line of the processor's cache; the second, where that takes 64 bytes, at a multiple. Elsewhere, Python takes 5 % more
/// time, and regular expressions 6 %. How to look at it is in CONTRIBUTING. Neither is told which of its branches are rare
/// (`tell_rare` in `cpython.rs`).
pub(super) const HOT: &[(&str, usize)] = &[("_PyEval_EvalFrameDefault", 1), ("sre_ucs1_match", 0)];

/// The library that serves files, and the only one that calls the embedder for them.
const VFS: &str = "libvfs.so";

/// Links the component.
///
/// # Errors
/// When a library cannot be read or the link fails.
pub fn link(work: &Work, parts: &Parts) -> Result<()> {
    let mut contents = Contents::default();
    let cpython = work.input("cpython")?;
    contents.add("python", &cpython.join("lib/python3.14"), super::cpython::STDLIB)?;
    for (name, package) in work.inputs_of("package/") {
        contents.add(name, &package.join("site-packages"), SITE_PACKAGES)?;
        let prefix = package.join(PREFIX);
        if prefix.is_dir() {
            contents.add(name, &prefix, super::cpython::PREFIX)?;
        }
    }
    let (mut entries, mut extensions) = contents.finish()?;
    // An empty site-packages is a folder all the same, so that sys.path names nothing that is not there.
    if !entries.iter().any(|entry| entry.path.starts_with(SITE_PACKAGES)) {
        entries.push(Entry { path: SITE_PACKAGES.to_owned(), content: Content::Directory });
    }
    let image = image::library(&image::encode(&entries)?);

    let mut libraries = system_libraries(work, image)?;
    libraries.push(shared(&cpython.join("lib"), super::cpython_dev::LIBRARY)?);
    libraries.push(shared(work.input("guest")?, RUNTIME)?);
    // Python files decide what is imported; the order of extension modules has no meaning, so it is sorted.
    extensions.sort_by(|one: &Library, other: &Library| one.name.cmp(&other.name));
    libraries.extend(extensions);
    keep_needed(&mut libraries, &[RUNTIME])?;
    let sizes: BTreeMap<_, _> =
        libraries.iter().map(|library| (library.name.clone(), library.module.len())).collect();
    redirect(&mut libraries)?;
    let wit = fs::read_to_string(work.input("wit")?).context(|| "cannot read the WIT world".to_owned())?;
    let linkage = Linkage::new(libraries, &wit, &parts.world)?;
    let (component, prelinked) = if parts.form.dynamic {
        (linkage.dynamic()?, None)
    } else {
        let options = fuse::Options { debug_names: parts.form.debug_names, hot: HOT };
        let exports: &[&str] = if parts.form.cold { &[] } else { &[preinit::EXPORT] };
        let fused = linkage.fuse(exports, options)?;
        let module = if parts.form.cold {
            fused.module
        } else {
            let prepared =
                preinit::preinitialise(&fused.module, &request(work, parts)?, preinit::LIMIT, &work.log)?;
            work.report.printed(&prepared.printed);
            prepared.module
        };
        let prelinked = json!({
            "functions": fused.functions,
            "dropped": fused.dropped,
            "dropped_bytes": fused.dropped_bytes,
            "folded": fused.folded,
            "folded_bytes": fused.folded_bytes,
        });
        (link::component(&module)?, Some(prelinked))
    };
    let digest = Digest::of(&component);
    let crates = crates(work)?;
    let brought = work
        .inputs_of("package/")
        .map(|(name, package)| Ok((name, brought(&package.join("site-packages"))?)));
    let brought: BTreeMap<&str, Vec<String>> = brought.collect::<Result<_>>()?;
    let manifest = json!({
        "format": 1,
        "names": parts.names,
        "world": parts.world,
        "form": parts.form,
        "prelinked": prelinked,
        "sha256": digest,
        "size": component.len(),
        "files": entries.len(),
        "modules": brought,
        "libraries": sizes,
        "inputs": parts.inputs,
        "crates": crates,
        "checks": parts.checks,
    });
    write(&work.out.join(COMPONENT), component)?;
    let mut text = serde_json::to_string_pretty(&manifest).map_err(|error| Error::new(error.to_string()))?;
    text.push('\n');
    write(&work.out.join(MANIFEST), text)
}

/// What to do before the memory is saved: by default, to import what the named packages' checks import.
fn request(work: &Work, parts: &Parts) -> Result<Request> {
    let imports = match &parts.form.imports {
        Some(imports) => imports.clone(),
        None => parts.named.iter().flat_map(|name| modules(work, parts, name)).collect(),
    };
    Ok(Request { imports, setup: parts.form.setup.clone() })
}

/// The modules of a package: those that its recipe says, else one of the package's own name, if it is there.
fn modules(work: &Work, parts: &Parts, name: &PackageName) -> Vec<String> {
    let listed = parts.checks.iter().find(|check| check["name"] == *name.as_str());
    let listed = listed.and_then(|check| check["imports"].as_array()).cloned().unwrap_or_default();
    let listed: Vec<String> = listed.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect();
    if !listed.is_empty() {
        return listed;
    }
    let module = name.file_stem();
    let Ok(package) = work.input(&format!("package/{name}")) else { return Vec::new() };
    let site = package.join("site-packages");
    let there =
        site.join(&module).join("__init__.py").is_file() || site.join(format!("{module}.py")).is_file();
    there.then_some(module).into_iter().collect()
}

/// The modules that a package brings, by the first part of their names, sorted.
fn brought(site: &Path) -> Result<Vec<String>> {
    let mut found = std::collections::BTreeSet::new();
    for file in files_below(site)? {
        let Some(first) = file.iter().next().and_then(|first| first.to_str()) else { continue };
        let code = file.extension().is_some_and(|kind| kind == "py" || kind == "so");
        if code && !first.ends_with(".dist-info") {
            found.insert(first.split('.').next().unwrap_or(first).to_owned());
        }
    }
    Ok(found.into_iter().collect())
}

/// The crates that the runtime, the packages and the link itself were made with, each once.
fn crates(work: &Work) -> Result<Vec<serde_json::Value>> {
    let listed = |all: Vec<serde_json::Value>| all.into_iter().map(|one| (one.to_string(), one));
    let mut all: BTreeMap<_, _> = listed(crate::provenance::linker()?).collect();
    for folder in work.inputs_of("package/").map(|(_, path)| path).chain([work.input("guest")?]) {
        let Ok(text) = fs::read_to_string(folder.join(super::rust::CRATES)) else { continue };
        let found = serde_json::from_str(&text)
            .map_err(|error| Error::new(format!("malformed list of crates: {error}")))?;
        all.extend(listed(found));
    }
    Ok(all.into_values().collect())
}

/// Adds the files of a folder as they lie below `guest` in the component; modules become libraries.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn add_files(
    entries: &mut Vec<Entry>,
    extensions: &mut Vec<Library>,
    folder: &Path,
    guest: &str,
) -> Result<()> {
    for file in files_below(folder)? {
        let path = folder.join(&file);
        let place = format!("{guest}/{}", file.display());
        if is_module(&file) {
            // The importer looks for the file; dlopen then finds the library by this very path.
            let module = fs::read(&path).context(|| format!("cannot read `{}`", path.display()))?;
            extensions.push(Library { name: place.clone(), module, role: Role::Extension });
            entries
                .push(Entry { path: place, content: Content::File { bytes: Vec::new(), executable: false } });
        } else if path.is_symlink() {
            let target = fs::read_link(&path)?.display().to_string();
            entries.push(Entry { path: place, content: Content::Symlink(target) });
        } else {
            let bytes = fs::read(&path).context(|| format!("cannot read `{}`", path.display()))?;
            let mode = fs::metadata(&path).context(|| format!("cannot read `{}`", path.display()))?;
            let executable = mode.permissions().mode() & 0o100 != 0;
            entries.push(Entry { path: place, content: Content::File { bytes, executable } });
        }
    }
    Ok(())
}

/// A shared library in a folder.
///
/// # Errors
/// When it cannot be read.
pub(super) fn shared(folder: &Path, name: &str) -> Result<Library> {
    let path = folder.join(name);
    let module = fs::read(&path).context(|| format!("cannot read `{}`", path.display()))?;
    Ok(Library { name: name.to_owned(), module, role: Role::Shared })
}

/// What lies below Python, in order of symbol priority: the C library first, then what builds on it.
///
/// # Errors
/// When one of the sysroot's libraries cannot be read.
pub(super) fn system_libraries(work: &Work, image: Vec<u8>) -> Result<Vec<Library>> {
    let lib = work.input("sysroot")?.join("lib").join(TARGET);
    let image = Library { name: "libimage.so".to_owned(), module: image, role: Role::Shared };
    let mut libraries = vec![shared(&lib, "libc.so")?, shared(&lib, VFS)?, image];
    for name in [
        "libtags.so",
        "libsetjmp.so",
        "libc++abi.so",
        "libc++.so",
        "libwasi-emulated-signal.so",
        "libwasi-emulated-getpid.so",
        "libwasi-emulated-process-clocks.so",
        "libwasi-emulated-mman.so",
    ] {
        libraries.push(shared(&lib, name)?);
    }
    Ok(libraries)
}

/// Turns the calls of all libraries for files towards [`VFS`].
///
/// # Errors
/// When a library calls for something that WASI does not have.
pub(super) fn redirect(libraries: &mut [Library]) -> Result<()> {
    for library in libraries.iter_mut().filter(|library| library.name != VFS) {
        library.module = preview1::redirect(&library.module)
            .map_err(|error| error.context(format!("`{}`", library.name)))?;
    }
    Ok(())
}

/// Drops shared libraries that neither `roots` nor extensions need, so that a component without C++ code carries no C++
/// library.
///
/// # Errors
/// When a library is malformed.
pub(super) fn keep_needed(libraries: &mut Vec<Library>, roots: &[&str]) -> Result<()> {
    let mut wanted: Vec<String> = ["libc.so"].iter().chain(roots).map(|&name| name.to_owned()).collect();
    wanted.extend(
        libraries
            .iter()
            .filter(|library| library.role == Role::Extension)
            .map(|library| library.name.clone()),
    );
    let mut kept = std::collections::BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !kept.insert(name.clone()) {
            continue;
        }
        if let Some(library) = libraries.iter().find(|library| library.name == name) {
            wanted.extend(Symbols::read(&library.module)?.needed);
        }
    }
    libraries.retain(|library| kept.contains(&library.name));
    Ok(())
}
