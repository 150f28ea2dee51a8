//! From a closure of packages to a graph of steps.
//!
//! A plan is a value: it is made from recipes, pins and the digests of the checkout's own files, needs no
//! network and no store, and can be printed before anything runs. Steps stand in topological order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::lock::LockedWheel;
use crate::name::PackageName;
use crate::provenance;
use crate::recipe::{Backend, Catalog, Kind as RecipeKind, Part, Recipe, Source};
use crate::resolve::{Chosen, Closure};
use crate::store::tree_digest;

mod model;
mod names;

use names::names;

pub use model::{Form, Input, Kind, Parts, Plan, Step};
pub use names::in_file;

/// The world of a component that is asked for without naming one.
pub const DEFAULT_WORLD: &str = "sandbox";

/// The world of a component that is a program, whose Python is configured by its command line.
pub const COMMAND_WORLD: &str = "command";

/// Everything that a plan is made from.
pub struct Materials<'a> {
    /// The checkout.
    pub checkout: &'a Path,
    /// All recipes.
    pub catalog: &'a Catalog,
    /// The parts of the toolchain, by table of `sysroot/toolchain.toml`.
    pub pins: &'a BTreeMap<String, Vec<Part>>,
    /// Finds the wheels of a recipe's build tools.
    pub tools: &'a dyn Fn(&[String]) -> Result<Vec<LockedWheel>>,
    /// An installed wasi-sdk that replaces the pinned compiler, with the digest of all of it.
    pub installed_sdk: Option<(PathBuf, Digest)>,
    /// A description of the build machine's C compiler, which builds the build machine's Python.
    pub machine: String,
}

/// Makes the plan of a component.
///
/// # Errors
/// When a recipe, a pin or a file of the checkout that it needs is missing.
pub fn plan(materials: &Materials<'_>, closure: &Closure, world: &str, form: &Form) -> Result<Plan> {
    let mut planner =
        Planner { materials, plan: Plan::default(), places: BTreeMap::new(), labels: BTreeMap::new() };
    planner.component(closure, world, form)?;
    Ok(planner.plan)
}

struct Planner<'a> {
    materials: &'a Materials<'a>,
    plan: Plan,
    places: BTreeMap<String, usize>,
    /// What the manifest says of a file besides its name and digest.
    labels: BTreeMap<Digest, Value>,
}

type Inputs = BTreeMap<String, Input>;

