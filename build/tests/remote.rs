//! A cache in a registry: what it saves, and that a build comes to the same whatever it does.
//!
//! The plan is a small one of real steps that start no process: three folders of tools, and a merge of them.

mod registry;
mod wheels;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use eryx_build::backing::{Backings, Folder, Keys, Mode, OtherStore, Remote};
use eryx_build::digest::Digest;
use eryx_build::execute::Executor;
use eryx_build::fetch::{FetchOptions, Fetcher, Pin};
use eryx_build::file_name::FileName;
use eryx_build::layout::Layout;
use eryx_build::plan::{Input, Kind, Plan, Step};
use eryx_build::report::{Outcome, Report};
use eryx_build::store::{Store, tree_digest};
use registry::{Asked, Proxy, Server, Then};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::json;
use tempfile::TempDir;
use wheels::Wheel;

/// Files that a build starts from, and the plan.
struct Site {
    dir: TempDir,
    plan: Plan,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = Plan::default();
        let roles = ["libc", "libcxx", "vfs"];
        for (place, role) in roles.iter().enumerate() {
            let file = format!("{role}-1-py3-none-any.whl");
            let path = dir.path().join(&file);
            // Noise, so that it stays as long when it is packed.
            let noise = (0..300_000_u64 + place as u64).map(|at| ((at * at * 2_654_435_761) >> 17) as u8);
            let wheel = Wheel::of(role, "1").file(&format!("{role}/data"), noise.collect::<Vec<_>>());
            fs::write(&path, wheel.bytes()).unwrap();
            let (sha256, size) = Digest::of_file(&path).unwrap();
            let pin = Pin {
                file: FileName::new(file.as_str()).unwrap(),
                sha256,
                size: Some(size),
                origins: Vec::new(),
            };
            let inputs = BTreeMap::from([(format!("source/{file}"), Input::Pin(pin))]);
            plan.steps.push(Step {
                name: format!("tools {role}"),
                kind: Kind::Tools,
                params: json!(null),
                inputs,
            });
        }
        let inputs = roles.iter().enumerate().map(|(place, role)| ((*role).to_owned(), Input::Step(place)));
        plan.steps.push(Step {
            name: "sysroot".into(),
            kind: Kind::Sysroot,
            params: json!(null),
            inputs: inputs.collect(),
        });
        Self { dir, plan }
    }

    /// The wheels are here, and nowhere else.
    fn mirror(&self) -> &Path {
        self.dir.path()
    }
}

/// What a build came to.
struct Built {
    digest: Digest,
    made: Vec<String>,
    got: Vec<String>,
    warnings: Vec<String>,
    elapsed: Duration,
    cache: TempDir,
}

/// Builds on an empty cache, or one that is there.
fn build_in(cache: TempDir, site: &Site, backings: &Backings<'_>) -> Built {
    let report = Report::silent();
    let since = Instant::now();
    let digest = {
        let store = Store::open(cache.path()).unwrap();
        let options =
            FetchOptions { offline: true, mirror: Some(site.mirror().to_owned()), ..FetchOptions::default() };
        let layout = Layout {
            cache: cache.path().to_owned(),
            checkout: PathBuf::from("/nowhere"),
            dist: cache.path().join("dist"),
        };
        let executor = Executor {
            store: &store,
            fetcher: &Fetcher::new(options),
            layout: &layout,
            report: &report,
            backings,
            jobs: 1,
        };
        let path = executor.run(&site.plan).unwrap_or_else(|error| panic!("{error}"));
        tree_digest(&path).unwrap()
    };
    let mut made: Vec<_> = report
        .timings()
        .into_iter()
        .filter(|timing| timing.outcome == Outcome::Built && !timing.step.starts_with("fetch "))
        .map(|timing| timing.step)
        .collect();
    made.sort();
    let got = made.iter().filter_map(|step| step.strip_prefix("get ").map(str::to_owned)).collect();
    made.retain(|step| !step.starts_with("get "));
    Built { digest, made, got, warnings: report.warnings(), elapsed: since.elapsed(), cache }
}

fn build(site: &Site, backings: &Backings<'_>) -> Built {
    build_in(tempfile::tempdir().unwrap(), site, backings)
}

