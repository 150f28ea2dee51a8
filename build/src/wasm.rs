//! Reads what the link needs to know of a shared library: its `dylink.0` section, imports and exports.
//!
//! Conventions: WebAssembly tool-conventions, `DynamicLinking.md`.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use wasm_encoder::{RawSection, Section as _};
use wasmparser::{
    Dylink0Subsection, ExternalKind, FuncType, KnownCustom, Name, NameSectionReader, Parser, Payload,
    SymbolFlags, TypeRef, Validator, WasmFeatures,
};

use crate::error::{Error, Result};

pub mod count;
mod hide;
pub mod hints;
mod stub;

pub use hide::hidden;
pub(crate) use hide::{each as each_import, is_kept};
pub use stub::stub;

/// The type of a symbol that crosses libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SymbolType {
    /// A function, with its core signature.
    Function(FuncType),
    /// An address in memory, exported as a global relative to `__memory_base`.
    Data,
    /// An exception tag.
    Tag,
    /// A function that is imported only for its place in the table; its signature is not known.
    TableEntry,
}

impl fmt::Display for SymbolType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(signature) => write!(f, "function {signature}"),
            Self::Data => f.write_str("data"),
            Self::Tag => f.write_str("tag"),
            Self::TableEntry => f.write_str("function"),
        }
    }
}

/// What a shared library wants from the others.
#[derive(Debug, Clone)]
pub struct Import {
    /// The symbol's name.
    pub name: String,
    /// What it is expected to be.
    pub ty: SymbolType,
    /// A weak symbol may stay unresolved.
    pub weak: bool,
}

/// The symbols of a shared library.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Names of the libraries it was linked against (`dylink.0`, NEEDED).
    pub needed: Vec<String>,
    /// What it imports from other libraries.
    pub imports: Vec<Import>,
    /// What it imports from the embedder, as (module, name).
    pub foreign: Vec<(String, String)>,
    /// What it exports.
    pub exports: BTreeMap<String, SymbolType>,
    /// Whether it carries a `dylink.0` section: without one it is no shared library.
    pub dylink: bool,
}

/// Exports that every library has and that are no symbols.
pub(crate) const PER_LIBRARY: &[&str] =
    &["__wasm_call_ctors", "__wasm_apply_data_relocs", "_initialize", "_start"];

/// Names in module `env` that the linker itself provides.
const FROM_LINKER: &[&str] = &[
    "memory",
    "__indirect_function_table",
    "__stack_pointer",
    "__memory_base",
    "__table_base",
    "__heap_base",
    "__heap_end",
    "__stack_high",
    "__stack_low",
];

impl Symbols {
    /// Reads the symbols of a shared library.
    ///
    /// # Errors
    /// When the bytes are no valid core module.
    pub fn read(module: &[u8]) -> Result<Self> {
        let mut symbols = Self::default();
        let mut reader = Reader::default();
        for payload in Parser::new(0).parse_all(module) {
            reader.payload(&mut symbols, payload.map_err(malformed)?).map_err(malformed)?;
        }
        reader.finish(&mut symbols);
        Ok(symbols)
    }
}

/// A module without its debug information, which no embedder needs and which names paths.
///
/// # Errors
/// When the bytes are no valid core module.
pub fn without_debug(module: &[u8]) -> Result<Vec<u8>> {
    carry_over(module, left_out, |_, _| {})
}

/// A module without the custom sections whose names are `left_out`; `before` may write others before each section.
///
/// # Errors
/// When the bytes are no valid core module.
fn carry_over(
    module: &[u8],
    left_out: impl Fn(&str) -> bool,
    before: impl Fn(&Payload<'_>, &mut Vec<u8>),
) -> Result<Vec<u8>> {
    let mut out = module.get(..8).ok_or_else(|| malformed("it is too short"))?.to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(malformed)?;
        if matches!(&payload, Payload::CustomSection(section) if left_out(section.name())) {
            continue;
        }
        before(&payload, &mut out);
        if let Some((id, range)) = payload.as_section() {
            let data = module.get(place(range)).ok_or_else(|| malformed("a section is cut off"))?;
            RawSection { id, data }.append_to(&mut out);
        }
    }
    Ok(out)
}

/// The contents of a section without its head.
pub(crate) fn section_body(section: &impl wasm_encoder::Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    section.encode(&mut bytes);
    // The encoder writes the length first, as LEB128: it ends at the first byte below 0x80.
    let head = bytes.iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
    bytes.split_off(head)
}

/// A range of bytes that lie in memory, so that their offsets fit.
#[must_use]
pub fn place(range: Range<u64>) -> Range<usize> {
    let offset = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
    offset(range.start)..offset(range.end)
}

