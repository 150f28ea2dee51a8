//! Killed writers, damage, full and read-only disks.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use eryx_build::backing::{Backings, OtherStore};
use eryx_build::digest::Digest;
use eryx_build::store::{Output, Store};

use super::{ROOT, check_consistent, import, import_tree, list, publish, record, start, temporary, wait_for};

#[test]
fn a_killed_import_leaves_nothing() {
    let root = temporary();
    let mut stuck = start("stuck import", root.path()).spawn().unwrap();
    wait_for(&mut stuck, "ready");
    // A store opened meanwhile does not take the living one's files away.
    drop(Store::open(root.path()).unwrap());
    let half = list(&root.path().join("v1/tmp")).iter().map(|path| fs::metadata(path).unwrap().len()).max();
    assert_eq!(half, Some(1 << 20));
    stuck.kill().unwrap();
    stuck.wait().unwrap();
    check_consistent(root.path());
    assert_eq!(list(&root.path().join("v1/blobs")), Vec::<PathBuf>::new());
}

#[test]
fn a_store_is_consistent_whenever_its_writer_is_killed() {
    let root = temporary();
    let mut records = 0;
    // As often as it takes for a busy machine to write anything in time.
    for round in 0..200 {
        if round >= 20 && records > 0 {
            break;
        }
        let mut writer = start("write for ever", root.path()).spawn().unwrap();
        wait_for(&mut writer, "ready");
        std::thread::sleep(Duration::from_micros(1700 * round));
        writer.kill().unwrap();
        writer.wait().unwrap();
        records = check_consistent(root.path());
    }
    assert!(records > 0);
}

#[test]
fn damage_is_found_and_made_good() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let (blob, _) = import(&store, b"abc").unwrap();
    let tree = import_tree(&store, "text").unwrap();
    let overwrite = |path: PathBuf| {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, "damaged").unwrap();
    };
    overwrite(store.blob(blob).unwrap().unwrap());
    overwrite(store.tree(tree).unwrap().unwrap().join("text"));
    drop(store);
    let store = Store::open(root.path()).unwrap();
    assert_eq!(store.blob(blob).unwrap(), None);
    assert_eq!(store.tree(tree).unwrap(), None);
    let warnings = [
        format!("the blob `{blob}` in the store was damaged and has been removed"),
        format!("the tree `{tree}` in the store was damaged and has been removed"),
    ];
    assert_eq!(store.take_warnings(), warnings);
    assert_eq!(store.take_warnings(), Vec::<String>::new());
    import(&store, b"abc").unwrap();
    assert_eq!(import_tree(&store, "text").unwrap(), tree);
    // Importing over something damaged replaces it.
    overwrite(store.blob(blob).unwrap().unwrap());
    overwrite(store.tree(tree).unwrap().unwrap().join("text"));
    drop(store);
    let store = Store::open(root.path()).unwrap();
    import(&store, b"abc").unwrap();
    assert_eq!(import_tree(&store, "text").unwrap(), tree);
    drop(store);
    check_consistent(root.path());
}

#[test]
fn a_tree_with_one_file_more_or_less_is_damaged() {
    let root = temporary();
    for damage in [
        (|tree: &Path| fs::write(tree.join("bin/more"), "")) as fn(&Path) -> io::Result<()>,
        |tree| fs::remove_file(tree.join("text")),
        |tree| fs::remove_dir_all(tree),
    ] {
        let store = Store::open(root.path()).unwrap();
        let tree = import_tree(&store, "text").unwrap();
        damage(&store.tree(tree).unwrap().unwrap()).unwrap();
        assert_eq!(Store::open(root.path()).unwrap().tree(tree), Ok(None));
    }
}

#[test]
fn a_damaged_record_is_a_miss() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    publish(&store, "name").unwrap();
    let key = Digest::of(b"name");
    let path = root.path().join("v1/actions").join(format!("{key}.json"));
    let text = fs::read_to_string(&path).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    let other = root.path().join("v1/actions").join(format!("{}.json", Digest::of(b"other")));
    fs::write(other, &text).unwrap();
    assert_eq!(store.record(Digest::of(b"other")), Ok(None));
    let warning = |key| format!("the record of action `{key}` in the store is damaged and counts as missing");
    assert_eq!(store.take_warnings(), [warning(Digest::of(b"other"))]);
    // The last is still JSON, and a record.
    for damaged in ["", "{", &text[..text.len() / 2], &text.replace("0.1", "0.2")] {
        assert_ne!(text, damaged);
        fs::write(&path, damaged).unwrap();
        assert_eq!(store.record(key), Ok(None));
        assert_eq!(store.take_warnings(), [warning(key)]);
    }
    publish(&store, "name").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
}

