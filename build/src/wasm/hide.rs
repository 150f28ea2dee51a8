//! Keeps what an extension module defines to itself.
//!
//! CPython opens extension modules so that they share no symbols (`RTLD_LOCAL`), and looks up `PyInit_*` alone.
//! Compilers export more than that, for Rust and for C++ above all. An export that the library does not import
//! itself goes; one that it does gets a name that no other library has.

use std::collections::BTreeSet;

use wasm_encoder::reencode::{Reencode as _, RoundtripReencoder};
use wasm_encoder::{ExportSection, ImportSection, Section as _};
use wasmparser::{Imports, Parser, Payload, TypeRef};

use super::{PER_LIBRARY, Symbols, malformed, place, section_body};
use crate::error::Result;

/// What begins the names of the functions that an extension module is opened for.
const INIT: &str = "PyInit_";

/// A module that exports `PyInit_*` and what the linker calls, and nothing else by a name that others use.
/// One that exports no more is returned as it is.
///
/// # Errors
/// When the bytes are no valid core module.
pub fn hidden(module: &[u8], library: &str) -> Result<Vec<u8>> {
    let symbols = Symbols::read(module)?;
    let names: BTreeSet<&str> =
        symbols.exports.keys().map(String::as_str).filter(|name| !is_kept(name)).collect();
    if names.is_empty() {
        return Ok(module.to_vec());
    }
    let imported: BTreeSet<&str> = symbols
        .imports
        .iter()
        .map(|import| import.name.as_str())
        .filter(|name| names.contains(name))
        .collect();
    let own = |name: &str| format!("{name}@{library}");

    let mut out = module.get(..8).ok_or_else(|| malformed("it is too short"))?.to_vec();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(malformed)?;
        match &payload {
            Payload::ImportSection(reader) if !imported.is_empty() => {
                let mut section = ImportSection::new();
                for group in reader.clone() {
                    each(group.map_err(malformed)?, &mut |from, name, ty| {
                        let entity = RoundtripReencoder.entity_type(ty).map_err(malformed)?;
                        let symbol =
                            matches!(from, "env" | "GOT.mem" | "GOT.func") && imported.contains(name);
                        let name = if symbol { own(name) } else { name.to_owned() };
                        section.import(from, &name, entity);
                        Ok(())
                    })?;
                }
                append(section.id(), &section_body(&section), &mut out);
            }
            Payload::ExportSection(reader) => {
                let mut section = ExportSection::new();
                for export in reader.clone() {
                    let export = export.map_err(malformed)?;
                    let kind = RoundtripReencoder.export_kind(export.kind).map_err(malformed)?;
                    if imported.contains(export.name) {
                        section.export(&own(export.name), kind, export.index);
                    } else if !names.contains(export.name) {
                        section.export(export.name, kind, export.index);
                    }
                }
                append(section.id(), &section_body(&section), &mut out);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = module.get(place(range)).ok_or_else(|| malformed("a section is cut off"))?;
                    append(id, data, &mut out);
                }
            }
        }
    }
    Ok(out)
}

/// Whether an export keeps its name.
pub(crate) fn is_kept(name: &str) -> bool {
    name.starts_with(INIT) || PER_LIBRARY.contains(&name)
}

fn append(id: u8, data: &[u8], out: &mut Vec<u8>) {
    use wasm_encoder::Section as _;
    wasm_encoder::RawSection { id, data }.append_to(out);
}

/// Each import of a group, as module, name and type.
///
/// # Errors
/// When the group is malformed, or what `one` fails with.
pub(crate) fn each(group: Imports<'_>, one: &mut dyn FnMut(&str, &str, TypeRef) -> Result<()>) -> Result<()> {
    match group {
        Imports::Single(_, import) => one(import.module, import.name, import.ty),
        Imports::Compact1 { module, items } => {
            for item in items {
                let item = item.map_err(malformed)?;
                one(module, item.name, item.ty)?;
            }
            Ok(())
        }
        Imports::Compact2 { module, ty, names } => {
            for name in names {
                one(module, name.map_err(malformed)?, ty)?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = r#"(module
        (@custom "dylink.0" (before first) "\01\04\08\02\00\00")
        (type $nothing (func))
        (import "env" "memory" (memory 0))
        (import "env" "__memory_base" (global i32))
        (import "env" "helper" (func (type $nothing)))
        (import "env" "malloc" (func (param i32) (result i32)))
        (import "GOT.mem" "table" (global (mut i32)))
        (import "GOT.func" "callback" (global (mut i32)))
        (func $helper) (func $callback) (func $lonely) (func $init)
        (global i32 (i32.const 0))
        (export "PyInit_x" (func $init))
        (export "__wasm_call_ctors" (func $lonely))
        (export "helper" (func $helper))
        (export "callback" (func $callback))
        (export "lonely" (func $lonely))
        (export "table" (global 3)))"#;

    #[test]
    fn only_the_init_function_keeps_its_name() {
        let module = wat::parse_str(MODULE).unwrap();
        let after = hidden(&module, "/x.so").unwrap();
        crate::wasm::validate("module", &after).unwrap();
        let symbols = Symbols::read(&after).unwrap();
        let exports: Vec<_> = symbols.exports.keys().map(String::as_str).collect();
        assert_eq!(
            exports,
            ["PyInit_x", "__wasm_call_ctors", "callback@/x.so", "helper@/x.so", "table@/x.so"]
        );
        let imports: Vec<_> = symbols.imports.iter().map(|import| import.name.as_str()).collect();
        assert_eq!(imports, ["helper@/x.so", "malloc", "table@/x.so", "callback@/x.so"]);
        assert!(symbols.dylink);
    }

    #[test]
    fn a_module_with_nothing_to_hide_is_left_alone() {
        let text = r#"(module (import "env" "f" (func)) (func (export "PyInit_x")))"#;
        let module = wat::parse_str(text).unwrap();
        assert_eq!(hidden(&module, "x").unwrap(), module);
        assert!(hidden(b"no module", "x").unwrap_err().message().starts_with("malformed WebAssembly module"));
    }
}
