//! What every import means, now that all libraries and their places are known.

use std::collections::{BTreeMap, HashMap};

use wasmparser::{ConstExpr, ElementItems, ElementKind, ExternalKind, Operator};

use super::dl;
use super::layout::Layout;
use super::parse::{Function, Global, Parsed, Tag, malformed};
use super::scan::Scan;
use crate::error::{Error, Result};
use crate::wasm;

/// A function of the fused module, before it has a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Callee {
    /// An import from the embedder, by its place in [`Resolved::foreign`].
    Foreign(u32),
    /// A function of a library.
    Body { library: u32, function: u32 },
    /// A function of `dlopen` and its kin, by its place in [`dl::FUNCTIONS`].
    Dl(u32),
    /// A trap in the place of a weak symbol that nobody defines; of this type in the library's numbering.
    Missing { library: u32, ty: u32 },
}

/// What a global of a library is in the fused module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// It has one value for ever.
    Constant(i32),
    /// A global, by number; 0 is the stack pointer.
    Global(u32),
}

/// A global of the fused module: which library's it was, and its number there.
pub(super) struct Kept {
    pub library: usize,
    pub global: usize,
}

/// The result: one entry for each library, in its own numbering.
pub(super) struct Resolved<'a> {
    pub functions: Vec<Vec<Callee>>,
    pub globals: Vec<Vec<Value>>,
    /// Tags by number in the fused module.
    pub tags: Vec<Vec<u32>>,
    /// Imports from the embedder: module, name, and an importing library with its type.
    pub foreign: Vec<(&'a str, &'a str, usize, u32)>,
    /// Globals from number 1 on.
    pub kept: Vec<Kept>,
    /// Tags: a library and the type in its numbering.
    pub tag_types: Vec<(usize, u32)>,
    /// The table, by slot.
    pub slots: BTreeMap<u32, Callee>,
    /// Libraries that can be opened, sorted by path, with the slots of what they export.
    pub openable: Vec<dl::Openable<'a>>,
}

/// Names in module `env` or `GOT.mem` that stand for places in the layout.
fn linker_symbol(name: &str, layout: &Layout, stack: u32) -> Option<u32> {
    match name {
        "__heap_base" => Some(layout.heap_base),
        "__heap_end" => Some(layout.heap_end),
        "__stack_high" => Some(stack),
        "__stack_low" => Some(0),
        _ => None,
    }
}

/// Symbols by name; where two libraries export one, the first counts, as in the dynamic link.
struct Symbols<'a> {
    functions: HashMap<&'a str, (u32, u32)>,
    data: HashMap<&'a str, u32>,
    tags: HashMap<&'a str, (usize, u32)>,
}

impl<'a> Symbols<'a> {
    fn collect(libraries: &[Parsed<'a>], layout: &Layout) -> Result<Self> {
        let mut symbols = Self { functions: HashMap::new(), data: HashMap::new(), tags: HashMap::new() };
        for (place, (library, base)) in libraries.iter().zip(&layout.bases).enumerate() {
            for &(name, kind, index) in &library.exports {
                // A library that is opened by name shares no symbol: what it has for itself no other one imports.
                if library.openable && wasm::is_kept(name) {
                    continue;
                }
                match kind {
                    ExternalKind::Func | ExternalKind::FuncExact => {
                        symbols.functions.entry(name).or_insert((place as u32, index));
                    }
                    ExternalKind::Global => {
                        let offset = match library.globals.get(index as usize) {
                            // The value of an exported global is an offset into the library's data.
                            Some(Global::Defined { init, .. }) => evaluate(init, &[]),
                            _ => None,
                        };
                        let offset = offset.ok_or_else(|| {
                            Error::new(format!(
                                "cannot prelink `{}`: the symbol `{name}` has no constant address",
                                library.name
                            ))
                        })?;
                        symbols.data.entry(name).or_insert(base.memory.wrapping_add(offset as u32));
                    }
                    ExternalKind::Tag => {
                        symbols.tags.entry(name).or_insert((place, index));
                    }
                    ExternalKind::Memory | ExternalKind::Table => {}
                }
            }
        }
        Ok(symbols)
    }
}

/// Resolves every import of every library.
///
/// # Errors
/// Symbols that nobody defines; expressions that are not constant.
pub(super) fn resolve<'a>(
    libraries: &[Parsed<'a>],
    scans: &[Scan],
    layout: &Layout,
    stack: u32,
) -> Result<Resolved<'a>> {
    let symbols = Symbols::collect(libraries, layout)?;
    let mut resolved = Resolved {
        functions: Vec::new(),
        globals: Vec::new(),
        tags: Vec::new(),
        foreign: Vec::new(),
        kept: Vec::new(),
        tag_types: Vec::new(),
        slots: BTreeMap::new(),
        openable: Vec::new(),
    };
    resolved.functions(libraries, &symbols)?;
    resolved.tags(libraries, &symbols)?;
    resolved.table_and_globals(libraries, scans, layout, stack, &symbols)?;
    Ok(resolved)
}

