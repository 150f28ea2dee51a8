//! Makes the core modules of a prelinked component one.
//!
//! wit-component makes four of them: ours; the adapter, which implements WASI preview1 by WASI 0.2; a module of shims,
//! which both call for what the embedder implements; and one that fills in the shims. The shims are needed since the
//! embedder's functions are bound to a memory that has to be there before them. Every instance of the component looks up
//! and connects some two hundred functions between those modules.
//!
//! Here the adapter becomes a part of our module, so that calls between the two are direct, and the functions of the
//! embedder are called through entries at the end of our own table. What is left beside our module is one that fills in
//! these entries. [`graph`] reads what the component connects with what, [`module`] writes the modules.
//!
//! It is done after the memory was saved, which needs preview1 as an import. Functions keep their order, see
//! [`crate::fuse::Options::hot`].

mod graph;
mod module;

use std::collections::BTreeMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode, ReencodeComponent, RoundtripReencoder};
use wasm_encoder::{
    Alias, CanonicalFunctionSection, Component, ComponentAliasSection, ComponentSectionId, ExportKind,
    InstanceSection, ModuleArg, RawSection,
};
use wasmparser::{CanonicalFunction, ComponentAlias, Parser, Payload};

use crate::error::{Error, Result};
use crate::wasm::place;
use graph::{Core, Graph, Roles, Source};
use module::Merged;

/// The name under which either module is handed functions of the embedder.
const IMPORTS: &str = "imports";
/// The name under which the merged module is handed to the one that fills its table.
const MODULE: &str = "module";

/// Merges the core modules of a component that wit-component has made of one module. A component without shims is
/// returned as it is. The result is not validated.
///
/// # Errors
/// When the component is malformed, or not made of modules as wit-component makes them.
pub fn merge(component: &[u8]) -> Result<Vec<u8>> {
    let graph = Graph::read(component)?;
    let Some(roles) = Roles::of(&graph)? else { return Ok(component.to_vec()) };
    let members: Vec<&Core<'_>> =
        roles.members.iter().map(|&instance| graph.core(instance)).collect::<Result<_>>()?;
    if let Some(hindrance) = members.iter().skip(1).find_map(|core| core.hindrance()) {
        return Err(malformed(&format!("the adapter has {hindrance}")));
    }
    let sources: Vec<Vec<Source>> = members
        .iter()
        .zip(&roles.members)
        .map(|(core, &instance)| {
            core.imported_functions()
                .map(|(module, name, _)| graph.source(&roles, instance, module, name))
                .collect()
        })
        .collect::<Result<_>>()?;
    let wanted = graph.wanted(&roles)?;
    let initializer = roles.initializer(&graph)?;
    let exports = wanted.values().copied().chain(initializer.map(|name| (0, name))).collect();
    let merged = module::merge(&members, &sources, &exports)?;
    let filler = module::filler(&merged, initializer);
    Writer { graph: &graph, wanted: &wanted, merged: &merged, filler: &filler, functions: BTreeMap::new() }
        .write(component)
}

/// Writes the component anew, with other core modules and what connects them.
struct Writer<'a, 'b> {
    graph: &'b Graph<'a>,
    /// What [`Graph::wanted`] gives.
    wanted: &'b BTreeMap<u32, (usize, &'a str)>,
    merged: &'b Merged,
    filler: &'b [u8],
    /// What the numbers of core functions become, as far as they are written.
    functions: BTreeMap<u32, u32>,
}

impl Reencode for Writer<'_, '_> {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> std::result::Result<u32, ReencodeError<Infallible>> {
        // One that is not there does not pass the validation of the result.
        Ok(self.functions.get(&function).copied().unwrap_or(u32::MAX))
    }
}

impl ReencodeComponent for Writer<'_, '_> {}

