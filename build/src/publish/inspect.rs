//! What is in a component, for a person: from its file, or from a registry without its bytes.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use super::pull::{Found, fetch, find};
use super::{PublicKey, licenses};
use crate::check;
use crate::error::{Context, Error, Result};
use crate::manifest::{Manifest, Prelinked};
use crate::oci::Registry;
use crate::plan::Form;
use crate::report;

/// The world of the component in a file, as WIT.
///
/// # Errors
/// When the file is no component.
pub fn wit_of_file(component: &Path) -> Result<String> {
    wit_of(&read(component)?).map_err(|error| not_one(component, error))
}

/// The world of a component in a registry, as WIT; the whole component is pulled for it, and checked.
///
/// # Errors
/// As for pulling.
pub fn wit_of_remote(registry: &Registry, key: Option<&PublicKey>) -> Result<String> {
    let Found { main, .. } = find(registry, key)?;
    let mut bytes = Vec::new();
    let mut take = |piece: &[u8]| {
        bytes.extend_from_slice(piece);
        Ok(())
    };
    fetch(registry, main.document.layer()?, &mut take, &|_, _| {})?;
    wit_of(&bytes).map_err(|error| not_one(Path::new(&registry.reference().to_string()), error))
}

fn read(component: &Path) -> Result<Vec<u8>> {
    std::fs::read(component).context(|| format!("cannot read the component `{}`", component.display()))
}

fn not_one(component: &Path, error: String) -> Error {
    Error::new(format!("`{}` is not a component", component.display())).detail(error)
}

/// Describes the component in a file, with its manifest if that lies beside it.
///
/// # Errors
/// When the file is no component.
pub fn inspect_file(component: &Path) -> Result<String> {
    let bytes = read(component)?;
    let contents = check::contents(&bytes).map_err(|error| not_one(component, error.to_string()))?;
    let mut text = String::new();
    if component.with_extension("json").exists() {
        text.push_str(&of_manifest(&Manifest::beside(component)?.0));
    }
    list(&mut text, "imports", &contents.imports);
    list(&mut text, "exports", &contents.exports);
    text.push_str("parts\n");
    for part in &contents.parts {
        line(&mut text, &format!("{:>8}  {:<16} {:>10}", part.count, part.name, report::size(part.bytes)));
    }
    if let Ok(statement) = std::fs::read(component.with_extension("intoto.json")) {
        let statement: Value = crate::oci::model::from_bytes("provenance", &statement)?;
        text.push_str(&of_statement(&statement));
    }
    Ok(text)
}

/// Describes a component in a registry, which is checked as it is when it is pulled.
///
/// # Errors
/// As for pulling.
pub fn inspect_remote(registry: &Registry, key: Option<&PublicKey>) -> Result<String> {
    let Found { main, manifest, statement, .. } = find(registry, key)?;
    let config = registry.pull_bytes(&main.document.config)?;
    let config: Value = crate::oci::model::from_bytes("config", &config)?;
    let mut text = format!("manifest   sha256:{}\n", main.digest);
    text.push_str(&of_manifest(&manifest));
    for what in ["imports", "exports"] {
        let names = config["component"][what].as_array().into_iter().flatten();
        let names: Vec<_> = names.filter_map(Value::as_str).map(str::to_owned).collect();
        list(&mut text, what, &names);
    }
    text.push_str("annotations\n");
    for (key, value) in &main.document.annotations {
        line(&mut text, &format!("  {key}: {value}"));
    }
    text.push_str("referrers\n");
    for one in registry.referrers(main.digest)? {
        line(&mut text, &format!("  sha256:{}  {}", one.digest.0, one.artifact_type.unwrap_or_default()));
    }
    if let Some(statement) = &statement {
        text.push_str(&of_statement(statement));
    }
    if key.is_some() {
        text.push_str("signed     all of it, with this key\n");
    }
    Ok(text)
}

fn line(text: &mut String, line: &str) {
    text.push_str(&report::visible(line));
    text.push('\n');
}

