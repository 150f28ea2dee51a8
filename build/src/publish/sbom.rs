//! The bill of materials of a component, in CycloneDX 1.6.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::digest::Digest;
use crate::manifest::{Crate, Input, Manifest};
use crate::recipe::is_spdx;

/// The media type, and the type of the artifact.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

/// The bill of a component: every source with its digest and patches, licences, build tools and crates. Equal
/// manifests give equal bills.
#[must_use]
pub fn sbom(manifest: &Manifest) -> Value {
    let mut parts: BTreeMap<(String, String), Vec<&Input>> = BTreeMap::new();
    let mut own = Vec::new();
    let mut patches: BTreeMap<&str, Vec<&Input>> = BTreeMap::new();
    for input in &manifest.inputs {
        match (&input.name, &input.version) {
            (Some(name), Some(version)) => {
                parts.entry((name.clone(), version.clone())).or_default().push(input);
            }
            _ if input.file.ends_with(".patch") => {
                for step in &input.steps {
                    patches.entry(step).or_default().push(input);
                }
            }
            _ => own.push(input),
        }
    }
    let mut components = Vec::new();
    for ((name, version), inputs) in &parts {
        components.push(part(name, version, inputs, &patches));
    }
    components.extend(own.iter().map(|input| file(input)));
    let mut seen = std::collections::BTreeSet::new();
    components
        .extend(manifest.crates.iter().map(of_crate).filter(|one| seen.insert(one["bom-ref"].to_string())));
    let refs: Vec<_> = components.iter().map(|one| one["bom-ref"].clone()).collect();
    let depends = |on: Vec<Value>| json!({ "ref": "component", "dependsOn": on });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(manifest.sha256)),
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "component",
                "name": manifest.names,
                "version": manifest.sha256.short(),
                "hashes": hashes(manifest.sha256),
                "properties": properties(&[
                    ("eryx:world", &manifest.world),
                    ("eryx:size", &manifest.size.to_string()),
                ]),
            },
            "tools": { "components": [{
                "type": "application",
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
            }] },
        },
        "components": components,
        "dependencies": [depends(refs)],
    })
}

/// A project: with its only file, or with its files below it.
fn part(name: &str, version: &str, inputs: &[&Input], patches: &BTreeMap<&str, Vec<&Input>>) -> Value {
    let mut steps: Vec<&str> = inputs.iter().flat_map(|input| &input.steps).map(String::as_str).collect();
    steps.sort_unstable();
    steps.dedup();
    let mut one = json!({
        "type": "library",
        "bom-ref": format!("source:{name}@{version}"),
        "name": name,
        "version": version,
        "scope": scope(&steps),
        "properties": properties(&steps.iter().map(|step| ("eryx:step", *step)).collect::<Vec<_>>()),
    });
    if let Some(license) = inputs.iter().find_map(|input| input.license.as_deref()) {
        one["licenses"] = licenses(license);
    }
    // Where a source is fetched from never matters, but a wheel is of one registry only.
    let wheel = inputs.iter().all(|input| input.file.ends_with(".whl"));
    one["purl"] =
        format!("pkg:{}/{name}@{}", if wheel { "pypi" } else { "generic" }, percent(version)).into();
    match inputs {
        [input] => one["hashes"] = hashes(input.sha256),
        inputs => {
            one["components"] = inputs
                .iter()
                .map(|input| {
                    json!({
                        "type": "file",
                        "bom-ref": format!("file:{}", input.file),
                        "name": input.file,
                        "hashes": hashes(input.sha256),
                    })
                })
                .collect();
        }
    }
    let mut found: Vec<&Input> =
        steps.iter().filter_map(|step| patches.get(step)).flatten().copied().collect();
    found.sort_by(|one, other| one.file.cmp(&other.file));
    found.dedup_by(|one, other| one.file == other.file);
    if !found.is_empty() {
        let diffs: Vec<_> = found
            .iter()
            .map(|patch| json!({ "type": "unofficial", "diff": { "url": patch.file } }))
            .collect();
        one["pedigree"] = json!({ "patches": diffs });
        if let Some(all) = one["properties"].as_array_mut() {
            all.extend(found.iter().map(|patch| {
                json!({ "name": format!("eryx:patch:{}", patch.file), "value": format!("sha256:{}", patch.sha256) })
            }));
        }
    }
    one
}

/// A file or directory of the checkout.
fn file(input: &Input) -> Value {
    let steps: Vec<_> = input.steps.iter().map(|step| ("eryx:step", step.as_str())).collect();
    json!({
        "type": "file",
        "bom-ref": format!("checkout:{}", input.file),
        "name": input.file,
        "hashes": hashes(input.sha256),
        "licenses": licenses("MIT OR Apache-2.0"),
        "properties": properties(&steps),
    })
}

fn of_crate(one: &Crate) -> Value {
    let mut entry = json!({
        "type": "library",
        "bom-ref": format!("crate:{}@{}", one.name, one.version),
        "name": one.name,
        "version": one.version,
        "purl": format!("pkg:cargo/{}@{}", one.name, percent(&one.version)),
    });
    if let Some(sha256) = one.sha256 {
        entry["hashes"] = hashes(sha256);
    }
    if let Some(license) = &one.license {
        // Crates of old write `/` for `OR`.
        entry["licenses"] = licenses(&license.replace('/', " OR "));
    }
    entry
}

/// Build tools that leave nothing in the component are excluded from it.
fn scope(steps: &[&str]) -> &'static str {
    let tool = |step: &&str| step.starts_with("tools ") || *step == "python";
    if steps.iter().all(tool) { "excluded" } else { "required" }
}

fn licenses(text: &str) -> Value {
    if is_spdx(text) { json!([{ "expression": text }]) } else { json!([{ "license": { "name": text } }]) }
}

fn hashes(sha256: Digest) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

fn properties(all: &[(&str, &str)]) -> Value {
    all.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

fn percent(text: &str) -> String {
    text.replace('%', "%25").replace('+', "%2B").replace('~', "%7E")
}

/// A UUID made from a digest: version 8 of RFC 9562, which leaves the bits to us.
fn uuid(digest: Digest) -> String {
    let text = digest.to_string();
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    format!("{}-{}-8{}-a{}-{}", part(0, 8), part(8, 12), part(13, 16), part(17, 20), part(20, 32))
}
