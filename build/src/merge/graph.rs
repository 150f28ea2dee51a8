//! What a component that wit-component has made connects with what.

use std::collections::BTreeMap;
use std::convert::Infallible;

use wasm_encoder::CanonicalFunctionSection;
use wasm_encoder::reencode::{Error as ReencodeError, Reencode, ReencodeComponent};
use wasmparser::{
    CanonicalFunction, ComponentAlias, ExternalKind, FuncType, InstantiationArg, Parser, Payload, TypeRef,
};

use super::{malformed, sections};
use crate::error::Result;
use crate::wasm::hints::{self, Hints};
use crate::wasm::place;

/// The name that wit-component gives the table of its shims.
const SHIMS: &str = "$imports";
/// The name under which it hands over what is put into that table.
const FILLED: &str = "actual";

/// A core function of the component.
enum Function<'a> {
    /// What an instance exports.
    Export(u32, &'a str),
    /// The embedder's, or a built-in one.
    Canonical(CanonicalFunction),
}

/// A core instance of the component.
enum Instance<'a> {
    Module { module: u32, arguments: Vec<InstantiationArg<'a>> },
    Exports(Vec<wasmparser::Export<'a>>),
}

/// The core part of a component.
pub(super) struct Graph<'a> {
    modules: Vec<Core<'a>>,
    instances: Vec<Instance<'a>>,
    functions: Vec<Function<'a>>,
    lifts: Vec<CanonicalFunction>,
}

/// Which instance does what.
pub(super) struct Roles {
    /// What is merged: our module first, then adapters.
    pub members: Vec<u32>,
    shims: u32,
    filler: u32,
}

/// What stands behind a function that a member imports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// A function of a member.
    Member { member: usize, function: u32 },
    /// A core function of the component that needs no memory.
    Direct(u32),
    /// A core function of the component that is bound to the memory of a member.
    Bound(u32),
}

/// A core module, as far as merging has to know it.
pub(super) struct Core<'a> {
    pub payloads: Vec<Payload<'a>>,
    pub hints: Hints,
    pub types: Vec<wasmparser::SubType>,
    imports: Vec<wasmparser::Import<'a>>,
    exports: Vec<wasmparser::Export<'a>>,
}

