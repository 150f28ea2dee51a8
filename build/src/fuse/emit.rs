//! Writes the fused module.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use wasm_encoder::reencode::Reencode;
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, FunctionSection, GlobalSection, GlobalType, ImportSection, MemorySection, MemoryType,
    Module, NameMap, NameSection, RefType, TableSection, TableType, TagKind, TagSection, TagType, ValType,
};

use super::dl;
use super::layout::{Layout, PAGE};
use super::parse::{Global, malformed};
use super::relocate::Data;
use super::resolve::Callee;
use super::rewrite::Code;
use super::types::Types;
use crate::error::{Error, Result};

/// The export that runs all constructors; the component calls it when all imports are there.
pub(super) const INITIALIZE: &str = "_initialize";

/// So many zeros in a row are left out of the data: memory is zero anyway.
const ZEROS: usize = 64;

/// Everything that goes into the module.
pub(super) struct Parts<'a, 'b> {
    pub code: Code<'a, 'b>,
    pub layout: &'b Layout,
    pub data: &'b [Data],
    pub dl: &'b dl::Tables,
    /// The size of the stack in bytes, which is where its pointer begins.
    pub stack: u32,
    /// Functions to export, by name.
    pub exports: &'b [(&'a str, Callee)],
    /// What the start calls, in order.
    pub initialize: &'b [Callee],
    /// The functions that may ever run, imports first, in order of their numbers.
    pub order: &'b [Callee],
    /// Those that another one stands for.
    pub folded: &'b BTreeMap<Callee, Callee>,
    /// Whether code takes a reference of a function, by library and number.
    pub referenced: &'b BTreeSet<Callee>,
    pub debug_names: bool,
}

impl Parts<'_, '_> {
    /// Writes the module; `types` are those that the code has numbers for.
    ///
    /// # Errors
    /// When code cannot be read.
    pub fn emit(&self, mut types: Types) -> Result<Vec<u8>> {
        let thunk = types.of_words(0, 0);
        let dl_types = dl::FUNCTIONS.map(|(_, params)| types.of_words(params, 1));
        let mut numbers: HashMap<Callee, u32> = self.order.iter().copied().zip(0..).collect();
        for (callee, other) in self.folded {
            let number = numbers.get(other).copied();
            numbers.extend(number.map(|number| (*callee, number)));
        }
        let number = |callee: &Callee| {
            numbers.get(callee).copied().ok_or_else(|| Error::new("a function that is used has no number"))
        };
        let ty_in = |library, ty| self.code.type_of(library, ty);

        let mut imports = ImportSection::new();
        let mut functions = FunctionSection::new();
        let mut code = CodeSection::new();
        let dl_bodies = dl::functions(self.dl);
        for callee in self.order {
            match *callee {
                Callee::Foreign(place) => {
                    let (module, name, library, ty) = self.code.resolved.foreign[place as usize];
                    imports.import(module, name, EntityType::Function(ty_in(library, ty)));
                }
                Callee::Body { library, function } => {
                    let (ty, body) = self.code.function(library as usize, function, &numbers)?;
                    functions.function(ty);
                    code.function(&body);
                }
                Callee::Dl(place) => {
                    functions.function(dl_types[place as usize]);
                    code.function(&dl_bodies[place as usize]);
                }
                Callee::Missing { library, ty } => {
                    functions.function(ty_in(library as usize, ty));
                    let mut body = wasm_encoder::Function::new([]);
                    body.instructions().unreachable().end();
                    code.function(&body);
                }
            }
        }
        functions.function(thunk);
        let mut start = wasm_encoder::Function::new([]);
        for callee in self.initialize {
            start.instructions().call(number(callee)?);
        }
        start.instructions().end();
        code.function(&start);

        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export(INITIALIZE, ExportKind::Func, self.order.len() as u32);
        for (name, callee) in self.exports {
            exports.export(name, ExportKind::Func, number(callee)?);
        }

        let mut module = Module::new();
        module.section(&types.section).section(&imports).section(&functions);
        let (table, elements) = self.table(&number)?;
        module.section(&table);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: u64::from(self.layout.heap_end / PAGE),
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        module.section(&memories);
        let mut tags = TagSection::new();
        for (library, ty) in &self.code.resolved.tag_types {
            tags.tag(TagType { kind: TagKind::Exception, func_type_idx: ty_in(*library, *ty) });
        }
        if !tags.is_empty() {
            module.section(&tags);
        }
        module.section(&self.globals()?).section(&exports).section(&elements).section(&code);
        module.section(&self.data());
        for library in self.code.libraries {
            for (name, data) in &library.component_types {
                module.section(&CustomSection { name: (*name).into(), data: (*data).into() });
            }
        }
        if self.debug_names {
            module.section(&self.names());
        }
        Ok(module.finish())
    }

