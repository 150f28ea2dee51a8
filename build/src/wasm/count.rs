//! Counts how often each part of a module's code runs, and tells from that which branches hardly ever go one way.
//!
//! A part begins with the function, behind each branch, with each loop, and where a block ends.

use std::convert::Infallible;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode, utils};
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, MemArg, MemArgTarget, MemorySection, MemoryType, Module,
};
use wasmparser::{
    BinaryReaderError, ExportSectionReader, FunctionBody, MemorySectionReader, Operator, Parser,
};

use super::hints::{Hints, for_each_function};
use super::malformed;
use crate::error::{Error, Result};

/// The export of a module that counts: a memory of 64-bit numbers, one for each part of the code.
pub const COUNTS: &str = "counts";

/// The size of such a number, in bytes.
const SIZE: usize = size_of::<u64>();

/// What runs so many times less than what leads there is told to be rare.
const RARE: u64 = 100;

/// The size of a page of memory, in bytes.
const PAGE: usize = 1 << 16;

/// Makes a module with one memory of its own count, in a second one that it exports as [`COUNTS`].
///
/// # Errors
/// When the bytes are no core module.
pub fn counted(module: &[u8]) -> Result<Vec<u8>> {
    let mut parts = 0;
    for_each_function(module, |_, body| {
        parts += 1;
        for_each_part(body, |_, begins| {
            parts += usize::from(begins);
            Ok(())
        })
    })
    .map_err(malformed)?;
    let mut counter = Counter { parts, next: 0 };
    let mut out = Module::new();
    counter.parse_core_module(&mut out, Parser::new(0), module).map_err(malformed)?;
    Ok(out.finish())
}

/// Puts the counting into a module.
struct Counter {
    /// How many parts there are.
    parts: usize,
    /// The part that comes next.
    next: usize,
}

type Counted = std::result::Result<(), ReencodeError<Infallible>>;

impl Reencode for Counter {
    type Error = Infallible;

