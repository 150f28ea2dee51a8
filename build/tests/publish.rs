//! `publish`, `pull` and `inspect` against a real registry on loopback, on good days and bad.

mod registry;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use eryx_build::digest::Digest;
use registry::place::{NAMES, Place, text};
use registry::tools::{documents_fit, packages, python};
use registry::{PASSWORD, Proxy, Server, Then, USER};
use serde_json::{Value, json};

#[test]
fn what_is_pushed_comes_back() {
    let (place, server) = (Place::new(), Server::start());
    let reference = format!("{}/python/sci:latest", server.address);
    let origin =
        ["--source", "https://src.test/eryx", "--revision", "0123456789abcdef0123456789abcdef01234567"];
    let said = place.publish(&reference, &[&["--tag", "nightly"], &origin[..]].concat());
    assert!(said.contains("\nsent       200.") || said.contains("\nsent       195."), "{said}");
    let tags = [
        "3.14.5-numpy-2.5.5-pydantic-2.13".to_owned(),
        place.digest.to_string(),
        "latest".to_owned(),
        "nightly".to_owned(),
    ];
    let listed = server.tags("python/sci");
    for tag in &tags {
        assert!(listed.contains(tag), "{listed:?}");
    }

    for wanted in [&reference, &said.lines().next().unwrap()["reference  ".len()..].to_owned()] {
        let folder = tempfile::tempdir().unwrap();
        let pulled = place.works(&["pull", wanted, "-o", folder.path().to_str().unwrap()]);
        assert!(pulled.contains(&format!("\nsha256     {}\n", place.digest)), "{pulled}");
        let stem = format!("{NAMES}-{}", place.digest.short());
        let read = |suffix: &str| fs::read(folder.path().join(format!("{stem}.{suffix}"))).unwrap();
        assert_eq!(read("wasm"), fs::read(&place.component).unwrap());
        assert_eq!(read("json"), fs::read(place.component.with_extension("json")).unwrap());
        let bill: Value = serde_json::from_slice(&read("cdx.json")).unwrap();
        assert_eq!(bill["metadata"]["component"]["hashes"][0]["content"], place.digest.to_string());
        let statement: Value = serde_json::from_slice(&read("intoto.json")).unwrap();
        assert_eq!(statement["subject"][0]["digest"]["sha256"], place.digest.to_string());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    // Again, it is the same thing, and nothing is sent.
    let again = place.publish(&reference, &[&["--tag", "nightly"], &origin[..]].concat());
    assert_eq!(again.lines().next(), said.lines().next());
    assert!(again.contains("\nsent       0 B\n"), "{again}");

    let manifest: Value = serde_json::from_str(&server.get("/v2/python/sci/manifests/latest")).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["annotations"]["org.opencontainers.image.source"], "https://src.test/eryx");
    assert_eq!(
        manifest["annotations"]["org.opencontainers.image.description"],
        "CPython 3.14.5 with numpy 2.5.5, pydantic 2.13 as a WebAssembly component"
    );
    assert_eq!(
        manifest["annotations"]["org.opencontainers.image.licenses"],
        "(BSD-3-Clause AND MIT) AND MIT AND (MIT OR Apache-2.0) AND PSF-2.0"
    );
}

