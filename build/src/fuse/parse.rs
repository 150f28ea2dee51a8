//! Reads a shared library into its index spaces, borrowing code and data from its bytes.

use std::collections::{BTreeSet, HashMap};

use wasmparser::{
    ConstExpr, Data, Dylink0Subsection, Element, ExternalKind, FunctionBody, GlobalType, KnownCustom,
    MemInfo, Parser, Payload, RecGroup, SymbolFlags, TypeRef,
};

use crate::error::{Error, Result};
use crate::wasm;

/// A function of a library's index space.
pub(super) enum Function<'a> {
    /// From another library (module `env`) or from the embedder.
    Import { module: &'a str, name: &'a str, ty: u32 },
    /// Its own.
    Defined { ty: u32, body: FunctionBody<'a> },
}

/// A global of a library's index space.
pub(super) enum Global<'a> {
    Import { module: &'a str, name: &'a str },
    Defined { ty: GlobalType, init: ConstExpr<'a> },
}

/// An exception tag of a library's index space.
pub(super) enum Tag<'a> {
    Import { name: &'a str },
    Defined { ty: u32 },
}

/// A shared library, read.
pub(super) struct Parsed<'a> {
    pub name: &'a str,
    /// Whether it is opened by name with `dlopen`.
    pub openable: bool,
    pub memory: MemInfo,
    pub types: Vec<RecGroup>,
    pub functions: Vec<Function<'a>>,
    pub globals: Vec<Global<'a>>,
    pub tags: Vec<Tag<'a>>,
    /// What is exported, in order.
    pub exports: Vec<(&'a str, ExternalKind, u32)>,
    pub start: Option<u32>,
    pub elements: Vec<Element<'a>>,
    pub data: Vec<Data<'a>>,
    /// Symbols that may stay unresolved.
    pub weak: BTreeSet<&'a str>,
    /// Names of functions, from the section `name`.
    pub names: HashMap<u32, &'a str>,
    /// Custom sections that tell the component encoder about worlds.
    pub component_types: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Parsed<'a> {
    /// Reads a library.
    ///
    /// # Errors
    /// When the bytes are no shared library, or it has what only an executable may have.
    pub fn read(name: &'a str, openable: bool, module: &'a [u8]) -> Result<Self> {
        let mut parsed = Self {
            name,
            openable,
            memory: MemInfo { memory_size: 0, memory_alignment: 0, table_size: 0, table_alignment: 0 },
            types: Vec::new(),
            functions: Vec::new(),
            globals: Vec::new(),
            tags: Vec::new(),
            exports: Vec::new(),
            start: None,
            elements: Vec::new(),
            data: Vec::new(),
            weak: BTreeSet::new(),
            names: HashMap::new(),
            component_types: Vec::new(),
        };
        let mut declared = Vec::new();
        let mut bodies = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload.map_err(|error| malformed(name, &error))?;
            parsed.payload(payload, &mut declared, &mut bodies).map_err(|error| malformed(name, &error))?;
        }
        if declared.len() != bodies.len() {
            return Err(Error::new(format!(
                "malformed WebAssembly module `{name}`: functions and code differ"
            )));
        }
        let defined = declared.into_iter().zip(bodies);
        parsed.functions.extend(defined.map(|(ty, body)| Function::Defined { ty, body }));
        Ok(parsed)
    }

    fn payload(
        &mut self,
        payload: Payload<'a>,
        declared: &mut Vec<u32>,
        bodies: &mut Vec<FunctionBody<'a>>,
    ) -> wasmparser::Result<()> {
        match payload {
            Payload::TypeSection(section) => {
                self.types = section.into_iter().collect::<wasmparser::Result<_>>()?;
            }
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import?;
                    self.import(import.module, import.name, import.ty);
                }
            }
            Payload::FunctionSection(section) => {
                *declared = section.into_iter().collect::<wasmparser::Result<_>>()?;
            }
            Payload::GlobalSection(section) => {
                for global in section {
                    let global = global?;
                    self.globals.push(Global::Defined { ty: global.ty, init: global.init_expr });
                }
            }
            Payload::TagSection(section) => {
                for tag in section {
                    self.tags.push(Tag::Defined { ty: tag?.func_type_idx });
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    self.exports.push((export.name, export.kind, export.index));
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(func),
            Payload::ElementSection(section) => {
                self.elements = section.into_iter().collect::<wasmparser::Result<_>>()?;
            }
            Payload::DataSection(section) => {
                self.data = section.into_iter().collect::<wasmparser::Result<_>>()?;
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::Dylink0(subsections) => {
                    for subsection in subsections {
                        self.dylink(subsection?);
                    }
                }
                KnownCustom::Name(section) => self.names = wasm::function_names(section)?,
                _ if section.name().starts_with("component-type") => {
                    self.component_types.push((section.name(), section.data()));
                }
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, module: &'a str, name: &'a str, ty: TypeRef) {
        match ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => {
                self.functions.push(Function::Import { module, name, ty });
            }
            TypeRef::Global(_) => self.globals.push(Global::Import { module, name }),
            TypeRef::Tag(_) => self.tags.push(Tag::Import { name }),
            // There is one memory and one table.
            TypeRef::Memory(_) | TypeRef::Table(_) => {}
        }
    }

    fn dylink(&mut self, subsection: Dylink0Subsection<'a>) {
        match subsection {
            Dylink0Subsection::MemInfo(info) => self.memory = info,
            Dylink0Subsection::ImportInfo(infos) => {
                let weak = infos.iter().filter(|info| info.flags.contains(SymbolFlags::BINDING_WEAK));
                self.weak.extend(weak.map(|info| info.field));
            }
            _ => {}
        }
    }

    /// The index of an exported function.
    pub fn exported_function(&self, wanted: &str) -> Option<u32> {
        self.exports
            .iter()
            .find(|(name, kind, _)| *name == wanted && *kind == ExternalKind::Func)
            .map(|(.., index)| *index)
    }
}

/// A library that cannot be read.
pub(super) fn malformed(library: &str, error: &dyn std::fmt::Display) -> Error {
    Error::new(format!("malformed WebAssembly module `{library}`: {error}"))
}