    fn parse_memory_section(
        &mut self,
        memories: &mut MemorySection,
        section: MemorySectionReader<'_>,
    ) -> Counted {
        utils::parse_memory_section(self, memories, section)?;
        let minimum = (self.parts * SIZE).div_ceil(PAGE) as u64;
        memories.memory(MemoryType {
            minimum,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: ExportSectionReader<'_>,
    ) -> Counted {
        utils::parse_export_section(self, exports, section)?;
        exports.export(COUNTS, ExportKind::Memory, 1);
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Counted {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        self.count(&mut function);
        for_each_part(&body, |operator, begins| {
            function.instruction(&self.instruction(operator)?);
            if begins {
                self.count(&mut function);
            }
            Ok::<_, ReencodeError<Infallible>>(())
        })?;
        code.function(&function);
        Ok(())
    }
}

impl Counter {
    fn count(&mut self, function: &mut Function) {
        let offset = (self.next * SIZE) as u64;
        let place = MemArg { offset, align: 3, target: MemArgTarget::Memory(1), ordering: None };
        let mut code = function.instructions();
        code.i32_const(0).i32_const(0).i64_load(place).i64_const(1).i64_add().i64_store(place);
        self.next += 1;
    }
}

/// Hands over the instructions of a function, and whether a part begins behind each.
fn for_each_part<'a, E: From<BinaryReaderError>>(
    body: &FunctionBody<'a>,
    mut take: impl FnMut(Operator<'a>, bool) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    // How many blocks are open.
    let mut depth = 0_u32;
    for operator in body.get_operators_reader()? {
        let operator = operator?;
        let begins = match operator {
            Operator::Block { .. } | Operator::TryTable { .. } => {
                depth += 1;
                false
            }
            Operator::Loop { .. } | Operator::If { .. } => {
                depth += 1;
                true
            }
            Operator::Else | Operator::BrIf { .. } => true,
            // The last one ends the function.
            Operator::End if depth > 0 => {
                depth -= 1;
                true
            }
            _ => false,
        };
        take(operator, begins)?;
    }
    Ok(())
}

/// The branches of a module that hardly ever went one way; `counts` is what the same module, made to count, has left in
/// [`COUNTS`]. Of what never ran, nothing is known.
///
/// # Errors
/// When the bytes are no core module, or there are not as many counts as it has parts.
pub fn rare(module: &[u8], counts: &[u8]) -> Result<Hints> {
    let counts: Vec<u64> =
        counts.as_chunks::<SIZE>().0.iter().map(|count| u64::from_le_bytes(*count)).collect();
    let mut counts = counts.into_iter();
    let mut hints = Hints::new();
    let mut missing = false;
    for_each_function(module, |number, body| {
        let mut known = Known::new(counts.next());
        for_each_part(body, |operator, begins| {
            let count = begins.then(|| counts.next()).flatten();
            missing |= begins && count.is_none();
            known.add(&operator, count);
            Ok::<_, BinaryReaderError>(())
        })?;
        hints.insert(number, known.rare());
        Ok(())
    })
    .map_err(malformed)?;
    if missing {
        return Err(Error::new("expected a count for each part of the code but found fewer"));
    }
    hints.retain(|_, known| !known.is_empty());
    Ok(hints)
}

/// A branch: how often it ran, and how often the part behind it.
struct Branch {
    ran: u64,
    behind: u64,
    /// An `if` and its block, or the block that a `br_if` leaves.
    block: usize,
    is_if: bool,
}

/// A block: how often the parts ran that branches lead to. A loop, which branches repeat, and the function have none.
#[derive(Clone, Copy, Default)]
struct Block {
    is_loop: bool,
    /// The part behind its end.
    behind: Option<u64>,
    /// The part behind its `else`.
    otherwise: Option<u64>,
}

/// What is known of one function.
struct Known {
    /// Whether any part of it ran.
    ran: bool,
    /// How often the part ran that we are in.
    now: u64,
    /// The blocks in the order in which they begin; the first is the function.
    blocks: Vec<Block>,
    /// Those that are open.
    open: Vec<usize>,
    branches: Vec<Branch>,
}

impl Known {
    fn new(count: Option<u64>) -> Self {
        let now = count.unwrap_or_default();
        Self { ran: now > 0, now, blocks: vec![Block::default()], open: vec![0], branches: Vec::new() }
    }

    /// Goes on by an instruction; `count` is how often the part ran that begins behind it.
    fn add(&mut self, operator: &Operator<'_>, count: Option<u64>) {
        match operator {
            Operator::Block { .. } | Operator::TryTable { .. } => self.open(false),
            Operator::Loop { .. } => self.open(true),
            Operator::If { .. } => {
                self.branch(self.blocks.len(), true, count);
                self.open(false);
            }
            Operator::BrIf { relative_depth } => {
                let place = self.open.len().checked_sub(1 + *relative_depth as usize);
                let block = place.and_then(|place| self.open.get(place)).copied();
                self.branch(block.unwrap_or_default(), false, count);
            }
            Operator::Else => {
                if let Some(block) = self.open.last().and_then(|block| self.blocks.get_mut(*block)) {
                    block.otherwise = count;
                }
            }
            Operator::End => {
                if let Some(block) = self.open.pop().and_then(|block| self.blocks.get_mut(block)) {
                    block.behind = count.filter(|_| !block.is_loop);
                }
            }
            _ => {}
        }
        self.now = count.unwrap_or(self.now);
        self.ran |= self.now > 0;
    }

    fn open(&mut self, is_loop: bool) {
        self.open.push(self.blocks.len());
        self.blocks.push(Block { is_loop, ..Block::default() });
    }

    fn branch(&mut self, block: usize, is_if: bool, count: Option<u64>) {
        self.branches.push(Branch { ran: self.now, behind: count.unwrap_or_default(), block, is_if });
    }

    /// The branches that have a rare side. Engines put away the part on that side, whoever else leads there: so it is what
    /// that part has run that counts, and not how often the branch went there.
    fn rare(&self) -> Vec<(u32, bool)> {
        let mut rare = Vec::new();
        for (ordinal, branch) in (0..).zip(&self.branches) {
            let is_rare = |count: u64| count.saturating_mul(RARE) < branch.ran;
            let block = self.blocks.get(branch.block).copied().unwrap_or_default();
            let aside = if branch.is_if { block.otherwise } else { block.behind };
            // What lies within code that never ran goes where that goes.
            if is_rare(branch.behind) || branch.ran == 0 && branch.behind == 0 && self.ran {
                rare.push((ordinal, !branch.is_if));
            } else if aside.is_some_and(is_rare) {
                rare.push((ordinal, branch.is_if));
            }
        }
        rare
    }
}
