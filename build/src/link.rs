//! Links shared libraries into one component: prelinked (see [`fuse`]), or with wit-component's linker.
//!
//! The linker resolves a symbol that two libraries export to the first of them without a word, panics
//! when their types differ, and stubs what is weak. So the symbols are checked here before it is called,
//! and all problems are told together.

mod intrinsics;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use wit_component::{ComponentEncoder, Linker, StringEncoding};
use wit_dylib::DylibOpts;
use wit_parser::{Resolve, World, WorldId, WorldItem};

use crate::error::{Error, Result};
use crate::fuse::{self, Fused};
use crate::merge;
use crate::wasm::{
    PER_LIBRARY, SymbolType, Symbols, custom_section, hidden, is_kept, malformed, validate, without_debug,
};

/// The guest's stack in bytes. CPython needs more than the linker's default of 1 MiB; an embedder's
/// `max_wasm_stack` must be larger than what the guest can use of it.
pub const STACK_SIZE: u32 = 8 << 20;

/// The library name under which the bindings expect the interpreter.
pub const RUNTIME: &str = "liberyx_runtime.so";

/// How a library takes part in the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Its exports are visible to all libraries.
    Shared,
    /// Opened by name with `dlopen`, for its `PyInit_*`; whatever else it exports, no other library sees.
    Extension,
}

/// A shared library that goes into the component.
#[derive(Debug, Clone)]
pub struct Library {
    /// A plain name for shared libraries; for extension modules the very path that CPython passes to `dlopen`.
    pub name: String,
    /// The module's bytes, with a `dylink.0` section.
    pub module: Vec<u8>,
    /// How it takes part in the link.
    pub role: Role,
}

/// The custom section of [`RUNTIME`] that lists the exports it can serve, one a line.
const EXPORTS: &str = "eryx.exports";

/// Checked libraries and the bindings of a world: all that a component is made of.
pub struct Linkage {
    /// In order of symbol priority; the bindings are the last.
    libraries: Vec<Library>,
}

impl Linkage {
    /// Checks libraries, which come in order of symbol priority, and adds the bindings for the one world of a
    /// WIT text. `name` is what the user calls that world.
    ///
    /// # Errors
    /// All symbols that are unresolved, exported twice or used with two types, at once; a library without a
    /// `dylink.0` section; a WIT text that does not parse; a world with exports that the runtime lacks.
    pub fn new(mut libraries: Vec<Library>, wit: &str, name: &str) -> Result<Self> {
        let mut resolve = Resolve::default();
        let package = resolve.push_str("world.wit", wit).map_err(told)?;
        let world = resolve.select_world(&[package], None).map_err(told)?;
        check_exports(&libraries, &resolve, world, name)?;
        libraries.push(Library {
            name: intrinsics::NAME.to_owned(),
            module: intrinsics::library(is_asynchronous(&resolve, world)),
            role: Role::Shared,
        });
        libraries.push(Library {
            name: "bindings.so".to_owned(),
            module: bindings(&resolve, world)?,
            role: Role::Shared,
        });
        check_modules(&libraries)?;
        for library in libraries.iter_mut().filter(|library| library.role == Role::Extension) {
            library.module = hidden(&library.module, &library.name)?;
        }
        check_symbols(&libraries)?;
        for library in &mut libraries {
            library.module = without_debug(&library.module)?;
        }
        Ok(Self { libraries })
    }

    /// Links with wit-component's linker: every library stays a module of its own, bound when an instance
    /// starts. What [`Linkage::fuse`] makes must behave as this does.
    ///
    /// # Errors
    /// What the linker refuses.
    pub fn dynamic(&self) -> Result<Vec<u8>> {
        let mut linker = Linker::default();
        linker.stack_size(STACK_SIZE).use_built_in_libdl(true);
        for library in &self.libraries {
            let openable = library.role == Role::Extension;
            linker.library(&library.name, &library.module, openable).map_err(told)?;
        }
        let encoder = linker.encoder().validate(true);
        encoder.adapter(ADAPTER, &adapter()?).map_err(told)?;
        linker.encode().map_err(told)
    }

