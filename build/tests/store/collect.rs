//! What is removed when nobody needs it, and trees that travel.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use eryx_build::digest::Digest;
use eryx_build::store::{Collected, Limits, Output, Record, Store};
use serde_json::json;

use super::{check_consistent, import, import_tree, temporary};

const DAY: Duration = Duration::from_hours(24);

/// Records a step with inputs, made so many days ago; returns the tree that it made.
fn made(store: &Store, step: &str, inputs: &[Digest], days: u32) -> Digest {
    let digest = import_tree(store, step).unwrap();
    let key = Digest::of(step.as_bytes());
    let inputs: std::collections::BTreeMap<_, _> =
        inputs.iter().enumerate().map(|(place, digest)| (place.to_string(), digest)).collect();
    let record = Record {
        step: step.to_owned(),
        key,
        preimage: json!({ "inputs": inputs }),
        output: Output::Tree { digest },
        seconds: 1.0,
    };
    store.claim(key, &|| {}).unwrap().publish(record).unwrap();
    age(&store.root().join(format!("v1/actions/{key}.json")), days);
    digest
}

fn age(path: &Path, days: u32) {
    fs::File::open(path).unwrap().set_modified(SystemTime::now() - DAY * days).unwrap();
}

fn blob(store: &Store, text: &str, days: u32) -> Digest {
    let digest = import(store, text.as_bytes()).unwrap().0;
    age(&store.blob(digest).unwrap().unwrap(), days);
    digest
}

fn limits(days: u32) -> Limits {
    Limits { age: DAY * days, size: None, dry_run: false }
}

fn has(store: &Store, tree: Digest) -> bool {
    store.tree(tree).unwrap().is_some()
}

#[test]
fn what_is_needed_stays_with_all_that_it_needs() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let source = blob(&store, "source", 90);
    let compiler = made(&store, "compiler", &[source], 90);
    let component = made(&store, "component mine", &[compiler, Digest::of(b"of the checkout")], 80);
    let recent = made(&store, "recent", &[], 3);
    let old = made(&store, "old", &[compiler], 70);
    let unused = blob(&store, "unused", 50);
    let fresh = blob(&store, "fresh", 1);

    let must = |record: &Record| record.step == "component mine";
    let dry = store.collect(&must, &Limits { dry_run: true, ..limits(30) }).unwrap();
    assert!(has(&store, old), "a dry run removes nothing");
    let done = store.collect(&must, &limits(30)).unwrap();
    assert_eq!(done, dry);
    assert_eq!((done.records, done.trees, done.blobs), (1, 1, 1));
    assert!(has(&store, compiler) && has(&store, component) && has(&store, recent) && !has(&store, old));
    assert!(store.blob(source).unwrap().is_some() && store.blob(fresh).unwrap().is_some());
    assert!(store.blob(unused).unwrap().is_none());
    assert_eq!(store.record(Digest::of(b"old")).unwrap(), None);

    // Without a limit of age only what must stay does, and a second time nothing is left to do.
    let done = store.collect(&must, &limits(0)).unwrap();
    assert_eq!((done.records, done.trees, done.blobs), (1, 1, 1));
    assert_eq!(
        store.collect(&must, &limits(0)).unwrap(),
        Collected { kept: done.kept, ..Collected::default() }
    );
    drop(store);
    check_consistent(root.path());
}

#[test]
fn what_was_of_use_longest_ago_makes_room() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let (first, second) = (made(&store, "first", &[], 2), made(&store, "other", &[], 9));
    let one = store.collect(&|_| false, &Limits { dry_run: true, ..limits(5) }).unwrap().kept;
    let sized = Limits { size: Some(one + 3), ..limits(30) };
    let done = store.collect(&|_| false, &sized).unwrap();
    assert_eq!((done.trees, done.kept), (1, one));
    assert!(has(&store, first) && !has(&store, second));
    // What must stay does so all the same.
    let sized = Limits { size: Some(1), ..limits(30) };
    assert_eq!(store.collect(&|_| true, &sized).unwrap().trees, 0);
}

#[test]
fn use_makes_a_record_young() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let tree = made(&store, "step", &[], 50);
    store.touch(Digest::of(b"step"));
    store.collect(&|_| false, &limits(30)).unwrap();
    assert!(has(&store, tree));
}

#[test]
fn nothing_is_collected_under_a_build() {
    let root = temporary();
    let (store, other) = (Store::open(root.path()).unwrap(), Store::open(root.path()).unwrap());
    let error = store.collect(&|_| false, &limits(0)).unwrap_err();
    assert!(error.message().ends_with(" is in use by another build"), "{error}");
    drop(other);
    store.collect(&|_| false, &limits(0)).unwrap();
    let _claim = store.claim(Digest::of(b"x"), &|| {}).unwrap();
    assert!(store.collect(&|_| false, &limits(0)).is_err());
}

#[test]
fn trees_travel_and_only_whole() {
    let (from, to) = (temporary(), temporary());
    let (source, target) = (Store::open(from.path()).unwrap(), Store::open(to.path()).unwrap());
    let tree = import_tree(&source, "text").unwrap();
    let pack = || {
        let mut packed = Vec::new();
        assert!(source.pack(tree, &mut packed).unwrap());
        packed
    };
    let packed = pack();
    assert_eq!(packed, pack(), "equal trees give equal archives");
    assert!(!source.pack(Digest::of(b"none"), &mut Vec::new()).unwrap());

    let file = from.path().join("packed");
    let import = |bytes: &[u8], digest| {
        fs::write(&file, bytes).unwrap();
        target.import_packed(&file, digest)
    };
    let other = Digest::of(b"other");
    let error = import(&packed, other).unwrap_err();
    assert_eq!(error.message(), format!("expected the tree `{other}` but found `{tree}`"));
    import(packed.get(..packed.len() / 2).unwrap(), tree).unwrap_err();
    import(b"", tree).unwrap_err();
    assert!(!has(&target, tree) && !has(&target, other));
    import(&packed, tree).unwrap();
    assert!(has(&target, tree));

    // A tree without anything in it is one, too.
    let scratch = source.scratch().unwrap();
    fs::create_dir(scratch.path().join("empty")).unwrap();
    let empty = source.import_tree(&scratch.path().join("empty")).unwrap();
    let mut packed = Vec::new();
    source.pack(empty, &mut packed).unwrap();
    import(&packed, empty).unwrap();
    target.import_copy(&source.tree(tree).unwrap().unwrap(), other).unwrap_err();
    target.import_copy(&source.tree(empty).unwrap().unwrap(), empty).unwrap();
    drop((scratch, source, target));
    check_consistent(to.path());
}