impl<'a> Graph<'a> {
    /// Reads a component.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn read(component: &'a [u8]) -> Result<Self> {
        let mut graph =
            Self { modules: Vec::new(), instances: Vec::new(), functions: Vec::new(), lifts: Vec::new() };
        for payload in sections(component) {
            graph.payload(component, payload?).map_err(|error| malformed(&error))?;
        }
        Ok(graph)
    }

    fn payload(&mut self, component: &'a [u8], payload: Payload<'a>) -> wasmparser::Result<()> {
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => {
                self.modules.push(Core::read(component.get(place(unchecked_range)).unwrap_or_default())?);
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.instances.push(match instance? {
                        wasmparser::Instance::Instantiate { module_index, args } => {
                            Instance::Module { module: module_index, arguments: args.into_vec() }
                        }
                        wasmparser::Instance::FromExports(exports) => Instance::Exports(exports.into_vec()),
                    });
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    if let ComponentAlias::CoreInstanceExport {
                        kind: ExternalKind::Func,
                        instance_index,
                        name,
                    } = alias?
                    {
                        self.functions.push(Function::Export(instance_index, name));
                    }
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    match function? {
                        lift @ CanonicalFunction::Lift { .. } => self.lifts.push(lift),
                        other => self.functions.push(Function::Canonical(other)),
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The module of an instance.
    ///
    /// # Errors
    /// When it has none.
    pub fn core(&self, instance: u32) -> Result<&Core<'a>> {
        let module = match self.instances.get(instance as usize) {
            Some(Instance::Module { module, .. }) => self.modules.get(*module as usize),
            _ => None,
        };
        module.ok_or_else(|| malformed(&format!("core instance {instance} has no module")))
    }

    /// A core function that is not an instance's.
    ///
    /// # Errors
    /// When there is none.
    pub fn canonical(&self, function: u32) -> Result<&CanonicalFunction> {
        match self.functions.get(function as usize) {
            Some(Function::Canonical(function)) => Ok(function),
            _ => Err(malformed(&format!("core function {function} is an instance's"))),
        }
    }

    /// What stands behind a function that a member imports.
    ///
    /// # Errors
    /// When nothing does.
    pub fn source(&self, roles: &Roles, importer: u32, module: &str, name: &str) -> Result<Source> {
        let missing = || malformed(&format!("nothing stands behind the import `{module}` `{name}`"));
        let argument = self.argument(importer, module).ok_or_else(missing)?;
        self.export(roles, argument, name)?.ok_or_else(missing)
    }

    /// The instance that a module was given under a name.
    fn argument(&self, instance: u32, name: &str) -> Option<u32> {
        match self.instances.get(instance as usize)? {
            Instance::Module { arguments, .. } => {
                arguments.iter().find(|argument| argument.name == name).map(|argument| argument.index)
            }
            Instance::Exports(_) => None,
        }
    }

    /// The function that an instance exports under a name.
    fn export(&self, roles: &Roles, instance: u32, name: &str) -> Result<Option<Source>> {
        if instance == roles.shims {
            // What is put into the table under the shim's own name.
            let Some(filled) = self.argument(roles.filler, FILLED) else { return Ok(None) };
            return self.export(roles, filled, name);
        }
        if let Some(member) = roles.members.iter().position(|&member| member == instance) {
            let found = self.core(instance)?.exported_function(name);
            return Ok(found.map(|function| Source::Member { member, function }));
        }
        let Some(Instance::Exports(exports)) = self.instances.get(instance as usize) else { return Ok(None) };
        let found = exports.iter().find(|export| export.name == name && export.kind == ExternalKind::Func);
        let Some(index) = found.map(|export| export.index) else { return Ok(None) };
        match self.functions.get(index as usize) {
            Some(Function::Export(instance, name)) => self.export(roles, *instance, name),
            Some(Function::Canonical(function)) => Ok(Some(if Needs::of(function)?.memory {
                Source::Bound(index)
            } else {
                Source::Direct(index)
            })),
            None => Ok(None),
        }
    }

    /// The functions of members that the component itself names: for the number that each has in the component, the member
    /// and its name there.
    ///
    /// # Errors
    /// When a function is malformed.
    pub fn wanted(&self, roles: &Roles) -> Result<BTreeMap<u32, (usize, &'a str)>> {
        let canonical = self.functions.iter().filter_map(|function| match function {
            Function::Canonical(function) => Some(function),
            Function::Export(..) => None,
        });
        let mut wanted = BTreeMap::new();
        for function in canonical.chain(&self.lifts) {
            for number in Needs::of(function)?.functions {
                if let Some(Function::Export(instance, name)) = self.functions.get(number as usize)
                    && let Some(member) = roles.members.iter().position(|member| member == instance)
                {
                    wanted.insert(number, (member, *name));
                }
            }
        }
        Ok(wanted)
    }
}

impl Roles {
    /// Finds out which instance does what; `None` if there are no shims.
    ///
    /// # Errors
    /// When there is another instance than wit-component makes.
    pub fn of(graph: &Graph<'_>) -> Result<Option<Self>> {
        let (mut shims, mut fillers, mut mains, mut adapters) = (vec![], vec![], vec![], vec![]);
        for (number, instance) in (0..).zip(&graph.instances) {
            if matches!(instance, Instance::Exports(_)) {
                continue;
            }
            let core = graph.core(number)?;
            let kind = if core.exports.iter().any(|export| export.name == SHIMS) {
                &mut shims
            } else if core.imports.iter().any(|import| import.name == SHIMS) {
                &mut fillers
            } else if core.imports.iter().any(|import| matches!(import.ty, TypeRef::Memory(_))) {
                &mut adapters
            } else {
                &mut mains
            };
            kind.push(number);
        }
        match (&shims[..], &fillers[..], &mains[..]) {
            ([], [], _) => Ok(None),
            (&[shims], &[filler], &[main]) => {
                let members = [vec![main], adapters].concat();
                Ok(Some(Self { members, shims, filler }))
            }
            _ => Err(malformed(&"expected shims, what fills them in, and one module with a memory")),
        }
    }

    /// The function of our module that runs when everything is connected, if it has one.
    ///
    /// # Errors
    /// When a module is malformed.
    pub fn initializer<'a>(&self, graph: &Graph<'a>) -> Result<Option<&'a str>> {
        let main = self.members.first().copied();
        let mut of_main = graph.core(self.filler)?.imports.iter().filter(|import| {
            matches!(import.ty, TypeRef::Func(_)) && graph.argument(self.filler, import.module) == main
        });
        Ok(of_main.next().map(|import| import.name))
    }
}