/// Validates a module or component; `what` names it.
///
/// # Errors
/// When it is not valid.
pub fn validate(what: &str, bytes: &[u8]) -> Result<()> {
    Validator::new_with_features(WasmFeatures::all())
        .validate_all(bytes)
        .map(drop)
        .map_err(|error| Error::new(format!("the {what} is not valid: {error}")))
}

/// The content of a module's first custom section of a name, if it has one.
///
/// # Errors
/// When the module cannot be parsed.
pub fn custom_section<'a>(module: &'a [u8], name: &str) -> wasmparser::Result<Option<&'a [u8]>> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload?
            && section.name() == name
        {
            return Ok(Some(section.data()));
        }
    }
    Ok(None)
}

/// The names of functions that a section `name` has, by index.
///
/// # Errors
/// When the section cannot be parsed.
pub fn function_names(section: NameSectionReader<'_>) -> wasmparser::Result<HashMap<u32, &str>> {
    let mut found = HashMap::new();
    for subsection in section {
        if let Name::Function(names) = subsection? {
            for naming in names {
                let naming = naming?;
                found.insert(naming.index, naming.name);
            }
        }
    }
    Ok(found)
}

/// Debug information, and what only the link reads.
fn left_out(section: &str) -> bool {
    section.starts_with(".debug") || section.starts_with("eryx.")
}

pub(crate) fn malformed(error: impl fmt::Display) -> Error {
    Error::new(format!("malformed WebAssembly module: {error}"))
}

/// What must be remembered between sections.
#[derive(Default)]
struct Reader {
    types: Vec<Option<FuncType>>,
    functions: Vec<u32>,
    import_flags: BTreeMap<(String, String), SymbolFlags>,
}

impl Reader {
    fn payload(&mut self, symbols: &mut Symbols, payload: Payload<'_>) -> wasmparser::Result<()> {
        match payload {
            Payload::CustomSection(section) => {
                if let KnownCustom::Dylink0(subsections) = section.as_known() {
                    symbols.dylink = true;
                    for subsection in subsections {
                        self.dylink(symbols, subsection?);
                    }
                }
            }
            Payload::TypeSection(section) => {
                for group in section {
                    for ty in group?.into_types() {
                        self.types.push(match ty.composite_type.inner {
                            wasmparser::CompositeInnerType::Func(signature) => Some(signature),
                            _ => None,
                        });
                    }
                }
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    self.import(symbols, import.module, import.name, import.ty);
                }
            }
            Payload::FunctionSection(section) => {
                for index in section {
                    self.functions.push(index?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    let ty = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => self
                            .functions
                            .get(export.index as usize)
                            .and_then(|index| self.types.get(*index as usize))
                            .and_then(Clone::clone)
                            .map_or(SymbolType::TableEntry, SymbolType::Function),
                        ExternalKind::Global => SymbolType::Data,
                        ExternalKind::Tag => SymbolType::Tag,
                        ExternalKind::Memory | ExternalKind::Table => continue,
                    };
                    symbols.exports.insert(export.name.to_owned(), ty);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn dylink(&mut self, symbols: &mut Symbols, subsection: Dylink0Subsection<'_>) {
        match subsection {
            Dylink0Subsection::Needed(names) => {
                symbols.needed = names.into_iter().map(str::to_owned).collect();
            }
            Dylink0Subsection::ImportInfo(infos) => {
                self.import_flags.extend(
                    infos.iter().map(|info| ((info.module.to_owned(), info.field.to_owned()), info.flags)),
                );
            }
            _ => {}
        }
    }

    fn import(&mut self, symbols: &mut Symbols, module: &str, name: &str, ty: TypeRef) {
        let ty = match (module, ty) {
            ("env", TypeRef::Func(index) | TypeRef::FuncExact(index)) => {
                self.functions.push(index);
                match self.types.get(index as usize).cloned().flatten() {
                    Some(signature) => SymbolType::Function(signature),
                    None => SymbolType::TableEntry,
                }
            }
            ("env", TypeRef::Tag(_)) => SymbolType::Tag,
            ("GOT.mem", TypeRef::Global(_)) => SymbolType::Data,
            ("GOT.func", TypeRef::Global(_)) => SymbolType::TableEntry,
            (_, ty) => {
                if let TypeRef::Func(index) | TypeRef::FuncExact(index) = ty {
                    self.functions.push(index);
                    symbols.foreign.push((module.to_owned(), name.to_owned()));
                }
                return;
            }
        };
        if FROM_LINKER.contains(&name) {
            return;
        }
        symbols.imports.push(Import { name: name.to_owned(), ty, weak: false });
    }

    /// The `dylink.0` section may say after the fact that an import is weak.
    fn finish(self, symbols: &mut Symbols) {
        for import in &mut symbols.imports {
            import.weak = self.import_flags.iter().any(|((_, field), flags)| {
                *field == import.name && flags.contains(SymbolFlags::BINDING_WEAK)
            });
        }
    }
}
