//! One walk over a component: what is in it, how large, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use wasmparser::component_types::ComponentEntityType;
use wasmparser::{
    ComponentExternalKind, KnownCustom, Parser, Payload, ValidPayload, Validator, WasmFeatures,
};

use super::features::Features;
use crate::wasm::hints;

/// Custom sections that say something useful to an embedder or a debugger and hold no build paths.
const ALLOWED_CUSTOM: [&str; 7] =
    ["name", "producers", "target_features", "dylink.0", "component-name", "component-type", hints::SECTION];

/// One kind of thing in a component file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// How many there are.
    pub count: u64,
    /// The bytes they take together.
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    count: u64,
    bytes: u64,
}

impl Tally {
    fn add(&mut self, count: u64, bytes: u64) {
        self.count += count;
        self.bytes += bytes;
    }
}

/// A core module: where it lies and what it calls itself.
#[derive(Debug)]
struct Module {
    range: Range<u64>,
    name: Option<String>,
}

/// A function that the component exports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) name: String,
    /// Whether it is an `async func`, or `None` when it is no function.
    pub(super) is_async: Option<bool>,
}

/// What is in a component.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    modules: Vec<Module>,
    functions: Tally,
    data: Tally,
    elements: Tally,
    custom: Tally,
    /// Bytes of custom sections by name.
    custom_names: BTreeMap<String, Tally>,
    used: Features,
    has_tags: bool,
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<Export>,
}

/// Walks over a component, validating its structure. Function bodies are read but not validated:
/// the engine does that when it compiles them.
pub(super) fn take(bytes: &[u8]) -> wasmparser::Result<Inventory> {
    let mut found = Inventory::default();
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    // What is open: for a core module its index, for a component nothing. The file itself counts.
    let mut open: Vec<Option<usize>> = Vec::new();
    let mut next = None;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let ValidPayload::End(types) = validator.payload(&payload)?
            && open.len() == 1
        {
            for export in &mut found.exports {
                if export.is_async.is_some()
                    && let Some(item) = types.as_ref().component_item_for_export(&export.name)
                    && let ComponentEntityType::Func(id) = item.ty
                {
                    export.is_async = Some(types[id].async_);
                }
            }
        }
        match &payload {
            Payload::Version { .. } => open.push(next.take()),
            Payload::End(_) => {
                open.pop();
            }
            Payload::ModuleSection { unchecked_range, .. } => {
                next = Some(found.modules.len());
                found.modules.push(Module { range: unchecked_range.clone(), name: None });
            }
            _ => found.record(&payload, open.len() == 1, open.last().copied().flatten())?,
        }
    }
    Ok(found)
}

impl Inventory {
    fn record(
        &mut self,
        payload: &Payload<'_>,
        at_top: bool,
        module: Option<usize>,
    ) -> wasmparser::Result<()> {
        match payload {
            Payload::CodeSectionStart { count, unchecked_range, .. } => {
                self.functions.add(u64::from(*count), length(unchecked_range));
            }
            Payload::CodeSectionEntry(body) => self.used.add(body)?,
            Payload::DataSection(section) => {
                self.data.add(u64::from(section.count()), length(&section.range()))
            }
            Payload::ElementSection(section) => {
                self.elements.add(u64::from(section.count()), length(&section.range()));
            }
            Payload::TagSection(_) => self.has_tags = true,
            Payload::CustomSection(section) => {
                let bytes = section.data().len() as u64;
                self.custom.add(1, bytes);
                self.custom_names.entry(section.name().to_owned()).or_default().add(1, bytes);
                if let (KnownCustom::Name(names), Some(module)) = (section.as_known(), module) {
                    for name in names {
                        if let (Ok(wasmparser::Name::Module { name, .. }), Some(module)) =
                            (name, self.modules.get_mut(module))
                        {
                            module.name = Some(name.to_owned());
                        }
                    }
                }
            }
            Payload::ComponentImportSection(section) if at_top => {
                for import in section.clone() {
                    self.imports.push(import?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if at_top => {
                for export in section.clone() {
                    let export = export?;
                    let is_async = (export.kind == ComponentExternalKind::Func).then_some(false);
                    self.exports.push(Export { name: export.name.name.to_owned(), is_async });
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn parts(&self, whole: u64) -> Vec<Part> {
        let modules = self.modules.iter().map(|module| length(&module.range)).sum();
        let part = |name, tally: Tally| Part { name, count: tally.count, bytes: tally.bytes };
        vec![
            part("core modules", Tally { count: self.modules.len() as u64, bytes: modules }),
            part("functions", self.functions),
            part("data segments", self.data),
            part("elements", self.elements),
            part("custom sections", self.custom),
            part("whole", Tally { count: 1, bytes: whole }),
        ]
    }

    pub(super) fn features(&self) -> BTreeSet<&'static str> {
        let mut features: BTreeSet<_> = self.used.names().collect();
        if self.has_tags {
            features.insert("exceptions");
        }
        if self.exports.iter().any(|export| export.is_async == Some(true)) {
            features.insert("component_model_async");
        }
        features
    }

    pub(super) fn import_names(&self) -> Vec<String> {
        let mut names = self.imports.clone();
        names.sort();
        names
    }

    pub(super) fn export_names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.exports.iter().map(|export| export.name.clone()).collect();
        names.sort();
        names
    }

    pub(super) fn section_problems(&self) -> Vec<String> {
        let allowed = |name: &str| {
            let known = name.split_once(':').map_or(name, |(kind, _)| kind);
            ALLOWED_CUSTOM.contains(&known)
        };
        self.custom_names
            .iter()
            .filter(|(name, _)| !allowed(name))
            .map(|(name, tally)| {
                let times = if tally.count == 1 { String::new() } else { format!(", {} times", tally.count) };
                format!("the custom section `{name}` is not allowed ({} bytes{times})", tally.bytes)
            })
            .collect()
    }

    /// In which core module an offset lies, as told to the user.
    pub(super) fn place(&self, offset: u64) -> String {
        for (index, module) in self.modules.iter().enumerate() {
            if module.range.contains(&offset) {
                return match &module.name {
                    Some(name) => format!("core module {index} (`{name}`)"),
                    None => format!("core module {index}"),
                };
            }
        }
        "the component around the core modules".to_owned()
    }
}

fn length(range: &Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}