impl Writer<'_, '_> {
    /// What belongs to the component model keeps its order, and with it its numbers; the modules are written where the
    /// first was, and the functions of the embedder and the instances before the first function that is exported.
    fn write(mut self, component: &[u8]) -> Result<Vec<u8>> {
        let mut written = Component::new();
        let (mut has_modules, mut is_connected) = (false, false);
        for payload in sections(component) {
            let payload = payload?;
            match &payload {
                Payload::ModuleSection { .. } => {
                    if !has_modules {
                        for data in [&self.merged.module, self.filler] {
                            written.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data });
                        }
                        has_modules = true;
                    }
                }
                Payload::InstanceSection(_) => {}
                // It names what is no longer there.
                Payload::CustomSection(section) if section.name() == "component-name" => {}
                Payload::ComponentAliasSection(section) => {
                    let mut aliases = ComponentAliasSection::new();
                    for alias in section.clone() {
                        let alias = alias.map_err(|error| malformed(&error))?;
                        if !matches!(alias, ComponentAlias::CoreInstanceExport { .. }) {
                            aliases.alias(
                                RoundtripReencoder
                                    .component_alias(alias)
                                    .map_err(|error| malformed(&error))?,
                            );
                        }
                    }
                    if !aliases.is_empty() {
                        written.section(&aliases);
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    let mut lifts = CanonicalFunctionSection::new();
                    for function in section.clone() {
                        let function = function.map_err(|error| malformed(&error))?;
                        if !matches!(function, CanonicalFunction::Lift { .. }) {
                            continue;
                        }
                        if !is_connected {
                            self.connect(&mut written)?;
                            is_connected = true;
                        }
                        self.parse_component_canonical(&mut lifts, function)
                            .map_err(|error| malformed(&error))?;
                    }
                    if !lifts.is_empty() {
                        written.section(&lifts);
                    }
                }
                _ => {
                    if let Some((id, range)) = payload.as_section() {
                        let data = component.get(place(range)).unwrap_or_default();
                        written.section(&RawSection { id, data });
                    }
                }
            }
        }
        if !is_connected {
            return Err(Error::new("cannot merge the modules of a component that exports no function"));
        }
        Ok(written.finish())
    }

    /// Writes the embedder's functions that need no memory, the merged module's instance, the embedder's functions that
    /// need its memory, and the instance that puts those into its table.
    fn connect(&mut self, written: &mut Component) -> Result<()> {
        let merged = self.merged;
        let mut instances = self.functions_of_embedder(written, &merged.direct)?;
        instances.instantiate(0, [(IMPORTS, ModuleArg::Instance(0))]);
        written.section(&instances);

        let mut aliases = ComponentAliasSection::new();
        let mut alias = |name: &str, kind| {
            aliases.alias(Alias::CoreInstanceExport { instance: 1, kind, name });
        };
        alias("memory", ExportKind::Memory);
        for (old, (member, name)) in self.wanted {
            alias(&module::export_name(*member, name), ExportKind::Func);
            self.number(*old);
        }
        written.section(&aliases);

        let mut instances = self.functions_of_embedder(written, &merged.slots)?;
        instances.instantiate(1, [(MODULE, ModuleArg::Instance(1)), (IMPORTS, ModuleArg::Instance(2))]);
        written.section(&instances);
        Ok(())
    }

    /// Writes functions of the embedder; begins a section of instances with one that hands them to a module.
    fn functions_of_embedder(&mut self, written: &mut Component, old: &[u32]) -> Result<InstanceSection> {
        let mut section = CanonicalFunctionSection::new();
        let mut named = Vec::new();
        for old in old {
            let function = self.graph.canonical(*old)?.clone();
            self.parse_component_canonical(&mut section, function).map_err(|error| malformed(&error))?;
            named.push((module::name(*old), self.number(*old)));
        }
        if !section.is_empty() {
            written.section(&section);
        }
        let mut instances = InstanceSection::new();
        instances.export_items(named.iter().map(|(name, new)| (name.as_str(), ExportKind::Func, *new)));
        Ok(instances)
    }

    /// Gives a core function the next number, and returns it.
    fn number(&mut self, old: u32) -> u32 {
        let next = self.functions.len() as u32;
        self.functions.insert(old, next);
        next
    }
}

/// The sections of a component itself, without those of what is nested in it.
fn sections(component: &[u8]) -> impl Iterator<Item = Result<Payload<'_>>> {
    let mut depth = 0_usize;
    Parser::new(0).parse_all(component).filter_map(move |payload| {
        let payload = match payload {
            Ok(payload) => payload,
            Err(error) => return Some(Err(malformed(&error))),
        };
        let is_nested = depth > 0;
        match &payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) if is_nested => depth -= 1,
            _ => {}
        }
        (!is_nested).then_some(Ok(payload))
    })
}

fn malformed(error: &impl std::fmt::Display) -> Error {
    Error::new(format!("cannot merge the modules of a component: {error}"))
}