impl Planner<'_> {
    fn add(&mut self, name: &str, kind: Kind, params: Value, inputs: Inputs) -> usize {
        let place = self.plan.steps.len();
        self.plan.steps.push(Step { name: name.to_owned(), kind, params, inputs });
        self.places.insert(name.to_owned(), place);
        place
    }

    fn known(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    fn pins(&mut self, table: &str) -> Result<Vec<Source>> {
        let parts = self.materials.pins.get(table).ok_or_else(|| {
            Error::new(format!("expected a table `{table}` in `sysroot/toolchain.toml` but found none"))
        })?;
        for part in parts {
            let label = labelled(&part.name, &part.version, Some(&part.license));
            self.labels.insert(part.source.sha256, label);
        }
        Ok(parts.iter().map(|part| part.source.clone()).collect())
    }

    /// Adds a file or a directory of the checkout to the inputs.
    fn local(&self, inputs: &mut Inputs, role: &str, path: &str) -> Result<()> {
        let path = self.materials.checkout.join(path);
        let digest = if path.is_dir() { tree_digest(&path)? } else { Digest::of_file(&path)?.0 };
        inputs.insert(role.to_owned(), Input::Local { path, digest });
        Ok(())
    }

    fn patches_in(&self, inputs: &mut Inputs, folder: &str) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.materials.checkout.join(folder))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.ends_with(".patch") {
                self.local(inputs, &format!("patch/{name}"), &format!("{folder}/{name}"))?;
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn toolchain(&mut self) -> Result<usize> {
        if let Some(place) = self.known("toolchain") {
            return Ok(place);
        }
        let mut inputs = Inputs::new();
        let mut sources = Vec::new();
        let installed = match &self.materials.installed_sdk {
            Some((path, digest)) => {
                inputs.insert("sdk".to_owned(), Input::Local { path: path.clone(), digest: *digest });
                // Its archive says in a file which release it is.
                let version = std::fs::read_to_string(path.join("VERSION")).unwrap_or_default();
                let version = version.lines().next().unwrap_or("unknown").trim();
                self.labels
                    .insert(*digest, labelled("wasi-sdk", version, Some("Apache-2.0 WITH LLVM-exception")));
                true
            }
            None => {
                sources = self.pins("clang")?;
                source_inputs(&mut inputs, &sources);
                false
            }
        };
        let params = json!({ "sources": source_keys(&sources), "installed": installed });
        Ok(self.add("toolchain", Kind::Toolchain(sources), params, inputs))
    }

    fn tools(&mut self, label: &str, requires: &[String]) -> Result<usize> {
        let name = format!("tools {label}");
        if let Some(place) = self.known(&name) {
            return Ok(place);
        }
        let wheels = (self.materials.tools)(requires)?;
        let mut inputs = Inputs::new();
        for wheel in wheels {
            let version = wheel.version.to_string();
            self.labels
                .insert(wheel.sha256, labelled(wheel.name.as_str(), &version, wheel.license.as_deref()));
            inputs.insert(format!("source/{}", wheel.file), Input::Pin(wheel.pin()));
        }
        Ok(self.add(&name, Kind::Tools, Value::Null, inputs))
    }

    fn sysroot(&mut self) -> Result<usize> {
        if let Some(place) = self.known("sysroot") {
            return Ok(place);
        }
        let toolchain = self.toolchain()?;
        let tools = self.tools("sysroot", &["cmake==4.4.4".to_owned(), "ninja==1.13.2".to_owned()])?;
        let base = Inputs::from([
            ("toolchain".to_owned(), Input::Step(toolchain)),
            ("tools".to_owned(), Input::Step(tools)),
        ]);

        let sources = self.pins("wasi-libc")?;
        let mut inputs = base.clone();
        source_inputs(&mut inputs, &sources);
        let patches = self.patches_in(&mut inputs, "sysroot/wasi-libc")?;
        self.local(&mut inputs, "tags.s", "sysroot/tags.s")?;
        let params = json!({ "sources": source_keys(&sources), "patches": patches });
        let libc = self.add("libc", Kind::Libc(sources), params, inputs);

        let sources = self.pins("llvm")?;
        let mut inputs = base.clone();
        source_inputs(&mut inputs, &sources);
        inputs.insert("libc".to_owned(), Input::Step(libc));
        let params = json!({ "sources": source_keys(&sources) });
        let libcxx = self.add("libcxx", Kind::Libcxx(sources), params, inputs);

        let mut inputs = Inputs::from([
            ("toolchain".to_owned(), Input::Step(toolchain)),
            ("libc".to_owned(), Input::Step(libc)),
        ]);
        self.local(&mut inputs, "vfs", "sysroot/vfs")?;
        let vfs = self.add("vfs", Kind::Vfs, Value::Null, inputs);

        let parts = [("libc", libc), ("libcxx", libcxx), ("vfs", vfs)];
        let inputs = parts.map(|(role, place)| (role.to_owned(), Input::Step(place))).into();
        Ok(self.add("sysroot", Kind::Sysroot, Value::Null, inputs))
    }

    fn recipe(&self, name: &str) -> Result<Recipe> {
        let name = PackageName::new(name)?;
        self.materials
            .catalog
            .get(&name)
            .cloned()
            .ok_or_else(|| Error::new(format!("expected a recipe `{name}` but there is none")))
    }

    /// The inputs that every recipe has: its sources and patches.
    fn recipe_inputs(&self, recipe: &Recipe) -> Inputs {
        let mut inputs = Inputs::new();
        source_inputs(&mut inputs, &recipe.sources);
        for patch in &recipe.patches {
            let input = Input::Local { path: patch.path.clone(), digest: patch.digest };
            inputs.insert(format!("patch/{}", patch.file), input);
        }
        inputs
    }

    fn build_python(&mut self) -> Result<usize> {
        if let Some(place) = self.known("python") {
            return Ok(place);
        }
        let recipe = self.recipe("cpython")?;
        let mut inputs = Inputs::new();
        source_inputs(&mut inputs, &recipe.sources);
        let params = json!({ "sources": source_keys(&recipe.sources), "machine": self.materials.machine });
        Ok(self.add("python", Kind::Python(Box::new(recipe)), params, inputs))
    }

    fn with_host(&mut self, recipe: &Recipe, inputs: &mut Inputs) -> Result<()> {
        for host in &recipe.requires_host {
            let place = self.built(&self.recipe(host.as_str())?)?;
            inputs.insert(format!("host/{host}"), Input::Step(place));
        }
        Ok(())
    }

    fn compile_inputs(&mut self, recipe: &Recipe) -> Result<Inputs> {
        let mut inputs = self.recipe_inputs(recipe);
        inputs.insert("toolchain".to_owned(), Input::Step(self.toolchain()?));
        inputs.insert("sysroot".to_owned(), Input::Step(self.sysroot()?));
        if !recipe.requires_build.is_empty() {
            let requires: Vec<_> =
                recipe.requires_build.iter().map(|pin| format!("{}=={}", pin.name, pin.version)).collect();
            let tools = self.tools(recipe.name.as_str(), &requires)?;
            inputs.insert("tools".to_owned(), Input::Step(tools));
        }
        self.with_host(recipe, &mut inputs)?;
        Ok(inputs)
    }

    fn cpython(&mut self) -> Result<usize> {
        if let Some(place) = self.known("cpython") {
            return Ok(place);
        }
        let recipe = self.recipe("cpython")?;
        let mut inputs = self.compile_inputs(&recipe)?;
        inputs.insert("python".to_owned(), Input::Step(self.build_python()?));
        self.local(&mut inputs, "training", "recipes/cpython/profile")?;
        let profile = self.profile(&recipe, &inputs)?;
        inputs.insert("profile".to_owned(), Input::Step(profile));
        let params = json!({ "recipe": recipe.build_key(), "linker": provenance::linker_key()? });
        Ok(self.add("cpython", Kind::Cpython(Box::new(recipe)), params, inputs))
    }

    /// The step that trains the interpreter, from what it is compiled from.
    fn profile(&mut self, recipe: &Recipe, inputs: &Inputs) -> Result<usize> {
        let sources = self.pins("profile")?;
        let mut inputs = inputs.clone();
        source_inputs(&mut inputs, &sources);
        // Its LLVM is the library of the tool that writes profiles.
        inputs.insert("rust".to_owned(), Input::Step(self.rust()?));
        let params = json!({
            "recipe": recipe.build_key(),
            "sources": source_keys(&sources),
            // It is prelinked and run to be trained.
            "linker": provenance::linker_key()?,
        });
        Ok(self.add("profile", Kind::Profile(Box::new(recipe.clone()), sources), params, inputs))
    }

    fn cpython_dev(&mut self) -> Result<usize> {
        if let Some(place) = self.known("cpython-dev") {
            return Ok(place);
        }
        let inputs = Inputs::from([("cpython".to_owned(), Input::Step(self.cpython()?))]);
        Ok(self.add("cpython-dev", Kind::CpythonDev, Value::Null, inputs))
    }

    fn rust(&mut self) -> Result<usize> {
        if let Some(place) = self.known("rust") {
            return Ok(place);
        }
        let sources = self.pins("rust")?;
        let mut inputs = Inputs::new();
        source_inputs(&mut inputs, &sources);
        let params = json!({ "sources": source_keys(&sources) });
        Ok(self.add("rust", Kind::Rust(sources), params, inputs))
    }

    /// The step that makes what a recipe gives.
    fn built(&mut self, recipe: &Recipe) -> Result<usize> {
        let label = match recipe.kind {
            RecipeKind::Extension => "extension",
            RecipeKind::Pure => "wheel",
            RecipeKind::Library => "library",
            RecipeKind::Interpreter => return self.cpython(),
        };
        let name = format!("{label} {}", recipe.name);
        if let Some(place) = self.known(&name) {
            return Ok(place);
        }
        let params = json!(recipe.build_key());
        match recipe.kind {
            RecipeKind::Library => {
                let inputs = self.compile_inputs(recipe)?;
                Ok(self.add(&name, Kind::Library(Box::new(recipe.clone())), params, inputs))
            }
            RecipeKind::Pure => {
                let mut inputs = self.recipe_inputs(recipe);
                inputs.insert("python".to_owned(), Input::Step(self.build_python()?));
                Ok(self.add(&name, Kind::Wheel { name: recipe.name.clone() }, params, inputs))
            }
            _ => {
                let mut inputs = self.compile_inputs(recipe)?;
                inputs.insert("python".to_owned(), Input::Step(self.build_python()?));
                inputs.insert("cpython-dev".to_owned(), Input::Step(self.cpython_dev()?));
                if matches!(recipe.build.backend, Backend::CargoPyo3(_)) {
                    let rust = self.rust()?;
                    inputs.insert("rust".to_owned(), Input::Step(rust));
                    let mut crates = self.recipe_inputs(recipe);
                    crates.insert("rust".to_owned(), Input::Step(rust));
                    let params = json!(recipe.build_key());
                    let crates = self.add(&format!("crates {}", recipe.name), Kind::Crates, params, crates);
                    inputs.insert("crates".to_owned(), Input::Step(crates));
                }
                Ok(self.add(&name, Kind::Extension(Box::new(recipe.clone())), params, inputs))
            }
        }
    }

    fn guest(&mut self) -> Result<usize> {
        let (toolchain, sysroot, rust, cpython_dev) =
            (self.toolchain()?, self.sysroot()?, self.rust()?, self.cpython_dev()?);
        let mut inputs = Inputs::from([("rust".to_owned(), Input::Step(rust))]);
        self.local(&mut inputs, "runtime/Cargo.toml", "runtime/Cargo.toml")?;
        self.local(&mut inputs, "runtime/Cargo.lock", "runtime/Cargo.lock")?;
        let crates = self.add("crates runtime", Kind::Crates, Value::Null, inputs);
        let mut inputs: Inputs = [
            ("toolchain", toolchain),
            ("sysroot", sysroot),
            ("rust", rust),
            ("cpython-dev", cpython_dev),
            ("crates", crates),
        ]
        .map(|(role, place)| (role.to_owned(), Input::Step(place)))
        .into();
        for part in ["Cargo.toml", "Cargo.lock", "src", "python", "wit", "exports.txt"] {
            self.local(&mut inputs, &format!("runtime/{part}"), &format!("runtime/{part}"))?;
        }
        Ok(self.add("guest", Kind::Guest, Value::Null, inputs))
    }

    /// Refuses a world that has no file, and lists those that have.
    fn check_world(&self, world: &str) -> Result<()> {
        let mut worlds = Vec::new();
        for entry in std::fs::read_dir(self.materials.checkout.join("runtime/wit"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            worlds.extend(name.strip_suffix(".wit").map(|name| format!("`{name}`")));
        }
        worlds.sort();
        if worlds.contains(&format!("`{world}`")) {
            return Ok(());
        }
        Err(Error::new(format!("there is no world `{world}`"))
            .hint(format!("worlds are {}", worlds.join(", "))))
    }

    fn component(&mut self, closure: &Closure, world: &str, form: &Form) -> Result<usize> {
        let mut inputs = Inputs::new();
        let mut checks = Vec::new();
        let cpython = self.cpython()?;
        inputs.insert("cpython".to_owned(), Input::Step(cpython));
        let interpreter = self.recipe("cpython")?;
        checks.push(json!({
            "name": interpreter.name, "imports": interpreter.imports, "smoke": interpreter.smoke,
        }));
        inputs.insert("sysroot".to_owned(), Input::Step(self.sysroot()?));
        let guest = self.guest()?;
        inputs.insert("guest".to_owned(), Input::Step(guest));
        self.check_world(world)?;
        self.local(&mut inputs, "wit", &format!("runtime/wit/{world}.wit"))?;
        for chosen in &closure.packages {
            let place = match chosen {
                Chosen::Recipe { name, .. } => {
                    let recipe = self.recipe(name.as_str())?;
                    checks.push(json!({
                        "name": name, "imports": recipe.imports, "smoke": recipe.smoke,
                    }));
                    self.built(&recipe)?
                }
                Chosen::Wheel { name, version, pin, .. } => {
                    checks.push(json!({ "name": name, "imports": [], "smoke": null }));
                    let mut inputs =
                        Inputs::from([(format!("source/{}", pin.file), Input::Pin(pin.clone()))]);
                    inputs.insert("python".to_owned(), Input::Step(self.build_python()?));
                    let params = json!({ "name": name, "version": version.to_string() });
                    self.add(&format!("wheel {name}"), Kind::Wheel { name: name.clone() }, params, inputs)
                }
            };
            inputs.insert(format!("package/{}", chosen.name()), Input::Step(place));
        }
        let names = names(&closure.named, world, form);
        let file = in_file(&names);
        let name = format!("component {file}");
        let listed = self.listed(closure, &name, &inputs);
        let parts = Parts {
            names,
            file,
            world: world.to_owned(),
            form: form.clone(),
            named: closure.named.clone(),
            inputs: listed,
            checks,
        };
        let params = json!({
            "names": parts.names,
            "world": world,
            "form": form,
            "inputs": parts.inputs,
            "checks": parts.checks,
            "linker": provenance::linker_key()?,
        });
        let place = self.add(&name, Kind::Component(Box::new(parts.clone())), params, inputs);
        let inputs = Inputs::from([("component".to_owned(), Input::Step(place))]);
        let params = json!({ "checks": parts.checks });
        Ok(self.add(&format!("check {}", parts.file), Kind::Check(Box::new(parts)), params, inputs))
    }

    /// What the manifest says: every pinned file and every file or directory of the checkout that any step of the
    /// plan uses, and an installed wasi-sdk; each once, with the steps that use it.
    fn listed(&self, closure: &Closure, last: &str, inputs_of_last: &Inputs) -> Vec<Value> {
        let mut labels = self.labels.clone();
        for recipe in self.materials.catalog.iter() {
            for source in &recipe.sources {
                let version = recipe.version.to_string();
                let license = Some(recipe.license.spdx.as_str());
                labels.insert(source.sha256, labelled(recipe.name.as_str(), &version, license));
            }
        }
        for chosen in &closure.packages {
            if let Chosen::Wheel { name, version, pin, license, .. } = chosen {
                labels.insert(pin.sha256, labelled(name.as_str(), &version.to_string(), license.as_deref()));
            }
        }
        let mut inputs: BTreeMap<String, (Value, Vec<&str>)> = BTreeMap::new();
        let steps = self.plan.steps.iter().map(|step| (step.name.as_str(), &step.inputs));
        for (step, its_inputs) in steps.chain([(last, inputs_of_last)]) {
            for (role, input) in its_inputs {
                let (file, digest) = match input {
                    Input::Pin(pin) => (pin.file.to_string(), pin.sha256),
                    Input::Local { digest, .. } if role == "sdk" => ("wasi-sdk".to_owned(), *digest),
                    Input::Local { path, digest } => {
                        // Where the checkout is must not be told, whatever else is.
                        let below = path.strip_prefix(self.materials.checkout).ok();
                        (below.unwrap_or(Path::new(role)).display().to_string(), *digest)
                    }
                    Input::Step(_) => continue,
                };
                let mut entry = json!({ "file": file, "sha256": digest });
                if let Some(Value::Object(extra)) = labels.get(&digest) {
                    for (key, value) in extra {
                        entry[key.as_str()] = value.clone();
                    }
                }
                inputs.entry(file).or_insert_with(|| (entry, Vec::new())).1.push(step);
            }
        }
        let with_steps = |(mut entry, mut steps): (Value, Vec<&str>)| {
            steps.dedup();
            entry["steps"] = json!(steps);
            entry
        };
        inputs.into_values().map(with_steps).collect()
    }
}

/// What the manifest says of a file besides its name and digest.
fn labelled(name: &str, version: &str, license: Option<&str>) -> Value {
    json!({ "name": name, "version": version, "license": license })
}

fn source_inputs(inputs: &mut Inputs, sources: &[Source]) {
    for source in sources {
        inputs.insert(format!("source/{}", source.file), Input::Pin(source.pin()));
    }
}

fn source_keys(sources: &[Source]) -> Value {
    sources.iter().map(|source| json!(source.key())).collect()
}
