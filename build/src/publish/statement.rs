//! Where a component comes from: an in-toto statement v1 with a SLSA provenance v1 predicate.

use serde_json::{Value, json};

use crate::manifest::Manifest;
use crate::plan::in_file;

/// The media type, and the type of the artifact.
pub const MEDIA_TYPE: &str = "application/vnd.in-toto+json";
/// The type of the predicate.
pub const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What kind of build it was: `bundle` with the parameters of that verb.
const BUILD_TYPE: &str = "urn:eryx-wasm-runtime:bundle:1";
/// Who built it, unless somebody says.
pub const BUILDER: &str = "urn:eryx-wasm-runtime:local";

/// What a build says of itself besides the manifest.
#[derive(Debug, Clone, Default)]
pub struct Origin {
    /// The address of the source repository.
    pub source: Option<String>,
    /// The commit.
    pub revision: Option<String>,
    /// Who built it, as an URI.
    pub builder: Option<String>,
}

/// The statement of a component.
#[must_use]
pub fn statement(manifest: &Manifest, text: &[u8], origin: &Origin) -> Value {
    let mut dependencies: Vec<Value> = Vec::new();
    if let Some(revision) = &origin.revision {
        let mut checkout = json!({ "name": "checkout", "digest": { "gitCommit": revision } });
        if let Some(source) = &origin.source {
            checkout["uri"] = format!("git+{source}").into();
        }
        dependencies.push(checkout);
    }
    dependencies.extend(manifest.inputs.iter().map(|input| {
        json!({
            "name": input.file,
            "digest": { "sha256": input.sha256 },
            "annotations": { "steps": input.steps },
        })
    }));
    dependencies.extend(manifest.crates.iter().map(|one| {
        let mut dependency = json!({ "uri": format!("pkg:cargo/{}@{}", one.name, one.version) });
        if let Some(sha256) = one.sha256 {
            dependency["digest"] = json!({ "sha256": sha256 });
        }
        dependency
    }));
    let packages: Vec<_> = manifest.named().collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{
            "name": format!("{}.wasm", in_file(&manifest.names)),
            "digest": { "sha256": manifest.sha256 },
        }],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "packages": packages,
                    "world": manifest.world,
                    "form": manifest.form,
                },
                "resolvedDependencies": dependencies,
            },
            "runDetails": {
                "builder": {
                    "id": origin.builder.as_deref().unwrap_or(BUILDER),
                    "version": { env!("CARGO_PKG_NAME"): env!("CARGO_PKG_VERSION") },
                },
                "byproducts": [{
                    "name": format!("{}.json", in_file(&manifest.names)),
                    "digest": { "sha256": crate::digest::Digest::of(text) },
                }],
            },
        },
    })
}
