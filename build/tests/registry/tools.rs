//! Tools of others that are written in Python, from the package index.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::place::text;

/// Packages of the index for the machine's Python, in a folder that stays.
pub fn packages(name: &str, names: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !target.exists() {
        let stage = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let output = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .args(["--root-user-action=ignore", "--target"])
            .arg(stage.path())
            .args(names)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        // Somebody else may have been faster; then theirs stays.
        let _ = fs::rename(stage.keep(), &target);
    }
    target
}

#[track_caller]
pub fn python(code: &str, packages: &Path, arguments: &[&str]) {
    let mut command = Command::new("python3");
    let output = command.args(["-c", code]).args(arguments).env("PYTHONPATH", packages).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Checks the bill of materials and the provenance beside a component against the schemas of their formats.
#[track_caller]
pub fn documents_fit(stem: &Path) {
    // The schemas as their makers publish them, in packages.
    let schemas = packages(
        "schemas",
        &["cyclonedx-python-lib[json-validation]==11.12.0", "in-toto-attestation==0.9.3"],
    );
    let code = "
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf import json_format
import in_toto_attestation.v1.statement_pb2 as statement
from in_toto_attestation.v1.statement import Statement
import in_toto_attestation.predicates.provenance.v1.provenance_pb2 as provenance
text = open(sys.argv[1] + '.cdx.json').read()
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert problem is None, problem
said = json.load(open(sys.argv[1] + '.intoto.json'))
whole = json_format.Parse(json.dumps(said), statement.Statement())
read = Statement.copy_from_pb(whole)
read.validate()
predicate = json_format.Parse(json.dumps(said['predicate']), provenance.Provenance())
assert predicate.build_definition.build_type and predicate.run_details.builder.id
";
    python(code, &schemas, &[&stem.display().to_string()]);
}