    fn table(&self, number: &impl Fn(&Callee) -> Result<u32>) -> Result<(TableSection, ElementSection)> {
        let size = self.code.resolved.slots.keys().next_back().map_or(1, |last| last + 1);
        let mut table = TableSection::new();
        table.table(TableType {
            element_type: RefType::FUNCREF,
            minimum: size.into(),
            maximum: Some(size.into()),
            table64: false,
            shared: false,
        });
        let mut elements = ElementSection::new();
        let mut run: Vec<u32> = Vec::new();
        let mut first = 0;
        let mut flush = |first: u32, run: &mut Vec<u32>| {
            if !run.is_empty() {
                let offset = ConstExpr::i32_const(first as i32);
                elements.active(None, &offset, Elements::Functions(std::mem::take(run).into()));
            }
        };
        for (slot, callee) in &self.code.resolved.slots {
            if first + run.len() as u32 != *slot {
                flush(first, &mut run);
                first = *slot;
            }
            run.push(number(callee)?);
        }
        flush(first, &mut run);
        if !self.referenced.is_empty() {
            let functions: BTreeSet<u32> = self.referenced.iter().map(number).collect::<Result<_>>()?;
            let functions: Vec<u32> = functions.into_iter().collect();
            elements.declared(Elements::Functions(functions.into()));
        }
        Ok((table, elements))
    }

    fn globals(&self) -> Result<GlobalSection> {
        let mut globals = GlobalSection::new();
        let stack = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(stack, &ConstExpr::i32_const(self.stack as i32));
        let numbers = HashMap::new();
        for kept in &self.code.resolved.kept {
            let library = &self.code.libraries[kept.library];
            let Some(Global::Defined { ty, init }) = library.globals.get(kept.global) else {
                return Err(Error::new("an imported global was taken for a defined one"));
            };
            let mut rewriter = self.code.rewriter(kept.library, &numbers);
            let told = |error| malformed(library.name, &error);
            let ty = rewriter.global_type(*ty).map_err(told)?;
            globals.global(ty, &rewriter.const_expr(init.clone()).map_err(told)?);
        }
        Ok(globals)
    }

    fn data(&self) -> DataSection {
        let mut section = DataSection::new();
        let mut place = |base: u32, bytes: &[u8]| {
            for (offset, run) in runs(bytes) {
                let address = ConstExpr::i32_const(base.wrapping_add(offset as u32) as i32);
                section.active(0, &address, run.iter().copied());
            }
        };
        place(self.layout.dl, &self.dl.bytes);
        for (base, data) in self.layout.bases.iter().zip(self.data) {
            place(base.memory, &data.bytes);
        }
        section
    }

    fn names(&self) -> NameSection {
        let mut map = NameMap::new();
        for (number, callee) in (0..).zip(self.order) {
            let name = match *callee {
                Callee::Body { library, function } => {
                    self.code.libraries[library as usize].names.get(&function).copied()
                }
                Callee::Dl(place) => Some(dl::FUNCTIONS[place as usize].0),
                Callee::Foreign(_) | Callee::Missing { .. } => None,
            };
            if let Some(name) = name {
                map.append(number, name);
            }
        }
        let mut names = NameSection::new();
        names.functions(&map);
        names
    }
}

/// The parts of some bytes between long runs of zeros, with their offsets.
fn runs(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut runs = Vec::new();
    let mut begin = None;
    let mut last = 0;
    for (offset, byte) in bytes.iter().enumerate() {
        if *byte == 0 {
            continue;
        }
        match begin {
            Some(first) if offset - last > ZEROS => {
                runs.push((first, &bytes[first..=last]));
                begin = Some(offset);
            }
            Some(_) => {}
            None => begin = Some(offset),
        }
        last = offset;
    }
    runs.extend(begin.map(|first| (first, &bytes[first..=last])));
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_of_zeros_are_left_out() {
        let mut bytes = vec![0; 300];
        bytes[3] = 1;
        bytes[10] = 2;
        bytes[200] = 3;
        let expected: [(usize, &[u8]); 2] = [(3, &[1, 0, 0, 0, 0, 0, 0, 2]), (200, &[3])];
        assert_eq!(runs(&bytes), expected);
        assert_eq!(runs(&[0; 70]), []);
        assert_eq!(runs(&[]), []);
    }
}
