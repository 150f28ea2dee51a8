//! Turns the code of a library into that of the fused module.

use std::collections::HashMap;
use std::convert::Infallible;

use wasm_encoder::Instruction;
use wasm_encoder::reencode::{Error as ReencodeError, Reencode};
use wasmparser::{FunctionBody, Operator};

use super::parse::{Function, Parsed, malformed};
use super::resolve::{Callee, Resolved, Value};
use crate::error::{Error, Result};

/// The code of all libraries, and what the numbers in it mean.
pub(super) struct Code<'a, 'b> {
    pub libraries: &'b [Parsed<'a>],
    pub resolved: &'b Resolved<'a>,
    /// For each library, its types' numbers in the fused module.
    pub types: &'b [Vec<u32>],
}

impl Code<'_, '_> {
    /// The type of a library's function in the fused module.
    pub fn type_of(&self, library: usize, ty: u32) -> u32 {
        // A number that is out of range does not pass the validation of the result.
        self.types[library].get(ty as usize).copied().unwrap_or(u32::MAX)
    }

    /// Rewrites what a library has, where functions have the `numbers`.
    pub fn rewriter<'n>(&'n self, library: usize, numbers: &'n HashMap<Callee, u32>) -> Rewriter<'n> {
        Rewriter {
            types: &self.types[library],
            functions: &self.resolved.functions[library],
            numbers,
            globals: &self.resolved.globals[library],
            tags: &self.resolved.tags[library],
        }
    }

    /// A function of a library with its type, where functions have the `numbers`.
    ///
    /// # Errors
    /// When its code cannot be read.
    pub fn function(
        &self,
        library: usize,
        function: u32,
        numbers: &HashMap<Callee, u32>,
    ) -> Result<(u32, wasm_encoder::Function)> {
        let parsed = &self.libraries[library];
        let Function::Defined { ty, body } = &parsed.functions[function as usize] else {
            return Err(Error::new("an imported function was taken for a defined one"));
        };
        let body =
            self.rewriter(library, numbers).body(body).map_err(|error| malformed(parsed.name, &error))?;
        Ok((self.type_of(library, *ty), body))
    }
}

/// Turns a library's numbers into those of the fused module.
pub(super) struct Rewriter<'b> {
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