fn remote(address: &str, mode: Mode, key: Option<&Path>) -> Backings<'static> {
    let reference = format!("{address}/cache").parse().unwrap();
    let keys = key.map(|file| Keys::read(file, mode).unwrap()).unwrap_or_default();
    let mut backings = Backings::default();
    backings.push(Remote::open(&reference, mode, keys, false).unwrap());
    backings
}

const ALL: [&str; 4] = ["sysroot", "tools libc", "tools libcxx", "tools vfs"];

/// A registry that one build has filled, and what that build came to.
fn filled(site: &Site) -> (Server, Built) {
    let server = Server::start();
    let first = build(site, &remote(&server.address, Mode::ReadWrite, None));
    assert_eq!((&first.made[..], &first.warnings[..]), (&ALL.map(str::to_owned)[..], &[][..]));
    (server, first)
}

#[test]
fn a_full_cache_saves_all_work_and_gives_only_what_is_needed() {
    let site = Site::new();
    let (server, first) = filled(&site);
    let second = build(&site, &remote(&server.address, Mode::Read, None));
    assert_eq!(second.digest, first.digest);
    assert_eq!((second.made.len(), second.got), (0, vec!["sysroot".to_owned()]));
    assert_eq!(second.warnings, Vec::<String>::new());
    // What was got is now in the cache: nobody is asked any more.
    let proxy = Proxy::before(&server, |_| Then::HangUp);
    let again = build_in(second.cache, &site, &remote(&proxy.address, Mode::Read, None));
    assert_eq!((again.digest, again.made.len(), again.got.len()), (first.digest, 0, 0));
    assert_eq!(*proxy.count.lock().unwrap(), 0);
}

#[test]
fn what_was_made_before_is_given_too() {
    let site = Site::new();
    let alone = build(&site, &Backings::default());
    let server = Server::start();
    let again = build_in(alone.cache, &site, &remote(&server.address, Mode::ReadWrite, None));
    assert_eq!((again.made.len(), again.warnings.len()), (0, 0));
    let other = build(&site, &remote(&server.address, Mode::Read, None));
    assert_eq!(
        (other.digest, other.made.len(), &other.got[..]),
        (alone.digest, 0, &["sysroot".to_owned()][..])
    );
}

#[test]
fn what_was_promised_and_never_got_is_made() {
    let site = Site::new();
    let (server, first) = filled(&site);
    let second = build(&site, &remote(&server.address, Mode::Read, None));
    // The result is lost, and so is the registry: the records of the steps before it lead nowhere.
    fs::remove_dir_all(second.cache.path().join("v1/trees")).unwrap();
    server.down();
    let third = build_in(second.cache, &site, &remote(&server.address, Mode::Read, None));
    assert_eq!((third.digest, &third.made[..]), (first.digest, &ALL.map(str::to_owned)[..]));
}

#[test]
fn one_changed_step_needs_its_inputs_and_no_more() {
    let mut site = Site::new();
    let (server, first) = filled(&site);
    site.plan.steps[0].params = json!("changed");
    let second = build(&site, &remote(&server.address, Mode::ReadWrite, None));
    // The changed step gives equal bytes, so nothing after it is made.
    assert_eq!((second.digest, &second.made[..]), (first.digest, &["tools libc".to_owned()][..]));
    assert_eq!(second.got, ["sysroot"]);
}

/// A build behind a proxy that misbehaves: it must come to the same, with every step made here and one warning
/// at least that has this text.
fn degrades(site: &Site, first: &Built, proxy: &Proxy, warning: &str) -> Built {
    let built = build(site, &remote(&proxy.address, Mode::Read, None));
    assert_eq!(
        (built.digest, &built.made[..]),
        (first.digest, &ALL.map(str::to_owned)[..]),
        "{:?}",
        built.warnings
    );
    assert!(built.warnings.iter().any(|text| text.contains(warning)), "{:?}", built.warnings);
    // Nothing is in the store that should not be: another build finds all in order.
    let store = Store::open(built.cache.path()).unwrap();
    for entry in fs::read_dir(built.cache.path().join("v1/trees")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(store.tree(name.parse().unwrap()).unwrap().is_some());
    }
    assert_eq!(store.take_warnings(), Vec::<String>::new());
    built
}

