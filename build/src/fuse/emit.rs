//! Writes the fused module.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, FunctionSection, GlobalSection, GlobalType, ImportSection, Instruction, MemorySection,
    MemoryType, Module, NameMap, NameSection, RefType, TableSection, TableType, TagKind, TagSection, TagType,
    ValType,
};
use wasmparser::{FunctionBody, Operator};

use super::dl;
use super::layout::{Layout, PAGE};
use super::parse::{Function, Global, Parsed, malformed};
use super::relocate::Data;
use super::resolve::{Callee, Resolved, Value};
use super::types::Types;
use crate::error::{Error, Result};

/// The export that runs all constructors; the component calls it when all imports are there.
pub(super) const INITIALIZE: &str = "_initialize";

/// So many zeros in a row are left out of the data: memory is zero anyway.
const ZEROS: usize = 64;

/// Everything that goes into the module.
pub(super) struct Parts<'a, 'b> {
    pub libraries: &'b [Parsed<'a>],
    pub resolved: &'b Resolved<'a>,
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
    /// Whether code takes a reference of a function, by library and number.
    pub referenced: &'b BTreeSet<Callee>,
    pub debug_names: bool,
}

impl Parts<'_, '_> {
    /// Writes the module.
    ///
    /// # Errors
    /// When code cannot be read.
    pub fn emit(&self) -> Result<Vec<u8>> {
        let mut types = Types::default();
        let maps: Vec<Vec<u32>> =
            self.libraries.iter().map(|library| types.add(library)).collect::<Result<_>>()?;
        let thunk = types.of_words(0, 0);
        let dl_types = dl::FUNCTIONS.map(|(_, params)| types.of_words(params, 1));
        let numbers: HashMap<Callee, u32> = self.order.iter().copied().zip(0..).collect();
        let number = |callee: &Callee| {
            numbers.get(callee).copied().ok_or_else(|| Error::new("a function that is used has no number"))
        };
        let ty_in = |library: usize, ty: u32| maps[library].get(ty as usize).copied().unwrap_or(u32::MAX);

        let mut imports = ImportSection::new();
        let mut functions = FunctionSection::new();
        let mut code = CodeSection::new();
        let dl_bodies = dl::functions(self.dl);
        for callee in self.order {
            match *callee {
                Callee::Foreign(place) => {
                    let (module, name, library, ty) = self.resolved.foreign[place as usize];
                    imports.import(module, name, EntityType::Function(ty_in(library, ty)));
                }
                Callee::Body { library, function } => {
                    let library = library as usize;
                    let Function::Defined { ty, body } =
                        &self.libraries[library].functions[function as usize]
                    else {
                        return Err(Error::new("an imported function was taken for a defined one"));
                    };
                    functions.function(ty_in(library, *ty));
                    let mut rewriter = Rewriter {
                        types: &maps[library],
                        functions: &self.resolved.functions[library],
                        numbers: &numbers,
                        globals: &self.resolved.globals[library],
                        tags: &self.resolved.tags[library],
                    };
                    let body = rewriter
                        .body(body)
                        .map_err(|error| malformed(self.libraries[library].name, &error))?;
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
        for (library, ty) in &self.resolved.tag_types {
            tags.tag(TagType { kind: TagKind::Exception, func_type_idx: ty_in(*library, *ty) });
        }
        if !tags.is_empty() {
            module.section(&tags);
        }
        module.section(&self.globals(&maps)?).section(&exports).section(&elements).section(&code);
        module.section(&self.data());
        for library in self.libraries {
            for (name, data) in &library.component_types {
                module.section(&CustomSection { name: (*name).into(), data: (*data).into() });
            }
        }
        if self.debug_names {
            module.section(&self.names(&numbers));
        }
        Ok(module.finish())
    }

    fn table(&self, number: &impl Fn(&Callee) -> Result<u32>) -> Result<(TableSection, ElementSection)> {
        let size = self.resolved.slots.keys().next_back().map_or(1, |last| last + 1);
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
        for (slot, callee) in &self.resolved.slots {
            if first + run.len() as u32 != *slot {
                flush(first, &mut run);
                first = *slot;
            }
            run.push(number(callee)?);
        }
        flush(first, &mut run);
        if !self.referenced.is_empty() {
            let functions: Vec<u32> = self.referenced.iter().map(number).collect::<Result<_>>()?;
            elements.declared(Elements::Functions(functions.into()));
        }
        Ok((table, elements))
    }

    fn globals(&self, maps: &[Vec<u32>]) -> Result<GlobalSection> {
        let mut globals = GlobalSection::new();
        let stack = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
        globals.global(stack, &ConstExpr::i32_const(self.stack as i32));
        let numbers = HashMap::new();
        for kept in &self.resolved.kept {
            let library = &self.libraries[kept.library];
            let Some(Global::Defined { ty, init }) = library.globals.get(kept.global) else {
                return Err(Error::new("an imported global was taken for a defined one"));
            };
            let mut rewriter = Rewriter {
                types: &maps[kept.library],
                functions: &self.resolved.functions[kept.library],
                numbers: &numbers,
                globals: &self.resolved.globals[kept.library],
                tags: &[],
            };
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

    fn names(&self, numbers: &HashMap<Callee, u32>) -> NameSection {
        let mut named: Vec<(u32, &str)> = numbers
            .iter()
            .filter_map(|(callee, number)| match callee {
                Callee::Body { library, function } => {
                    let library = self.libraries.get(*library as usize)?;
                    library.names.get(function).map(|name| (*number, *name))
                }
                Callee::Dl(place) => dl::FUNCTIONS.get(*place as usize).map(|(name, _)| (*number, *name)),
                Callee::Foreign(_) | Callee::Missing { .. } => None,
            })
            .collect();
        named.sort_unstable();
        let mut map = NameMap::new();
        for (number, name) in named {
            map.append(number, name);
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

/// Turns a library's numbers into those of the fused module.
struct Rewriter<'b> {
    types: &'b [u32],
    functions: &'b [Callee],
    numbers: &'b HashMap<Callee, u32>,
    globals: &'b [Value],
    tags: &'b [u32],
}

type Rewritten<T> = std::result::Result<T, ReencodeError<Infallible>>;

impl Reencode for Rewriter<'_> {
    type Error = Infallible;

    // An index that is out of range becomes one that does not pass the validation of the result.
    fn type_index(&mut self, ty: u32) -> Rewritten<u32> {
        Ok(self.types.get(ty as usize).copied().unwrap_or(u32::MAX))
    }

    fn function_index(&mut self, function: u32) -> Rewritten<u32> {
        let callee = self.functions.get(function as usize);
        Ok(callee.and_then(|callee| self.numbers.get(callee)).copied().unwrap_or(u32::MAX))
    }

    fn global_index(&mut self, global: u32) -> Rewritten<u32> {
        Ok(match self.globals.get(global as usize) {
            Some(Value::Global(number)) => *number,
            Some(Value::Constant(_)) | None => u32::MAX,
        })
    }

    fn memory_index(&mut self, _memory: u32) -> Rewritten<u32> {
        Ok(0)
    }

    fn table_index(&mut self, _table: u32) -> Rewritten<u32> {
        Ok(0)
    }

    fn tag_index(&mut self, tag: u32) -> Rewritten<u32> {
        Ok(self.tags.get(tag as usize).copied().unwrap_or(u32::MAX))
    }

    fn instruction<'a>(&mut self, operator: Operator<'a>) -> Rewritten<Instruction<'a>> {
        if let Operator::GlobalGet { global_index } = operator
            && let Some(Value::Constant(value)) = self.globals.get(global_index as usize)
        {
            return Ok(Instruction::I32Const(*value));
        }
        wasm_encoder::reencode::utils::instruction(self, operator)
    }
}

impl Rewriter<'_> {
    /// Rewrites a function's body; sums of constants, as position-independent code has for each address, are
    /// done here.
    fn body(&mut self, body: &FunctionBody<'_>) -> Rewritten<wasm_encoder::Function> {
        let mut function = self.new_function_with_parsed_locals(body)?;
        let mut reader = body.get_operators_reader()?;
        let mut constants: Vec<i32> = Vec::new();
        while !reader.eof() {
            match self.instruction(reader.read()?)? {
                Instruction::I32Const(value) => constants.push(value),
                Instruction::I32Add if constants.len() > 1 => {
                    let right = constants.pop().unwrap_or_default();
                    let left = constants.pop().unwrap_or_default();
                    constants.push(left.wrapping_add(right));
                }
                instruction => {
                    for value in constants.drain(..) {
                        function.instruction(&Instruction::I32Const(value));
                    }
                    function.instruction(&instruction);
                }
            }
        }
        Ok(function)
    }
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