#[test]
fn other_tools_read_what_we_push() {
    let (place, server) = (Place::new(), Server::start());
    let (private, public) = place.keys("mine");
    let (_, stranger) = place.keys("other");
    let reference = format!("{}/python:latest", server.address);
    let said = place.publish(&reference, &["--key", &private]);
    let digest = said.lines().next().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").args(arguments).current_dir(place.dir.path()).output().unwrap();
        (output.status.success(), output.stdout, text(&output.stderr))
    };
    let (good, raw, said) =
        skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")]);
    assert!(good, "{said}");
    assert_eq!(Digest::of(&raw).to_string(), digest);

    fs::write(place.path("policy.json"), r#"{"default": [{"type": "insecureAcceptAnything"}]}"#).unwrap();
    let (good, _, said) = skopeo(&[
        "--policy",
        "policy.json",
        "copy",
        "--src-tls-verify=false",
        &format!("docker://{reference}"),
        "dir:copied",
    ]);
    assert!(good, "{said}");
    let copied = fs::read(place.path("copied").join(place.digest.to_string())).unwrap();
    assert_eq!(copied, fs::read(&place.component).unwrap());

    let oras = packages("oras", &["oras==0.2.43"]);
    let code = "
import sys, oras.client
pulled = oras.client.OrasClient(insecure=True).pull(target=sys.argv[1], outdir=sys.argv[2])
assert pulled == [sys.argv[3]], pulled
";
    let (folder, file) = (place.path("by-oras"), place.path("by-oras").join(format!("{NAMES}.wasm")));
    python(code, &oras, &[&reference, &folder.display().to_string(), &file.display().to_string()]);
    assert_eq!(fs::read(file).unwrap(), fs::read(&place.component).unwrap());

    // A signature as cosign looks for it, verified by OpenSSL.
    let signatures = server.get(&format!("/v2/python/manifests/sha256-{digest}.sig"));
    let signatures: Value = serde_json::from_str(&signatures).unwrap();
    let layer = &signatures["layers"][0];
    assert_eq!(layer["mediaType"], "application/vnd.dev.cosign.simplesigning.v1+json");
    let payload = server.get(&format!("/v2/python/blobs/{}", layer["digest"].as_str().unwrap()));
    let said: Value = serde_json::from_str(&payload).unwrap();
    assert_eq!(said["critical"]["image"]["docker-manifest-digest"], format!("sha256:{digest}"));
    assert_eq!(said["critical"]["identity"]["docker-reference"], format!("{}/python", server.address));
    let signature = layer["annotations"]["dev.cosignproject.cosign/signature"].as_str().unwrap();
    fs::write(place.path("signature"), BASE64.decode(signature).unwrap()).unwrap();
    fs::write(place.path("payload"), payload).unwrap();
    let verify = |key: &str| {
        let arguments = ["dgst", "-sha256", "-verify", key, "-signature", "signature", "payload"];
        Command::new("openssl")
            .args(arguments)
            .current_dir(place.dir.path())
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(verify(&public) && !verify(&stranger));
}

#[test]
fn the_documents_fit_their_schemas() {
    let (place, server) = (Place::new(), Server::start());
    let reference = format!("{}/python:latest", server.address);
    place.publish(&reference, &["--source", "https://src.test/eryx", "--revision", &"0".repeat(40)]);
    place.works(&["pull", &reference, "-o", "out"]);
    let stem = place.path("out").join(format!("{NAMES}-{}", place.digest.short()));
    documents_fit(&stem);
    let statement = fs::read(stem.with_extension("intoto.json")).unwrap();
    let statement: Value = serde_json::from_slice(&statement).unwrap();
    let told = &statement["predicate"]["buildDefinition"]["externalParameters"];
    assert_eq!(told["packages"], json!(["numpy", "pydantic"]));
    assert_eq!((&told["world"], &told["form"]["debug_names"]), (&json!("sandbox"), &json!(true)));

    let bill: Value = serde_json::from_slice(&fs::read(stem.with_extension("cdx.json")).unwrap()).unwrap();
    let parts = bill["components"].as_array().unwrap();
    let part =
        |name: &str| parts.iter().find(|part| part["name"] == name).unwrap_or_else(|| panic!("{name}"));
    assert_eq!(
        part("numpy")["pedigree"]["patches"][0]["diff"]["url"],
        "recipes/numpy/0001-unique-rtti.patch"
    );
    assert_eq!(part("numpy")["hashes"][0]["content"], Digest::of(b"numpy-2.5.5.tar.gz").to_string());
    assert_eq!(part("numpy")["licenses"][0]["expression"], "BSD-3-Clause AND MIT");
    assert_eq!(part("cmake")["scope"], "excluded");
    assert_eq!(part("cmake")["licenses"][0]["license"]["name"], "BSD 3-Clause, roughly");
    assert_eq!(part("cpython")["scope"], "required");
    assert_eq!(part("rust")["components"].as_array().unwrap().len(), 2);
    assert_eq!(part("pyo3")["purl"], "pkg:cargo/pyo3@0.29.0");
    assert_eq!(part("old")["licenses"][0]["expression"], "MIT OR Apache-2.0");
    assert_eq!(part("runtime/src")["type"], "file");
}

#[test]
fn a_registry_is_told_who_asks() {
    let (place, server) = (Place::new(), Server::with_password());
    let reference = format!("{}/python:latest", server.address);
    let publish = ["publish", &reference, "--component", "given.wasm"];
    let error = place.fails(&publish, &[]);
    assert!(error.contains("wants a user and a password, and there are none"), "{error}");
    assert!(error.contains("hint: log in with Docker's client, or set `ERYX_REGISTRY_USER` and"), "{error}");
    let wrong = [("ERYX_REGISTRY_USER", USER), ("ERYX_REGISTRY_PASSWORD", "guess")];
    let error = place.fails(&publish, &wrong);
    assert!(error.contains("\n  status 401 unauthorized\n"), "{error}");
    assert!(!error.contains("guess"), "{error}");

    let env = [("ERYX_REGISTRY_USER", USER), ("ERYX_REGISTRY_PASSWORD", PASSWORD)];
    let output = place.run(&publish, &env);
    assert!(output.status.success(), "{}", text(&output.stderr));

    fs::create_dir_all(place.path("home/.docker")).unwrap();
    let auth = BASE64.encode(format!("{USER}:{PASSWORD}"));
    let config = json!({ "auths": { format!("http://{}/v1/", server.address): { "auth": auth } } });
    fs::write(place.path("home/.docker/config.json"), config.to_string()).unwrap();
    let home = place.path("home");
    let output = place.run(&["pull", &reference, "-o", "out"], &[("HOME", home.to_str().unwrap())]);
    assert!(output.status.success(), "{}", text(&output.stderr));

    // A credential helper, by its own protocol.
    let helper = place.path("docker-credential-test");
    let script = format!(
        "#!/bin/sh\nread server\n[ \"$server\" = {} ] && echo '{{\"Username\": \"{USER}\", \"Secret\": \"{PASSWORD}\"}}'\n",
        server.address
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::create_dir_all(place.path("docker")).unwrap();
    fs::write(place.path("docker/config.json"), r#"{"credsStore": "test"}"#).unwrap();
    let path = format!("{}:/usr/bin:/bin", place.dir.path().display());
    let docker = place.path("docker");
    let env = [("PATH", path.as_str()), ("DOCKER_CONFIG", docker.to_str().unwrap())];
    let output = place.run(&["inspect", &reference], &env);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn tokens_are_asked_for_and_used() {
    let (place, server) = (Place::new(), Server::start());
    let proxy = Proxy::before(&server, |_| Then::Pass);
    let realm = format!("http://{}/token", proxy.address);
    let basic = format!("Basic {}", BASE64.encode(format!("{USER}:{PASSWORD}")));
    proxy.now(move |asked| {
        if asked.path.starts_with("/token?") {
            let wanted = "/token?service=a%20registry&scope=repository:python:pull,push";
            return if asked.path == wanted && asked.authorization.as_ref() == Some(&basic) {
                Then::Answer("200 OK", String::new(), r#"{"token": "good"}"#.to_owned())
            } else {
                Then::Answer("403 Forbidden", String::new(), asked.path.clone())
            };
        }
        if asked.authorization.as_deref() == Some("Bearer good") {
            return Then::Pass;
        }
        let challenge = format!("www-authenticate: Bearer realm=\"{realm}\",service=\"a registry\"\r\n");
        Then::Answer("401 Unauthorized", challenge, String::new())
    });
    let reference = format!("{}/python:latest", proxy.address);
    let publish = ["publish", &reference, "--component", "given.wasm"];
    let env = [("ERYX_REGISTRY_USER", USER), ("ERYX_REGISTRY_PASSWORD", PASSWORD)];
    let output = place.run(&publish, &env);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let error = place.fails(&publish, &[]);
    assert!(error.contains("no token: status 403 forbidden"), "{error}");
}

#[test]
fn a_registry_may_start_anew_in_mid_push() {
    let (place, server) = (Place::new(), Arc::new(Server::start()));
    // The proxy outlives the test, and must not keep the registry.
    let behind = Arc::downgrade(&server);
    let mut restarts = 0;
    let proxy = Proxy::before(&server, move |asked| {
        if asked.is("PUT", "/blobs/uploads/") && restarts < 2 {
            restarts += 1;
            let server = behind.upgrade().unwrap();
            server.down();
            assert!(server.up());
            return Then::HangUp;
        }
        Then::Pass
    });
    let reference = format!("{}/python:latest", proxy.address);
    place.publish(&reference, &[]);
    place.works(&["pull", &format!("{}/python:latest", server.address), "-o", "out"]);
}

#[test]
fn what_fails_for_a_while_is_tried_again() {
    let (place, server) = (Place::new(), Server::start());
    // Of each kind of request the first one fails, in one way or another.
    let mut seen = BTreeSet::new();
    let proxy = Proxy::before(&server, move |asked| {
        let path = asked.path.split("uploads/").next().unwrap();
        if !seen.insert(format!("{} {path}", asked.method)) {
            return Then::Pass;
        }
        match seen.len() % 2 {
            0 => Then::Answer("503 Service Unavailable", String::new(), String::new()),
            _ => Then::HangUp,
        }
    });
    let reference = format!("{}/python:latest", proxy.address);
    place.publish(&reference, &[]);
    place.works(&["pull", &reference, "-o", "out"]);
}

#[test]
fn no_tag_leads_to_half_a_publication() {
    let (place, server) = (Place::new(), Server::start());
    // Everything passes but the last of the manifests.
    let proxy = Proxy::before(&server, |asked| match asked.is("PUT", "/manifests/sha256:") {
        true if asked_for_provenance(asked) => Then::Answer(
            "403 Forbidden",
            String::new(),
            r#"{"errors": [{"code": "DENIED", "message": "no more room\u001b"}]}"#.to_owned(),
        ),
        _ => Then::Pass,
    });
    let reference = format!("{}/python:latest", proxy.address);
    let error = place.fails(&["publish", &reference, "--component", "given.wasm"], &[]);
    let expected = format!(
        "cannot push a manifest to `{}/python`\n  status 403 forbidden (DENIED: no more room)",
        proxy.address
    );
    assert!(error.starts_with(&expected), "{error}");
    let tags = server.tags("python");
    assert!(tags.iter().all(|tag| tag.starts_with("sha256-")), "{tags:?}");
}

fn asked_for_provenance(asked: &registry::Asked) -> bool {
    asked.body().contains("application/vnd.in-toto+json")
}

#[test]
fn what_arrives_damaged_is_refused_and_nothing_is_left() {
    let (place, server) = (Place::new(), Server::start());
    let reference = format!("{}/python:latest", server.address);
    place.publish(&reference, &[]);
    let blob = format!("/blobs/sha256:{}", place.digest);
    let proxy = Proxy::before(&server, |_| Then::Pass);
    let reference = format!("{}/python:latest", proxy.address);
    let pull = ["pull", &reference, "-o", "out"];

    let one = blob.clone();
    proxy.now(move |asked| if asked.path.ends_with(&one) { Then::Cut(100_000) } else { Then::Pass });
    let error = place.fails(&pull, &[]);
    assert!(error.starts_with("the component broke off: "), "{error}");
    assert!(place.is_empty("out"));

    proxy.now(move |asked| if asked.path.ends_with(&blob) { Then::Lie } else { Then::Pass });
    let error = place.fails(&pull, &[]);
    assert!(
        error.starts_with("expected a component of ") && error.contains(&place.digest.to_string()),
        "{error}"
    );
    assert!(place.is_empty("out"));

    // Manifests and small blobs, too.
    for part in ["/manifests/latest", "/manifests/sha256-", "/manifests/sha256:"] {
        proxy.now(move |asked| if asked.path.contains(part) { Then::Lie } else { Then::Pass });
        let error = place.fails(&pull, &[]);
        assert!(error.starts_with("expected a ") && error.contains(" but found `sha256:"), "{part}: {error}");
        assert!(place.is_empty("out"));
    }
    let component = place.digest.to_string();
    proxy.now(move |asked| match asked.path.rsplit_once("/blobs/sha256:") {
        Some((_, digest)) if digest != component => Then::Lie,
        _ => Then::Pass,
    });
    let error = place.fails(&pull, &[]);
    assert!(error.starts_with("expected a blob of "), "{error}");
    assert!(place.is_empty("out"));
}

#[test]
fn what_is_not_signed_as_wanted_is_refused() {
    let (place, server) = (Place::new(), Server::start());
    let (private, public) = place.keys("mine");
    let (other, _) = place.keys("other");
    let reference = format!("{}/python:latest", server.address);
    let pull = ["pull", &reference, "-o", "out", "--key", &public];

    place.publish(&reference, &[]);
    let error = place.fails(&pull, &[]);
    assert!(error.starts_with("the component is not signed\n"), "{error}");

    let said = place.publish(&reference, &["--key", &other]);
    let error = place.fails(&pull, &[]);
    assert!(error.starts_with("the component is not signed with this key\n"), "{error}");
    assert!(error.ends_with("\n  a signature by another key\n"), "{error}");

    // A second signature stands beside the first.
    place.publish(&reference, &["--key", &private]);
    place.works(&pull);
    let inspected = place.works(&["inspect", &reference, "--key", &public]);
    assert!(inspected.ends_with("signed     all of it, with this key\n"), "{inspected}");

    // The signatures of one thing do not serve another.
    let digest = said.lines().next().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let manifest = server.get("/v2/python/manifests/latest");
    let changed = manifest.replace("CPython 3.14.5", "CPython 3.14.6");
    server.put_manifest(
        "/v2/python/manifests/forged",
        "application/vnd.oci.image.manifest.v1+json",
        &changed,
    );
    let signatures = server.get(&format!("/v2/python/manifests/sha256-{digest}.sig"));
    let tag = format!("sha256-{}.sig", Digest::of(changed.as_bytes()));
    server.put_manifest(
        &format!("/v2/python/manifests/{tag}"),
        "application/vnd.oci.image.manifest.v1+json",
        &signatures,
    );
    let forged = format!("{}/python:forged", server.address);
    let error = place.fails(&["pull", &forged, "-o", "forged", "--key", &public], &[]);
    assert!(error.contains("\n  a signature of \"sha256:"), "{error}");
    assert!(place.is_empty("forged"));

    // A bill of materials that is gone, one that nobody signed, and one that is of another component.
    let list = format!("/v2/python/manifests/sha256-{digest}");
    let index = "application/vnd.oci.image.index.v1+json";
    let mut listed: Value = serde_json::from_str(&server.get(&list)).unwrap();
    let all = listed["manifests"].as_array().unwrap().clone();
    let bill = all.iter().position(|one| one["artifactType"] == "application/vnd.cyclonedx+json").unwrap();
    listed["manifests"].as_array_mut().unwrap().remove(bill);
    server.put_manifest(&list, index, &listed.to_string());
    let error = place.fails(&pull, &[]);
    assert!(error.contains(" has no bill of materials\n"), "{error}");
    place.works(&["pull", &reference, "-o", "unsigned"]);

    let named = all[bill]["digest"].as_str().unwrap();
    let forged = server.get(&format!("/v2/python/manifests/{named}")).replace("2026-01-29", "2026-01-30");
    let digest = Digest::of(forged.as_bytes());
    let place_of = format!("/v2/python/manifests/sha256:{digest}");
    server.put_manifest(&place_of, "application/vnd.oci.image.manifest.v1+json", &forged);
    let mut entry = all[bill].clone();
    entry["digest"] = format!("sha256:{digest}").into();
    listed["manifests"].as_array_mut().unwrap().push(entry);
    server.put_manifest(&list, index, &listed.to_string());
    let error = place.fails(&pull, &[]);
    assert!(error.starts_with("the bill of materials is not signed\n"), "{error}");
}

#[test]
fn a_component_is_described() {
    let (place, server) = (Place::new(), Server::start());
    let reference = format!("{}/python:latest", server.address);
    place.publish(&reference, &["--revision", &"1".repeat(40), "--builder", "urn:test:builder"]);
    for (what, more) in [("given.wasm", "parts\n"), (reference.as_str(), "referrers\n")] {
        let said = place.works(&["inspect", what]);
        assert!(said.contains(&format!("names      {NAMES}\n")), "{said}");
        assert!(
            said.contains("\n  numpy                    2.5.5            BSD-3-Clause AND MIT\n"),
            "{said}"
        );
        assert!(said.contains("\nimports\n  list-callbacks\nexports\n  execute\n"), "{said}");
        assert!(said.contains("numpy/_core/x.so\n") && said.contains(more), "{said}");
        let form = "form       prelinked, pre-initialised with the modules of the named packages, with names of functions\n";
        assert!(said.contains(form), "{said}");
        assert!(
            said.contains(
                "\nfunctions  12000 of the libraries; 345 that nothing calls (66.3 KiB) are left out\n"
            ),
            "{said}"
        );
    }
    let said = place.works(&["inspect", &reference]);
    assert!(said.contains("  builder   urn:test:builder\n"), "{said}");
    assert!(said.contains(&format!("  revision  {}\n", "1".repeat(40))), "{said}");
    for what in ["given.wasm", &reference] {
        let wit = place.works(&["inspect", "--wit", what]);
        assert!(
            wit.contains("import list-callbacks: func();") && wit.contains("export execute: func();"),
            "{wit}"
        );
    }
}

#[test]
fn what_cannot_be_published_is_told() {
    let place = Place::new();
    let publish = |reference: &str| place.fails(&["publish", reference, "--component", "given.wasm"], &[]);
    assert!(
        publish("numpy").starts_with("expected a registry and a repository in the reference `numpy`\nhint: ")
    );
    let digest = format!("localhost:1/x@sha256:{}", place.digest);
    assert!(publish(&digest).starts_with("expected a tag to publish to but found a digest\n"));
    fs::write(&place.component, "changed").unwrap();
    let error = publish("localhost:1/x");
    assert!(
        error.starts_with("`given.json` is not the manifest of `given.wasm`: expected sha256"),
        "{error}"
    );
    fs::remove_file(place.component.with_extension("json")).unwrap();
    let error = publish("localhost:1/x");
    assert!(error.starts_with("expected the manifest of the component in `given.json`: "), "{error}");
}