#[test]
fn an_unreachable_cache_is_done_without() {
    let site = Site::new();
    let (server, first) = filled(&site);
    let proxy = Proxy::before(&server, |_| Then::HangUp);
    let built = degrades(&site, &first, &proxy, "going on without the remote cache `");
    assert_eq!((built.warnings.len(), *proxy.count.lock().unwrap()), (1, 1), "it is asked once");
    proxy.now(|_| Then::Answer("500 Oops", String::new(), String::new()));
    degrades(&site, &first, &proxy, "status 500");
    proxy.now(|_| Then::Answer("401 Unauthorized", String::new(), String::new()));
    degrades(&site, &first, &proxy, "status 401");
    proxy.now(|_| Then::Answer("200 OK", String::new(), "<html>welcome</html>".to_owned()));
    degrades(&site, &first, &proxy, "malformed manifest");
    server.down();
    proxy.now(|_| Then::Pass);
    degrades(&site, &first, &proxy, "status 502");
}

#[test]
fn a_slow_cache_is_done_without() {
    let site = Site::new();
    let (server, first) = filled(&site);
    let proxy = Proxy::before(&server, |_| Then::Stall);
    let built = degrades(&site, &first, &proxy, "no answer in time");
    assert!(built.elapsed < Duration::from_secs(30), "{:?}", built.elapsed);
    // One that answers, and then drips.
    proxy.now(|asked| if asked.is("GET", "/blobs/") { Then::Drip } else { Then::Pass });
    degrades(&site, &first, &proxy, "the registry is too slow");
}

#[test]
fn a_lying_cache_is_found_out() {
    let site = Site::new();
    let (server, first) = filled(&site);
    let proxy = Proxy::before(&server, |_| Then::Pass);
    let blob = |asked: &Asked| asked.is("GET", "/blobs/");
    proxy.now(move |asked| if blob(asked) { Then::Lie } else { Then::Pass });
    degrades(&site, &first, &proxy, "gives a wrong result of `sysroot`: expected ");
    proxy.now(move |asked| if blob(asked) { Then::Cut(1000) } else { Then::Pass });
    degrades(&site, &first, &proxy, "the download broke off");
    proxy.now(move |asked| {
        if blob(asked) { Then::Answer("404 Not Found", String::new(), String::new()) } else { Then::Pass }
    });
    degrades(&site, &first, &proxy, "status 404");
    proxy.now(|asked| if asked.is("GET", "/manifests/") { Then::Lie } else { Then::Pass });
    degrades(&site, &first, &proxy, "expected a manifest with `sha256:");

    // One step's record for another's: both are whole.
    let tags = server.tags("cache");
    let actions: Vec<_> = tags.iter().filter(|tag| tag.starts_with("action-")).collect();
    assert_eq!(actions.len(), 4);
    let manifest = server.get(&format!("/v2/cache/manifests/{}", actions[0]));
    for action in &actions {
        let path = format!("/v2/cache/manifests/{action}");
        server.put_manifest(&path, "application/vnd.oci.image.manifest.v1+json", &manifest);
    }
    proxy.now(|_| Then::Pass);
    let built = build(&site, &remote(&proxy.address, Mode::Read, None));
    assert_eq!(built.digest, first.digest);
    assert!(built.warnings.iter().any(|text| text.contains(": expected action `")), "{:?}", built.warnings);
}

#[test]
fn a_full_cache_keeps_nothing_more_and_that_is_all() {
    let site = Site::new();
    let server = Server::start();
    let proxy = Proxy::before(&server, |asked| match asked.is("PUT", "/blobs/") {
        true => Then::Answer("507 Insufficient Storage", String::new(), String::new()),
        false => Then::Pass,
    });
    let built = build(&site, &remote(&proxy.address, Mode::ReadWrite, None));
    assert_eq!(built.made, ALL);
    assert_eq!(built.warnings.len(), 1, "{:?}", built.warnings);
    assert!(built.warnings[0].contains(" keeps nothing more: ") && built.warnings[0].contains("status 507"));
    assert!(server.tags("cache").is_empty(), "no tag leads to what is not there");
}

