//! Writes the merged module, and the one that fills in its table.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode, RoundtripReencoder};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, ElementSection, Elements, EntityType, ExportKind,
    ExportSection, FuncType, Function, FunctionSection, GlobalSection, ImportSection, MemorySection, Module,
    NameMap, NameSection, RefType, StartSection, TableSection, TableType, TagSection, TypeSection,
};
use wasmparser::{CustomSectionReader, DataKind, KnownCustom, Name, Payload};

use super::graph::{Core, Source};
use super::{IMPORTS, MODULE, malformed};
use crate::error::Result;
use crate::wasm::hints::{self, Hints};

/// The name under which the merged module exports its table.
pub(super) const TABLE: &str = "$imports";

/// The name under which a core function of the component is handed to a module.
pub(super) fn name(function: u32) -> String {
    function.to_string()
}

/// The name under which the merged module exports a function of a member.
pub(super) fn export_name(member: usize, name: &str) -> String {
    if member == 0 { name.to_owned() } else { format!("adapter-{member}:{name}") }
}

/// The merged module.
pub(super) struct Merged {
    pub module: Vec<u8>,
    /// The component's functions that it imports.
    pub direct: Vec<u32>,
    /// The component's functions that it calls through its table, in order of their entries there.
    pub slots: Vec<u32>,
    /// The signatures of those.
    signatures: Vec<FuncType>,
    table: TableType,
    /// The first of those entries; they are the table's last.
    first: u64,
}

/// Merges modules, of which the first has memory and table. `sources` tells for each what stands behind the functions
/// that it imports; `exports` is what the result exports, by member and name.
///
/// # Errors
/// When a module is malformed, or has what cannot be merged.
pub(super) fn merge(
    members: &[&Core<'_>],
    sources: &[Vec<Source>],
    exports: &BTreeSet<(usize, &str)>,
) -> Result<Merged> {
    let plan = Plan::new(members, sources);
    let mut sections = Sections::default();
    for (place, member) in members.iter().enumerate() {
        let mut renumber = plan.renumber(place)?;
        for payload in &member.payloads {
            sections.add(place == 0, payload, &mut renumber).map_err(|error| malformed(&error))?;
        }
    }

    let mut imports = ImportSection::new();
    for (function, ty) in &plan.direct {
        imports.import(IMPORTS, &name(*function), EntityType::Function(plan.ty(*ty)));
    }
    let mut table = sections.table.take().unwrap_or(TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 0,
        maximum: Some(0),
        shared: false,
    });
    let first = table.minimum;
    if table.maximum != Some(first) {
        return Err(malformed(&"the table may grow, so nothing can stand at its end"));
    }
    table.minimum += plan.bound.len() as u64;
    table.maximum = Some(table.minimum);
    let mut signatures = Vec::new();
    for (slot, (_, ty)) in (first..).zip(&plan.bound) {
        let signature = Plan::signature(members, *ty)?;
        let ty = plan.ty(*ty);
        sections.functions.function(ty);
        sections.code.function(&through_table(signature.params().len() as u32, slot as i32, ty));
        signatures.push(signature);
    }
    let mut exported = ExportSection::new();
    exported.export("memory", ExportKind::Memory, 0).export(TABLE, ExportKind::Table, 0);
    for &(member, name) in exports {
        let function = members.get(member).and_then(|core| core.exported_function(name));
        let number = function.and_then(|function| plan.number(Source::Member { member, function }));
        let number = number.ok_or_else(|| malformed(&format!("there is no function `{name}`")))?;
        exported.export(&export_name(member, name), ExportKind::Func, number);
    }

    let mut hints = Hints::new();
    for (member, core) in members.iter().enumerate() {
        for (&function, known) in &core.hints {
            hints.extend(
                plan.number(Source::Member { member, function }).map(|number| (number, known.clone())),
            );
        }
    }
    Ok(Merged {
        module: hints::attach(&sections.finish(&imports, table, &exported), &hints)?,
        direct: plan.direct.iter().map(|(function, _)| *function).collect(),
        slots: plan.bound.iter().map(|(function, _)| *function).collect(),
        signatures,
        table,
        first,
    })
}

/// The module that puts functions of the component into the table of the merged one, and then calls `initializer`.
pub(super) fn filler(merged: &Merged, initializer: Option<&str>) -> Vec<u8> {
    let mut types = TypeSection::new();
    let mut imports = ImportSection::new();
    for (ty, (function, signature)) in (0..).zip(merged.slots.iter().zip(&merged.signatures)) {
        types.ty().func_type(signature);
        imports.import(IMPORTS, &name(*function), EntityType::Function(ty));
    }
    let count = merged.slots.len() as u32;
    let functions: Vec<u32> = (0..count).collect();
    let start = initializer.map(|initializer| {
        types.ty().function([], []);
        imports.import(MODULE, initializer, EntityType::Function(count));
        StartSection { function_index: count }
    });
    imports.import(MODULE, TABLE, EntityType::Table(merged.table));
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(merged.first as i32), Elements::Functions(functions.into()));
    let mut module = Module::new();
    module.section(&types).section(&imports);
    if let Some(start) = &start {
        module.section(start);
    }
    module.section(&elements);
    module.finish()
}

