//! What `publish` pushes to a registry that asks for a password, pulled by the tools that others use, and run.

use std::path::Path;
use std::process::Command;

use super::registry::tools::documents_fit;
use super::registry::{PASSWORD, Server, USER};
use super::wasmtime::{component, wasmtime};
use super::{program, succeeded, text};

/// The newest version of the tool for components in registries.
const WKG: &str = "0.16.1";

#[test]
fn common_tools_pull_what_we_publish_and_run_it() {
    let (server, folder) = (Server::with_password(), tempfile::tempdir().unwrap());
    let reference = format!("{}/python/command:latest", server.address);
    let mut publish = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    publish.args(["publish", &reference, "--component"]).arg(component()).current_dir(folder.path());
    publish.env("ERYX_REGISTRY_USER", USER).env("ERYX_REGISTRY_PASSWORD", PASSWORD);
    let output = publish.output().unwrap();
    succeeded(&output);
    let bytes = std::fs::read(component()).unwrap();

    // It compiles faster when it is not optimised, and has little to do.
    let by_wkg = folder.path().join("by-wkg.wasm");
    let mut wkg = Command::new(program("wkg", WKG, "wkg", &["--debug"]));
    wkg.args(["oci", "pull", "--insecure", &server.address, "-u", USER, "-p", PASSWORD]);
    succeeded(&wkg.arg("--output").arg(&by_wkg).arg(&reference).env("HOME", folder.path()).output().unwrap());
    assert!(std::fs::read(&by_wkg).unwrap() == bytes, "wkg pulls something else");

    let copied = folder.path().join("by-skopeo");
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--src-tls-verify=false", "--src-creds"]);
    skopeo.arg(format!("{USER}:{PASSWORD}")).arg(format!("docker://{reference}"));
    succeeded(&skopeo.arg(format!("dir:{}", copied.display())).output().unwrap());
    let digest = eryx_build::digest::Digest::of(&bytes);
    let by_skopeo = copied.join(digest.to_string());
    assert!(std::fs::read(&by_skopeo).unwrap() == bytes, "skopeo pulls something else");

    // Ours, too, with all that is said of a component of this size.
    let mut pull = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    pull.args(["pull", &reference, "--output"]).arg(folder.path());
    succeeded(
        &pull.env("ERYX_REGISTRY_USER", USER).env("ERYX_REGISTRY_PASSWORD", PASSWORD).output().unwrap(),
    );
    documents_fit(&folder.path().join(format!("python.command-{}", digest.short())));

    assert_eq!((runs(&by_wkg), runs(&by_skopeo)), ("42\n".to_owned(), "42\n".to_owned()));
}

fn runs(component: &Path) -> String {
    let mut command = Command::new(wasmtime());
    let output = command.arg("run").arg(component).args(["-c", "print(6 * 7)"]).output().unwrap();
    succeeded(&output);
    text(&output.stdout)
}