/// Runs a shell script where this user may mount file systems; they vanish with it.
fn with_mounts(script: &str, root: &Path) {
    let exe = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-euc", script, "sh"])
        .arg(root)
        .arg(exe)
        .env(ROOT, root)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half_written() {
    let root = temporary();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\"
        ERYX_STORE_TEST_ROLE=fill \"$2\" --exact child --ignored --nocapture";
    with_mounts(script, root.path());
}

pub(super) fn fill(root: &Path) {
    let store = Store::open(root).unwrap();
    publish(&store, "kept").unwrap();
    let expect = |doing: &str| {
        format!(
            "cannot write {doing} in the store `{0}`: the file system at `{0}` is full\n\
             hint: free some space, or set `ERYX_CACHE` to a directory on a larger file system",
            root.display()
        )
    };
    let error = store.import_blob(&mut io::repeat(1).take(2 << 20), None).unwrap_err();
    assert_eq!(error.to_string(), expect("a blob"));
    assert_eq!(list(&root.join("v1/blobs")), Vec::<PathBuf>::new());
    // What another store has and does not fit here is no fault of that one.
    let elsewhere = temporary();
    let other = Store::open(&elsewhere.path().join("store")).unwrap();
    let folder = elsewhere.path().join("tree");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("large"), vec![7; 2 << 20]).unwrap();
    let large = other.import_tree(&folder).unwrap();
    let mut backings = Backings::default();
    backings.push(OtherStore::new(&other, |_| true));
    let error = backings.tree(large, "step", &store, &|warning| panic!("{warning}")).unwrap_err();
    assert!(error.is_of_storage(), "{error}");
    assert_eq!(error.to_string(), expect("").replace("write ", "copy a tree"));
    // What failed has given its space back.
    let free = rustix::fs::statvfs(root).unwrap();
    assert!(free.f_bavail * free.f_frsize > 800 << 10);
    // Fill it to the last byte, so that no record fits.
    let key = Digest::of(b"lost");
    let output = store.record(Digest::of(b"kept")).unwrap().unwrap().output;
    let claim = store.claim(key, &|| {}).unwrap();
    let mut ballast = fs::File::create(root.join("ballast")).unwrap();
    let error = io::copy(&mut io::repeat(1).take(2 << 20), &mut ballast).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(claim.publish(record(key, output)).unwrap_err().to_string(), expect("a record"));
    assert_eq!(store.record(key), Ok(None));
    drop(store);
    // A store on a full disk can still be read.
    assert_eq!(check_consistent(root), 1);
    drop(ballast);
    fs::remove_file(root.join("ballast")).unwrap();
    publish(&Store::open(root).unwrap(), "lost").unwrap();
    assert_eq!(check_consistent(root), 2);
}

#[test]
fn a_read_only_store_can_be_read() {
    let root = temporary();
    let script = "mount -t tmpfs tmpfs \"$1\"
        ERYX_STORE_TEST_ROLE=prepare \"$2\" --exact child --ignored --nocapture
        mount -o remount,bind,ro \"$1\"
        ERYX_STORE_TEST_ROLE='read only' \"$2\" --exact child --ignored --nocapture";
    with_mounts(script, root.path());
}

pub(super) fn read_only(root: &Path) {
    let store = Store::open(root).unwrap();
    let Output::Tree { digest } = store.record(Digest::of(b"kept")).unwrap().unwrap().output else {
        panic!("it was a tree");
    };
    assert!(store.tree(digest).unwrap().is_some());
    let expected = format!(
        "the store `{}` is read-only\n  read-only file system (os error 30)\n\
         hint: set `ERYX_CACHE` to a directory that can be written",
        root.display()
    );
    let errors = [
        import(&store, b"abc").unwrap_err(),
        import_tree(&store, "text").unwrap_err(),
        store.claim(digest, &|| {}).unwrap_err(),
        store.clean().unwrap_err(),
        store.scratch().unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.to_string().to_lowercase(), expected.to_lowercase());
    }
    let error = Store::open(&root.join("new")).unwrap_err().to_string();
    let expected = format!(
        "cannot make the store `{}`: read-only file system (os error 30)",
        root.join("new").display()
    );
    assert_eq!(error, format!("{expected}\nhint: set `ERYX_CACHE` to a directory that can be written"));
}

/// A cache that one user fills and others read, such as one on a shared disk.
#[test]
fn whoever_may_enter_the_folders_may_read_all_that_is_in_them() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    import(&store, b"abc").unwrap();
    import_tree(&store, "text").unwrap();
    publish(&store, "name").unwrap();
    drop(store);
    for folder in ["blobs", "trees", "actions", "steps"] {
        for path in list(&root.path().join("v1").join(folder)) {
            let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o444, 0o444, "`{}`: {mode:o}", path.display());
        }
    }
}