/// Writes a private key as PEM.
fn key(folder: &Path, name: &str) -> PathBuf {
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let path = folder.join(name);
    fs::write(&path, format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")).unwrap();
    path
}

#[test]
fn with_a_key_only_what_it_signed_is_taken() {
    let site = Site::new();
    let keys = tempfile::tempdir().unwrap();
    let (mine, other) = (key(keys.path(), "mine"), key(keys.path(), "other"));
    let (server, first) = filled(&site);
    let unsigned = build(&site, &remote(&server.address, Mode::Read, Some(&mine)));
    assert_eq!((unsigned.digest, unsigned.made.len()), (first.digest, 4));
    assert!(unsigned.warnings[0].ends_with("it is not signed with the key"), "{:?}", unsigned.warnings);

    let server = Server::start();
    build(&site, &remote(&server.address, Mode::ReadWrite, Some(&mine)));
    let signed = build(&site, &remote(&server.address, Mode::Read, Some(&mine)));
    assert_eq!((signed.digest, signed.made.len(), signed.warnings.len()), (first.digest, 0, 0));
    let strange = build(&site, &remote(&server.address, Mode::Read, Some(&other)));
    assert_eq!((strange.digest, strange.made.len()), (first.digest, 4));
}

#[test]
fn another_store_and_a_folder_lend_too() {
    let site = Site::new();
    let first = build(&site, &Backings::default());
    let store = Store::open(first.cache.path()).unwrap();
    let mut backings = Backings::default();
    backings.push(OtherStore::new(&store, |step| step != "sysroot"));
    let second = build(&site, &backings);
    assert_eq!((second.digest, &second.made[..]), (first.digest, &["sysroot".to_owned()][..]));
    assert_eq!(second.got.len(), 3);

    let folder = tempfile::tempdir().unwrap();
    let results = Folder::new(folder.path());
    results.write(&store.latest("sysroot").unwrap().unwrap(), &store).unwrap();
    let mut backings = Backings::default();
    backings.push(Folder::new(folder.path()));
    let third = build(&site, &backings);
    assert_eq!(
        (third.digest, third.made.len(), &third.got[..]),
        (first.digest, 3, &["sysroot".to_owned()][..])
    );
    for entry in fs::read_dir(folder.path()).unwrap() {
        fs::write(entry.unwrap().path(), "{}").unwrap();
    }
    let mut backings = Backings::default();
    backings.push(Folder::new(folder.path()));
    let damaged = build(&site, &backings);
    assert_eq!((damaged.digest, damaged.made.len(), damaged.warnings.len()), (first.digest, 4, 1));
}

/// An empty store would refuse the file, so a filled one does, too.
#[test]
fn a_wrong_length_is_noticed_with_a_filled_store() {
    let mut site = Site::new();
    let first = build(&site, &Backings::default());
    let pin =
        site.plan.steps.iter_mut().flat_map(|step| step.inputs.values_mut()).find_map(|input| match input {
            Input::Pin(pin) => Some(pin),
            _ => None,
        });
    let pin = pin.unwrap();
    let right = pin.size.unwrap();
    pin.size = Some(right + 1);
    let store = Store::open(first.cache.path()).unwrap();
    let report = Report::silent();
    let layout = Layout {
        cache: first.cache.path().to_owned(),
        checkout: PathBuf::from("/nowhere"),
        dist: first.cache.path().join("dist"),
    };
    let fetcher = Fetcher::new(FetchOptions { offline: true, ..FetchOptions::default() });
    let backings = Backings::default();
    let executor = Executor {
        store: &store,
        fetcher: &fetcher,
        layout: &layout,
        report: &report,
        backings: &backings,
        jobs: 1,
    };
    let error = executor.run(&site.plan).unwrap_err().to_string();
    let expected = format!(
        "files have another length than is pinned\n  `libc-1-py3-none-any.whl`: expected {} bytes but found {right}\n\
         hint: correct `size` where the sha256 is pinned",
        right + 1
    );
    assert_eq!(error, expected);
}