/// A function that passes its parameters on to one in the table.
fn through_table(parameters: u32, slot: i32, ty: u32) -> Function {
    let mut function = Function::new([]);
    let mut code = function.instructions();
    for parameter in 0..parameters {
        code.local_get(parameter);
    }
    code.i32_const(slot).call_indirect(0, ty).end();
    function
}

/// The functions of the merged module in order: those imported, those of each member, those that lead through the table.
struct Plan<'a> {
    sources: &'a [Vec<Source>],
    /// The component's functions that are imported, sorted.
    direct: Vec<(u32, MemberType)>,
    /// The component's functions that are called through the table, sorted.
    bound: Vec<(u32, MemberType)>,
    /// For each member: how many types, functions and globals come before its own.
    bases: Vec<Bases>,
    /// How many functions come before those that lead through the table.
    defined: u32,
}

/// A member, and a type of its own.
type MemberType = (usize, u32);

#[derive(Debug, Clone, Copy, Default)]
struct Bases {
    types: u32,
    functions: u32,
    globals: u32,
}

impl<'a> Plan<'a> {
    fn new(members: &[&Core<'_>], sources: &'a [Vec<Source>]) -> Self {
        let (mut direct, mut bound) = (BTreeMap::new(), BTreeMap::new());
        for (place, (member, sources)) in members.iter().zip(sources).enumerate() {
            for ((.., ty), source) in member.imported_functions().zip(sources) {
                match source {
                    Source::Direct(function) => direct.entry(*function).or_insert((place, ty)),
                    Source::Bound(function) => bound.entry(*function).or_insert((place, ty)),
                    Source::Member { .. } => continue,
                };
            }
        }
        let direct: Vec<(u32, MemberType)> = direct.into_iter().collect();
        let mut next = Bases { functions: direct.len() as u32, ..Bases::default() };
        let mut bases = Vec::new();
        for member in members {
            bases.push(next);
            next.types += member.types.len() as u32;
            next.functions += member.defined_functions();
            next.globals += member.defined_globals();
        }
        Self { sources, direct, bound: bound.into_iter().collect(), bases, defined: next.functions }
    }

    /// The number of a function in the merged module.
    fn number(&self, mut source: Source) -> Option<u32> {
        let at = |list: &[(u32, MemberType)], function| {
            list.binary_search_by_key(&function, |(function, _)| *function).ok().map(|place| place as u32)
        };
        // A member may export what it imports from another one, but not in a circle.
        for _ in 0..=self.sources.len() {
            match source {
                Source::Direct(function) => return at(&self.direct, function),
                Source::Bound(function) => return Some(self.defined + at(&self.bound, function)?),
                Source::Member { member, function } => {
                    let imported = self.sources.get(member)?;
                    match imported.get(function as usize) {
                        Some(further) => source = *further,
                        None => {
                            let own = function - imported.len() as u32;
                            return Some(self.bases.get(member)?.functions + own);
                        }
                    }
                }
            }
        }
        None
    }

    fn renumber(&self, member: usize) -> Result<Renumber> {
        let bases = self.bases.get(member).copied().unwrap_or_default();
        let sources = self.sources.get(member).map_or(&[][..], Vec::as_slice);
        let imported: Option<Vec<u32>> = sources.iter().map(|source| self.number(*source)).collect();
        let imported = imported.ok_or_else(|| malformed(&"modules import from each other in a circle"))?;
        Ok(Renumber { bases, imported })
    }

    /// What a member's type is in the merged module.
    fn ty(&self, (member, ty): MemberType) -> u32 {
        self.bases.get(member).map_or(u32::MAX, |bases| bases.types + ty)
    }

    /// The signature that a member's type is.
    fn signature(members: &[&Core<'_>], (member, ty): MemberType) -> Result<FuncType> {
        let signature = members.get(member).and_then(|core| core.signature(ty));
        let signature = signature.ok_or_else(|| malformed(&format!("type {ty} is no function's")))?;
        RoundtripReencoder.func_type(signature.clone()).map_err(|error| malformed(&error))
    }
}

/// Turns a member's numbers into those of the merged module.
struct Renumber {
    bases: Bases,
    /// What the functions become that it imports.
    imported: Vec<u32>,
}

type Renumbered = std::result::Result<u32, ReencodeError<Infallible>>;

impl Reencode for Renumber {
    type Error = Infallible;

    fn type_index(&mut self, ty: u32) -> Renumbered {
        Ok(self.bases.types + ty)
    }

    fn function_index(&mut self, function: u32) -> Renumbered {
        let known = self.imported.get(function as usize).copied();
        Ok(known.unwrap_or_else(|| self.bases.functions + function - self.imported.len() as u32))
    }

    fn global_index(&mut self, global: u32) -> Renumbered {
        Ok(self.bases.globals + global)
    }
}

/// The sections of the merged module, as far as they come from its members.
#[derive(Default)]
struct Sections<'a> {
    types: TypeSection,
    functions: FunctionSection,
    table: Option<TableType>,
    tags: TagSection,
    globals: GlobalSection,
    start: Option<StartSection>,
    elements: ElementSection,
    code: CodeSection,
    memories: MemorySection,
    data: DataSection,
    custom: Vec<CustomSectionReader<'a>>,
    /// Names of functions, if the first member has such.
    names: BTreeMap<u32, &'a str>,
}

impl<'a> Sections<'a> {
    /// Adds a section of a member. Only the first may have others than types, functions and globals, see
    /// [`Core::hindrance`].
    fn add(
        &mut self,
        is_first: bool,
        payload: &Payload<'a>,
        renumber: &mut Renumber,
    ) -> std::result::Result<(), ReencodeError<Infallible>> {
        match payload {
            Payload::TypeSection(section) => renumber.parse_type_section(&mut self.types, section.clone())?,
            Payload::FunctionSection(section) => {
                renumber.parse_function_section(&mut self.functions, section.clone())?
            }
            Payload::GlobalSection(section) => {
                renumber.parse_global_section(&mut self.globals, section.clone())?
            }
            Payload::CodeSectionEntry(body) => renumber.parse_function_body(&mut self.code, body.clone())?,
            Payload::CustomSection(section) => match section.as_known() {
                KnownCustom::Name(subsections) if is_first || !self.names.is_empty() => {
                    self.add_names(subsections, renumber)?;
                }
                // They are told anew, as what they are about has moved.
                KnownCustom::BranchHints(_) => {}
                _ if is_first => self.custom.push(section.clone()),
                _ => {}
            },
            Payload::TableSection(section) => {
                for table in section.clone() {
                    self.table = Some(renumber.table_type(table?.ty)?);
                }
            }
            Payload::TagSection(section) => renumber.parse_tag_section(&mut self.tags, section.clone())?,
            Payload::ElementSection(section) => {
                renumber.parse_element_section(&mut self.elements, section.clone())?;
            }
            Payload::StartSection { func, .. } => {
                self.start = Some(StartSection { function_index: renumber.function_index(*func)? });
            }
            Payload::MemorySection(section) => {
                renumber.parse_memory_section(&mut self.memories, section.clone())?;
            }
            Payload::DataSection(section) => {
                // Code that uses passive segments cannot be fused. Wizer leaves an empty one for every segment that there
                // was, and engines keep a record of each in every instance.
                for data in section.clone() {
                    let data = data?;
                    if !matches!(data.kind, DataKind::Passive) {
                        renumber.parse_data(&mut self.data, data)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn add_names(
        &mut self,
        subsections: wasmparser::NameSectionReader<'a>,
        renumber: &mut Renumber,
    ) -> std::result::Result<(), ReencodeError<Infallible>> {
        for subsection in subsections {
            if let Name::Function(names) = subsection? {
                for naming in names {
                    let naming = naming?;
                    let number = renumber.function_index(naming.index)?;
                    self.names.entry(number).or_insert(naming.name);
                }
            }
        }
        Ok(())
    }

    fn finish(self, imports: &ImportSection, table: TableType, exports: &ExportSection) -> Vec<u8> {
        let mut tables = TableSection::new();
        tables.table(table);
        let mut module = Module::new();
        module.section(&self.types).section(imports).section(&self.functions).section(&tables);
        module.section(&self.memories);
        if !self.tags.is_empty() {
            module.section(&self.tags);
        }
        module.section(&self.globals).section(exports);
        if let Some(start) = &self.start {
            module.section(start);
        }
        module.section(&self.elements).section(&self.code).section(&self.data);
        for section in &self.custom {
            module.section(&CustomSection { name: section.name().into(), data: section.data().into() });
        }
        if !self.names.is_empty() {
            let mut map = NameMap::new();
            for (function, name) in &self.names {
                map.append(*function, name);
            }
            let mut names = NameSection::new();
            names.functions(&map);
            module.section(&names);
        }
        module.finish()
    }
}
