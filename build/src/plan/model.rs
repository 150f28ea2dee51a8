//! What a plan consists of: steps, what they are told, and what they are made from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::fetch::Pin;
use crate::name::PackageName;
use crate::recipe::{Recipe, Source};

/// One thing to do. Closed: a new kind breaks every `match` that must know it.
#[derive(Debug, Clone)]
pub enum Kind {
    /// The compiler, from its pins.
    Toolchain(Vec<Source>),
    /// wasi-libc, the exception tags and setjmp.
    Libc(Vec<Source>),
    /// The C++ library.
    Libcxx(Vec<Source>),
    /// The in-component file system.
    Vfs,
    /// libc, libc++ and the file system as one sysroot.
    Sysroot,
    /// Build tools from their wheels.
    Tools,
    /// CPython for the build machine.
    Python(Box<Recipe>),
    /// A C library.
    Library(Box<Recipe>),
    /// What CPython does most, with the parts of LLVM that find it out.
    Profile(Box<Recipe>, Vec<Source>),
    /// CPython for the guest.
    Cpython(Box<Recipe>),
    /// Of CPython for the guest, what others are compiled and linked against.
    CpythonDev,
    /// The Rust compiler and the sources of its standard library.
    Rust(Vec<Source>),
    /// The crates of lock files, vendored; the only step besides fetching that uses the network.
    Crates,
    /// A Python package with extension modules.
    Extension(Box<Recipe>),
    /// A pure-Python package.
    Wheel {
        /// Its name.
        name: PackageName,
    },
    /// The guest runtime.
    Guest,
    /// The component.
    Component(Box<Parts>),
    /// The component once more, checked.
    Check(Box<Parts>),
}

/// How the parts of a component are put together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Form {
    /// Link with wit-component's linker: every library stays a module of its own, bound at each start.
    pub dynamic: bool,
    /// Save no memory: Python starts anew in every instance.
    pub cold: bool,
    /// The modules that are imported before the memory is saved; those of the named packages by default.
    pub imports: Option<Vec<String>>,
    /// Code that runs before the memory is saved.
    pub setup: Option<String>,
    /// Keep the names of functions, for traces of traps.
    pub debug_names: bool,
}

/// What the last step of a plan is told.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The packages that the user named, joined by `+`, `python` for none; then world and form where they are not the
    /// usual ones.
    pub names: String,
    /// The names, in a length that fits into a file's name.
    pub file: String,
    /// The WIT world that the component implements.
    pub world: String,
    /// How it is put together.
    pub form: Form,
    /// The packages that the user named, in the order of their names.
    pub named: Vec<PackageName>,
    /// What the manifest says of every input.
    pub inputs: Vec<Value>,
    /// For each package: its name, the modules to import and the smoke code, used by `check`.
    pub checks: Vec<Value>,
}

/// Where an input comes from.
#[derive(Debug, Clone)]
pub enum Input {
    /// The result of another step, by its place in the plan.
    Step(usize),
    /// A pinned file.
    Pin(Pin),
    /// A file or directory of the checkout.
    Local {
        /// Where it is.
        path: PathBuf,
        /// The digest of its content.
        digest: Digest,
    },
}

/// A node of the plan.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name, such as `extension numpy`; unique in the plan.
    pub name: String,
    /// What is to be done.
    pub kind: Kind,
    /// Everything that goes into the key besides the inputs.
    pub params: Value,
    /// The inputs by role.
    pub inputs: BTreeMap<String, Input>,
}

impl Step {
    /// The places in the plan of the steps whose results go into this one.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.inputs
            .values()
            .filter_map(|input| if let Input::Step(place) = input { Some(*place) } else { None })
    }
}

/// Steps in topological order; the last one checks the component and passes it on.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The part of the plan that some steps need, with these steps.
    #[must_use]
    pub fn for_steps(&self, wanted: impl Fn(&Step) -> bool) -> Self {
        let mut needed: Vec<bool> = self.steps.iter().map(wanted).collect();
        for (place, step) in self.steps.iter().enumerate().rev() {
            if !needed.get(place).copied().unwrap_or_default() {
                continue;
            }
            for other in step.needs() {
                if let Some(slot) = needed.get_mut(other) {
                    *slot = true;
                }
            }
        }
        // How many of those before a step stay is its new place.
        let place_of = |place: usize| needed.iter().take(place).filter(|needed| **needed).count();
        let mut part = Self::default();
        for (step, _) in self.steps.iter().zip(&needed).filter(|(_, needed)| **needed) {
            let mut step = step.clone();
            for input in step.inputs.values_mut() {
                if let Input::Step(other) = input {
                    *other = place_of(*other);
                }
            }
            part.steps.push(step);
        }
        part
    }
}
