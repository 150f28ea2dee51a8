//! A shared library with another one's symbols and no code: what others are linked against.

use std::collections::BTreeMap;

use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, Encode as _, ExportKind, ExportSection, Function, FunctionSection,
    GlobalSection, GlobalType, Module, TypeSection, ValType,
};
use wasmparser::{Dylink0Subsection, FuncType, KnownCustom, Parser, Payload};

use super::{SymbolType, Symbols, malformed};
use crate::error::{Error, Result};

/// Subsections of `dylink.0`.
const MEM_INFO: u8 = 1;
const NEEDED: u8 = 2;
const EXPORT_INFO: u8 = 3;

/// Makes a library that exports what `module` does, by the same names, types and flags, and needs the same
/// libraries. Equal symbols give equal bytes, whatever is behind them: order, addresses and sizes are not in it.
///
/// # Errors
/// When the bytes are no shared library, or export something that a linker could not use.
pub fn stub(module: &[u8]) -> Result<Vec<u8>> {
    let symbols = Symbols::read(module)?;
    if !symbols.dylink {
        return Err(malformed("it has no `dylink.0` section"));
    }
    let mut types = TypeSection::new();
    let mut functions = FunctionSection::new();
    let mut globals = GlobalSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, ty) in &symbols.exports {
        match ty {
            SymbolType::Function(signature) => {
                let Some((params, results)) = encoded(signature) else {
                    problems.push(format!("`{name}`: {ty}"));
                    continue;
                };
                let index = *known.entry(signature.to_string()).or_insert_with(|| {
                    types.ty().function(params, results);
                    types.len() - 1
                });
                exports.export(name, ExportKind::Func, functions.len());
                functions.function(index);
                let mut body = Function::new([]);
                body.instructions().unreachable().end();
                code.function(&body);
            }
            SymbolType::Data => {
                exports.export(name, ExportKind::Global, globals.len());
                let address = GlobalType { val_type: ValType::I32, mutable: false, shared: false };
                globals.global(address, &ConstExpr::i32_const(0));
            }
            SymbolType::Tag | SymbolType::TableEntry => problems.push(format!("`{name}`: {ty}")),
        }
    }
    if !problems.is_empty() {
        return Err(Error::new("cannot make a library of the symbols alone").details(problems));
    }
    let mut module_of_symbols = Module::new();
    let dylink = dylink(&symbols.needed, &export_flags(module)?);
    module_of_symbols.section(&CustomSection { name: "dylink.0".into(), data: dylink.into() });
    module_of_symbols.section(&types).section(&functions).section(&globals).section(&exports).section(&code);
    Ok(module_of_symbols.finish())
}

/// Parameters and results of a function that uses number types only, as all of C's do.
fn encoded(signature: &FuncType) -> Option<(Vec<ValType>, Vec<ValType>)> {
    let list = |types: &[wasmparser::ValType]| {
        types
            .iter()
            .map(|ty| match ty {
                wasmparser::ValType::I32 => Some(ValType::I32),
                wasmparser::ValType::I64 => Some(ValType::I64),
                wasmparser::ValType::F32 => Some(ValType::F32),
                wasmparser::ValType::F64 => Some(ValType::F64),
                wasmparser::ValType::V128 => Some(ValType::V128),
                wasmparser::ValType::Ref(_) => None,
            })
            .collect::<Option<Vec<_>>>()
    };
    Some((list(signature.params())?, list(signature.results())?))
}

/// Exports with flags (weak ones, say), by name.
fn export_flags(module: &[u8]) -> Result<BTreeMap<String, u32>> {
    let mut flags = BTreeMap::new();
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::CustomSection(section) = payload.map_err(malformed)?
            && let KnownCustom::Dylink0(subsections) = section.as_known()
        {
            for subsection in subsections {
                if let Dylink0Subsection::ExportInfo(infos) = subsection.map_err(malformed)? {
                    flags.extend(infos.iter().map(|info| (info.name.to_owned(), info.flags.bits())));
                }
            }
        }
    }
    Ok(flags)
}

fn dylink(needed: &[String], flags: &BTreeMap<String, u32>) -> Vec<u8> {
    let mut section = Vec::new();
    let mut subsection = |id: u8, content: &[u8]| {
        section.push(id);
        content.encode(&mut section);
    };
    // Memory and table: sizes and alignments.
    subsection(MEM_INFO, &[0; 4]);
    let mut list = Vec::new();
    needed.len().encode(&mut list);
    for name in needed {
        name.encode(&mut list);
    }
    subsection(NEEDED, &list);
    if !flags.is_empty() {
        let mut list = Vec::new();
        flags.len().encode(&mut list);
        for (name, flags) in flags {
            name.encode(&mut list);
            flags.encode(&mut list);
        }
        subsection(EXPORT_INFO, &list);
    }
    section
}