impl<'a> Resolved<'a> {
    fn functions(&mut self, libraries: &[Parsed<'a>], symbols: &Symbols<'a>) -> Result<()> {
        let mut foreign: HashMap<(&str, &str), u32> = HashMap::new();
        for (place, library) in libraries.iter().enumerate() {
            let mut functions = Vec::with_capacity(library.functions.len());
            for (index, function) in library.functions.iter().enumerate() {
                let callee = match *function {
                    Function::Defined { .. } => {
                        Callee::Body { library: place as u32, function: index as u32 }
                    }
                    Function::Import { module: "env", name, ty } => {
                        let known = dl::FUNCTIONS.iter().position(|(known, _)| *known == name);
                        match (symbols.functions.get(name), known) {
                            (Some(&(library, function)), _) => Callee::Body { library, function },
                            (None, Some(known)) => Callee::Dl(known as u32),
                            (None, None) if library.weak.contains(name) => {
                                Callee::Missing { library: place as u32, ty }
                            }
                            (None, None) => return Err(unresolved(library.name, name)),
                        }
                    }
                    Function::Import { module, name, ty } => {
                        let next = self.foreign.len() as u32;
                        let number = *foreign.entry((module, name)).or_insert(next);
                        if number == next {
                            self.foreign.push((module, name, place, ty));
                        }
                        Callee::Foreign(number)
                    }
                };
                functions.push(callee);
            }
            self.functions.push(functions);
        }
        // A library may pass on what it imports: the definition counts.
        for (place, library) in libraries.iter().enumerate() {
            for index in 0..library.functions.len() {
                let mut callee = self.functions[place][index];
                for _ in 0..libraries.len() {
                    let Callee::Body { library, function } = callee else { break };
                    let next = self.functions[library as usize][function as usize];
                    if next == callee {
                        break;
                    }
                    callee = next;
                }
                self.functions[place][index] = callee;
            }
        }
        Ok(())
    }

    fn tags(&mut self, libraries: &[Parsed<'a>], symbols: &Symbols<'a>) -> Result<()> {
        let mut numbers = HashMap::new();
        for (place, library) in libraries.iter().enumerate() {
            for (index, tag) in library.tags.iter().enumerate() {
                if let Tag::Defined { ty } = tag {
                    numbers.insert((place, index as u32), self.tag_types.len() as u32);
                    self.tag_types.push((place, *ty));
                }
            }
        }
        for (place, library) in libraries.iter().enumerate() {
            let mut tags = Vec::new();
            for (index, tag) in library.tags.iter().enumerate() {
                let key = match tag {
                    Tag::Defined { .. } => Some((place, index as u32)),
                    Tag::Import { name } => symbols.tags.get(name).copied(),
                };
                let number = key.and_then(|key| numbers.get(&key)).copied();
                tags.push(number.ok_or_else(|| match tag {
                    Tag::Import { name } => unresolved(library.name, name),
                    Tag::Defined { .. } => Error::new("a tag has no number"),
                })?);
            }
            self.tags.push(tags);
        }
        Ok(())
    }

    fn table_and_globals(
        &mut self,
        libraries: &[Parsed<'a>],
        scans: &[Scan],
        layout: &Layout,
        stack: u32,
        symbols: &Symbols<'a>,
    ) -> Result<()> {
        let mut pending = Vec::new();
        for (place, (library, base)) in libraries.iter().zip(&layout.bases).enumerate() {
            let mut globals: Vec<Value> = Vec::with_capacity(library.globals.len());
            for (index, global) in library.globals.iter().enumerate() {
                let value = match global {
                    Global::Import { module: "env", name: "__memory_base" } => {
                        Value::Constant(base.memory as i32)
                    }
                    Global::Import { module: "env", name: "__table_base" } => {
                        Value::Constant(base.table as i32)
                    }
                    Global::Import { module: "env", name: "__stack_pointer" } => Value::Global(0),
                    Global::Import { module: "env" | "GOT.mem", name } => {
                        let found = linker_symbol(name, layout, stack).or(symbols.data.get(name).copied());
                        match found {
                            Some(address) => Value::Constant(address as i32),
                            None if library.weak.contains(name) => Value::Constant(0),
                            None => return Err(unresolved(library.name, name)),
                        }
                    }
                    Global::Import { module: "GOT.func", name } => match symbols.functions.get(name) {
                        Some(&(owner, function)) => {
                            pending.push((place, index, self.functions[owner as usize][function as usize]));
                            Value::Constant(0)
                        }
                        None if library.weak.contains(name) => Value::Constant(0),
                        None => return Err(unresolved(library.name, name)),
                    },
                    Global::Import { name, .. } => return Err(unresolved(library.name, name)),
                    Global::Defined { ty, init } => {
                        let constant = !ty.mutable || !scans[place].set.contains(&(index as u32));
                        match evaluate(init, &globals) {
                            Some(value) if constant && ty.content_type == wasmparser::ValType::I32 => {
                                Value::Constant(value)
                            }
                            _ => {
                                self.kept.push(Kept { library: place, global: index });
                                Value::Global(self.kept.len() as u32)
                            }
                        }
                    }
                };
                if scans[place].set.contains(&(index as u32)) && matches!(value, Value::Constant(_)) {
                    return Err(Error::new(format!(
                        "cannot prelink `{}`: it sets global {index}, which is an address",
                        library.name
                    )));
                }
                globals.push(value);
            }
            self.elements(place, library, &globals)?;
            self.globals.push(globals);
        }
        self.addresses(libraries, layout, pending);
        Ok(())
    }

    /// Puts a library's own functions into the table.
    fn elements(&mut self, place: usize, library: &Parsed<'_>, globals: &[Value]) -> Result<()> {
        let told = |error: wasmparser::BinaryReaderError| malformed(library.name, &error);
        let refused = |what: &str| Error::new(format!("cannot prelink `{}`: {what}", library.name));
        for element in &library.elements {
            let ElementKind::Active { offset_expr, .. } = &element.kind else {
                if matches!(element.kind, ElementKind::Declared) {
                    continue;
                }
                return Err(refused("it has a passive element segment"));
            };
            let first = evaluate(offset_expr, globals)
                .ok_or_else(|| refused("the place of an element segment is not constant"))?
                as u32;
            let ElementItems::Functions(functions) = element.items.clone() else {
                return Err(refused("an element segment holds expressions"));
            };
            for (slot, function) in (first..).zip(functions) {
                let function = function.map_err(told)?;
                let callee = self.functions[place].get(function as usize).copied();
                self.slots.insert(slot, callee.ok_or_else(|| refused("an element is no function"))?);
            }
        }
        Ok(())
    }

    /// Gives table slots to functions whose address is taken by name, and to what can be looked up by name.
    fn addresses(&mut self, libraries: &[Parsed<'a>], layout: &Layout, pending: Vec<(usize, usize, Callee)>) {
        let mut known: HashMap<Callee, u32> = HashMap::new();
        for (slot, callee) in &self.slots {
            known.entry(*callee).or_insert(*slot);
        }
        let mut next = layout.free_slot;
        let mut slot_of = |slots: &mut BTreeMap<u32, Callee>, callee| {
            *known.entry(callee).or_insert_with(|| {
                slots.insert(next, callee);
                next += 1;
                next - 1
            })
        };
        for (place, index, callee) in pending {
            let slot = slot_of(&mut self.slots, callee);
            self.globals[place][index] = Value::Constant(slot as i32);
        }
        let (functions, slots) = (&self.functions, &mut self.slots);
        self.openable =
            dl::openables(libraries, |place, index| slot_of(slots, functions[place][index as usize]));
    }
}

fn unresolved(library: &str, symbol: &str) -> Error {
    Error::new(format!("cannot prelink: `{library}` needs `{symbol}`, which nobody defines"))
}

/// The value of a constant expression of type `i32`, where all globals in it are constants.
pub(super) fn evaluate(expression: &ConstExpr<'_>, globals: &[Value]) -> Option<i32> {
    let mut stack = Vec::new();
    for operator in expression.get_operators_reader() {
        match operator.ok()? {
            Operator::End => break,
            operator => step(&operator, globals, &mut stack)?,
        }
    }
    let value = stack.pop()?;
    stack.is_empty().then_some(value)
}

/// Does one instruction of constant arithmetic; `None` if it is any other.
pub(super) fn step(operator: &Operator<'_>, globals: &[Value], stack: &mut Vec<i32>) -> Option<()> {
    let value = match *operator {
        Operator::I32Const { value } => value,
        Operator::GlobalGet { global_index } => match globals.get(global_index as usize)? {
            Value::Constant(value) => *value,
            Value::Global(_) => return None,
        },
        Operator::I32Add => {
            let (right, left) = (stack.pop()?, stack.pop()?);
            left.wrapping_add(right)
        }
        Operator::I32Sub => {
            let (right, left) = (stack.pop()?, stack.pop()?);
            left.wrapping_sub(right)
        }
        _ => return None,
    };
    stack.push(value);
    Some(())
}