fn list(text: &mut String, title: &str, names: &[String]) {
    let _ = writeln!(text, "{title}");
    for name in names {
        line(text, &format!("  {name}"));
    }
}

fn of_manifest(manifest: &Manifest) -> String {
    let mut text = String::new();
    line(&mut text, &format!("names      {}", manifest.names));
    line(&mut text, &format!("world      {}", manifest.world));
    line(&mut text, &format!("form       {}", form(&manifest.form)));
    line(&mut text, &format!("sha256     {}", manifest.sha256));
    line(&mut text, &format!("size       {}", report::size(manifest.size)));
    line(&mut text, &format!("files      {}", manifest.files));
    line(&mut text, &format!("licences   {}", licenses(manifest)));
    text.push_str("packages\n");
    for package in &manifest.checks {
        let input = manifest.inputs.iter().find(|input| input.name.as_deref() == Some(&package.name));
        let version = input.and_then(|input| input.version.as_deref()).unwrap_or("?");
        let license = input.and_then(|input| input.license.as_deref()).unwrap_or("?");
        line(&mut text, &format!("  {:<24} {version:<16} {license}", package.name));
    }
    text.push_str("libraries, before the link\n");
    for (name, size) in &manifest.libraries {
        line(&mut text, &format!("  {:>10}  {name}", report::size(*size)));
    }
    if let Some(prelinked) = &manifest.prelinked {
        let size =
            |bytes: Option<u64>| bytes.map(|bytes| format!(" ({})", report::size(bytes))).unwrap_or_default();
        let Prelinked { functions, dropped, dropped_bytes, folded, folded_bytes } = *prelinked;
        let mut left_out = format!("{dropped} that nothing calls{}", size(dropped_bytes));
        if let Some(folded) = folded {
            left_out.push_str(&format!(" and {folded} that are like others{}", size(folded_bytes)));
        }
        line(&mut text, &format!("functions  {functions} of the libraries; {left_out} are left out"));
    }
    text
}

/// The form in words.
fn form(form: &Form) -> String {
    let mut words = vec![if form.dynamic { "bound at each start" } else { "prelinked" }.to_owned()];
    let imports = match &form.imports {
        Some(imports) => imports.join(" "),
        None => "the modules of the named packages".to_owned(),
    };
    words.push(match (form.cold, imports.is_empty()) {
        (true, _) => "not pre-initialised".to_owned(),
        (false, true) => "pre-initialised".to_owned(),
        (false, false) => format!("pre-initialised with {imports}"),
    });
    words.extend(form.setup.is_some().then(|| "with code of its maker's".to_owned()));
    words.extend(form.debug_names.then(|| "with names of functions".to_owned()));
    words.join(", ")
}

fn of_statement(statement: &Value) -> String {
    let mut text = "provenance\n".to_owned();
    let predicate = &statement["predicate"];
    let dependencies = predicate["buildDefinition"]["resolvedDependencies"].as_array();
    let checkout = dependencies.and_then(|all| all.iter().find(|one| one["name"] == "checkout"));
    let shown = |value: &Value| value.as_str().map(str::to_owned);
    for (name, value) in [
        ("builder", shown(&predicate["runDetails"]["builder"]["id"])),
        ("build", shown(&predicate["buildDefinition"]["buildType"])),
        ("source", checkout.and_then(|one| shown(&one["uri"]))),
        ("revision", checkout.and_then(|one| shown(&one["digest"]["gitCommit"]))),
        ("inputs", dependencies.map(|all| all.len().to_string())),
    ] {
        if let Some(value) = value {
            line(&mut text, &format!("  {name:<9} {value}"));
        }
    }
    text
}

/// The world of a component as WIT.
fn wit_of(bytes: &[u8]) -> Result<String, String> {
    let decoded = wit_component::decode(bytes).map_err(|error| format!("{error:#}"))?;
    let mut printer = wit_component::WitPrinter::default();
    let main = decoded.package();
    let others: Vec<_> =
        decoded.resolve().packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    printer.print(decoded.resolve(), main, &others).map_err(|error| format!("{error:#}"))?;
    Ok(printer.output.to_string())
}