    /// Prelinks: makes one core module, which [`component`] makes a component of. It exports the functions
    /// named in `exports` besides what the world needs.
    ///
    /// # Errors
    /// What cannot be fused.
    pub fn fuse(&self, exports: &[&str], options: fuse::Options) -> Result<Fused> {
        let libraries: Vec<&Library> = self.libraries.iter().collect();
        let exports: Vec<&str> = exports.iter().copied().chain(["cabi_realloc"]).collect();
        fuse::fuse(&libraries, &exports, STACK_SIZE, options)
    }
}

/// Makes a component of a fused module, with the adapter merged into it.
///
/// # Errors
/// When the module does not fit the world that it names.
pub fn component(module: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder.module(module).map_err(told)?;
    encoder.adapter(ADAPTER, &adapter()?).map_err(told)?;
    let component = merge::merge(&encoder.encode().map_err(told)?)?;
    validate("component", &component)?;
    Ok(component)
}

const ADAPTER: &str = wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;

/// The module that implements WASI preview1 by WASI 0.2.
fn adapter() -> Result<Vec<u8>> {
    without_debug(wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
}

/// Refuses a world that asks for exports that the runtime does not say it has.
fn check_exports(libraries: &[Library], resolve: &Resolve, world: WorldId, name: &str) -> Result<()> {
    let Some(runtime) = libraries.iter().find(|library| library.name == RUNTIME) else {
        // The bindings need it, so the check of symbols tells, and of whatever else is missing.
        return Ok(());
    };
    let section = custom_section(&runtime.module, EXPORTS).map_err(malformed)?;
    let had: Vec<&str> = std::str::from_utf8(section.unwrap_or_default())
        .map_err(|_| Error::new(format!("`{RUNTIME}` has a malformed section `{EXPORTS}`")))?
        .lines()
        .collect();
    let missing: Vec<String> = world_of(resolve, world)?
        .exports
        .iter()
        .flat_map(|(key, item)| match item {
            WorldItem::Interface { id, .. } => {
                let full = resolve.name_world_key(key);
                let interface = full.split('@').next().unwrap_or_default();
                let functions = resolve.interfaces.get(*id).map(|interface| &interface.functions);
                functions.into_iter().flatten().map(|(name, _)| format!("{interface}#{name}")).collect()
            }
            WorldItem::Function(function) => vec![function.name.clone()],
            WorldItem::Type { .. } => Vec::new(),
        })
        .filter(|name| !had.contains(&name.as_str()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let asked = missing.iter().map(|name| format!("the runtime has no export `{name}`"));
    Err(Error::new(format!("world `{name}` asks for exports that the runtime lacks"))
        .details(asked)
        .hint(format!("it has `{}`", had.join("`, `"))))
}

fn world_of(resolve: &Resolve, world: WorldId) -> Result<&World> {
    resolve.worlds.get(world).ok_or_else(|| Error::new("cannot link: there is no world"))
}

/// Whether any function of a world is asynchronous.
fn is_asynchronous(resolve: &Resolve, world: WorldId) -> bool {
    let Some(world) = resolve.worlds.get(world) else { return false };
    world.imports.values().chain(world.exports.values()).any(|item| match item {
        WorldItem::Function(function) => function.kind.is_async(),
        WorldItem::Interface { id, .. } => resolve
            .interfaces
            .get(*id)
            .is_some_and(|interface| interface.functions.values().any(|function| function.kind.is_async())),
        WorldItem::Type { .. } => false,
    })
}

/// The bindings of a world as a shared library that calls into [`RUNTIME`].
fn bindings(resolve: &Resolve, world: WorldId) -> Result<Vec<u8>> {
    let mut options = DylibOpts { interpreter: Some(RUNTIME.to_owned()), ..DylibOpts::default() };
    let mut module = wit_dylib::create(resolve, world, Some(&mut options)).map_err(told)?;
    wit_component::embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8, false)
        .map_err(told)?;
    Ok(module)
}

fn told(error: anyhow::Error) -> Error {
    Error::of_chain(error.chain()).context("cannot link")
}

/// Symbols that the linker's built-in libdl exports.
const LIBDL: &[&str] = &["dlopen", "dlsym", "dlclose", "dlerror", "__wasm_set_libraries"];

/// Refuses what is no valid core module: whatever reads libraries later relies on their indices.
fn check_modules(libraries: &[Library]) -> Result<()> {
    let problems: Vec<String> = libraries
        .iter()
        .filter_map(|library| {
            let why = match library.module.get(..4) {
                Some(b"\0asm") => validate("library", &library.module).err()?.message().to_owned(),
                Some(b"\x7fELF") => "it is compiled for another machine (ELF)".to_owned(),
                _ => "it is no WebAssembly module".to_owned(),
            };
            Some(format!("`{}`: {why}", library.name))
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::new("these libraries cannot be linked").details(problems).hint(
        "a wheel with compiled code for another machine cannot be used; a recipe builds the package from source",
    ))
}

fn check_symbols(libraries: &[Library]) -> Result<()> {
    let mut tables = Vec::new();
    let mut problems = Vec::new();
    for library in libraries {
        let symbols =
            Symbols::read(&library.module).map_err(|error| error.context(format!("`{}`", library.name)))?;
        if !symbols.dylink {
            problems.push(format!("`{}` is no shared library: it has no `dylink.0` section", library.name));
        }
        tables.push((library.name.as_str(), library.role, symbols));
    }

    let mut exporters: BTreeMap<&str, Vec<(&str, &SymbolType)>> = BTreeMap::new();
    for (library, role, symbols) in &tables {
        for (name, ty) in &symbols.exports {
            if PER_LIBRARY.contains(&name.as_str()) {
                continue;
            }
            // What an extension module has for itself is renamed by now, so that no other library has it.
            if *role == Role::Shared || !is_kept(name) {
                exporters.entry(name).or_default().push((library, ty));
            }
        }
    }
    for (name, owners) in &exporters {
        if owners.len() > 1 && !bindings_may_repeat(name) {
            let mut line = format!("`{name}` is exported by");
            for (position, (library, ty)) in owners.iter().enumerate() {
                let _ = write!(line, "{} `{library}` ({ty})", if position == 0 { "" } else { " and" });
            }
            problems.push(line);
        }
    }
    for (library, _, symbols) in &tables {
        let names: Vec<&str> = tables.iter().map(|(name, ..)| *name).collect();
        for needed in &symbols.needed {
            if !names.contains(&needed.as_str()) && needed != "libdl.so" {
                problems.push(format!("`{library}` needs library `{needed}`, which is not part of the link"));
            }
        }
        for import in &symbols.imports {
            let owner = exporters.get(import.name.as_str()).and_then(|owners| owners.first());
            match owner {
                None if import.weak || LIBDL.contains(&import.name.as_str()) => {}
                None => problems.push(format!("`{library}` needs `{}` ({})", import.name, import.ty)),
                Some((from, ty)) if clash(ty, &import.ty) => problems.push(format!(
                    "`{library}` needs `{}` as {} but `{from}` exports it as {ty}",
                    import.name, import.ty
                )),
                Some(_) => {}
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    problems.sort();
    problems.dedup();
    let count = problems.len();
    Err(Error::new(format!("cannot link: {count} symbol problem{}", if count == 1 { "" } else { "s" }))
        .details(problems)
        .hint(
            "a missing function usually means a missing `requires.host` library or a feature to switch off",
        ))
}

/// The bindings export each world function under its own name, and so does nothing else; what both they
/// and the runtime may export is the canonical ABI's allocator.
fn bindings_may_repeat(name: &str) -> bool {
    name == "cabi_realloc"
}

fn clash(exported: &SymbolType, imported: &SymbolType) -> bool {
    match (exported, imported) {
        (SymbolType::Function(one), SymbolType::Function(other)) => one != other,
        (SymbolType::Function(_), SymbolType::TableEntry)
        | (SymbolType::TableEntry, SymbolType::Function(_)) => false,
        (one, other) => one != other,
    }
}