impl<'a> Core<'a> {
    fn read(module: &'a [u8]) -> wasmparser::Result<Self> {
        let mut core = Self {
            payloads: Vec::new(),
            hints: hints::read(module)?,
            types: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
        };
        for payload in Parser::new(0).parse_all(module) {
            let payload = payload?;
            match &payload {
                Payload::TypeSection(section) => {
                    for group in section.clone() {
                        core.types.extend(group?.into_types());
                    }
                }
                Payload::ImportSection(section) => {
                    core.imports = section.clone().into_imports().collect::<wasmparser::Result<_>>()?;
                }
                Payload::ExportSection(section) => {
                    core.exports = section.clone().into_iter().collect::<wasmparser::Result<_>>()?;
                }
                _ => {}
            }
            core.payloads.push(payload);
        }
        Ok(core)
    }

    /// The functions that it imports, in order: module, name, type.
    pub fn imported_functions(&self) -> impl Iterator<Item = (&'a str, &'a str, u32)> {
        self.imports.iter().filter_map(|import| match import.ty {
            TypeRef::Func(ty) | TypeRef::FuncExact(ty) => Some((import.module, import.name, ty)),
            _ => None,
        })
    }

    /// How many functions it has of its own.
    pub fn defined_functions(&self) -> u32 {
        let counts = self.payloads.iter().map(|payload| match payload {
            Payload::FunctionSection(section) => section.count(),
            _ => 0,
        });
        counts.sum()
    }

    /// How many globals it has of its own.
    pub fn defined_globals(&self) -> u32 {
        let counts = self.payloads.iter().map(|payload| match payload {
            Payload::GlobalSection(section) => section.count(),
            _ => 0,
        });
        counts.sum()
    }

    /// What keeps it from being merged into another one: it may have functions and globals only.
    pub fn hindrance(&self) -> Option<&'static str> {
        let of_its_own = self.payloads.iter().find_map(|payload| match payload {
            Payload::TableSection(_) => Some("a table"),
            Payload::MemorySection(_) => Some("a memory"),
            Payload::TagSection(_) => Some("a tag"),
            Payload::StartSection { .. } => Some("a start function"),
            Payload::ElementSection(_) => Some("elements"),
            Payload::DataSection(_) => Some("data"),
            _ => None,
        });
        let imported = self.imports.iter().find_map(|import| match import.ty {
            TypeRef::Global(_) => Some("an imported global"),
            TypeRef::Table(_) => Some("an imported table"),
            TypeRef::Tag(_) => Some("an imported tag"),
            TypeRef::Memory(_) | TypeRef::Func(_) | TypeRef::FuncExact(_) => None,
        });
        of_its_own.or(imported)
    }

    /// The number of the function that it exports under a name.
    pub fn exported_function(&self, name: &str) -> Option<u32> {
        let found =
            self.exports.iter().find(|export| export.name == name && export.kind == ExternalKind::Func);
        found.map(|export| export.index)
    }

    /// The signature that a type is.
    pub fn signature(&self, ty: u32) -> Option<&FuncType> {
        match &self.types.get(ty as usize)?.composite_type.inner {
            wasmparser::CompositeInnerType::Func(signature) => Some(signature),
            _ => None,
        }
    }
}

/// What a core function of the component names.
#[derive(Default)]
struct Needs {
    memory: bool,
    functions: Vec<u32>,
}

impl Needs {
    fn of(function: &CanonicalFunction) -> Result<Self> {
        let mut needs = Self::default();
        let mut section = CanonicalFunctionSection::new();
        needs.parse_component_canonical(&mut section, function.clone()).map_err(|error| malformed(&error))?;
        Ok(needs)
    }
}

impl Reencode for Needs {
    type Error = Infallible;

    fn function_index(&mut self, function: u32) -> std::result::Result<u32, ReencodeError<Infallible>> {
        self.functions.push(function);
        Ok(function)
    }

    fn memory_index(&mut self, memory: u32) -> std::result::Result<u32, ReencodeError<Infallible>> {
        self.memory = true;
        Ok(memory)
    }
}

impl ReencodeComponent for Needs {}
