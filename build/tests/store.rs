//! The store: what it keeps, and what becomes of it when things go wrong.

use std::cell::Cell;
use std::fs;
use std::io::{self, BufRead as _, BufReader, Cursor, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use eryx_build::digest::Digest;
use eryx_build::error::Result;
use eryx_build::store::{Output, Record, Store, tree_digest};

#[path = "store/collect.rs"]
mod collect;
#[path = "store/faults.rs"]
mod faults;

/// The environment variables that tell this program, started by itself, what to be.
const ROLE: &str = "ERYX_STORE_TEST_ROLE";
const ROOT: &str = "ERYX_STORE_TEST_ROOT";

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn import(store: &Store, bytes: &[u8]) -> Result<(Digest, u64)> {
    store.import_blob(&mut Cursor::new(bytes), None)
}

/// Makes a small tree in the store.
fn import_tree(store: &Store, text: &str) -> Result<Digest> {
    let scratch = store.scratch()?;
    let dir = scratch.path().join("tree");
    write_tree(&dir, text)?;
    store.import_tree(&dir)
}

fn write_tree(dir: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(dir.join("bin"))?;
    fs::create_dir_all(dir.join("empty"))?;
    fs::write(dir.join("text"), text)?;
    fs::write(dir.join("bin/run"), "#!/bin/sh\n")?;
    fs::set_permissions(dir.join("bin/run"), fs::Permissions::from_mode(0o700))?;
    std::os::unix::fs::symlink("../text", dir.join("bin/link"))
}

fn record(key: Digest, output: Output) -> Record {
    Record { step: "compile".to_owned(), key, preimage: serde_json::json!({"a": 1}), output, seconds: 0.1 }
}

fn publish(store: &Store, name: &str) -> Result<()> {
    let key = Digest::of(name.as_bytes());
    let claim = store.claim(key, &|| {})?;
    if store.record(key)?.is_some() {
        return Ok(());
    }
    let digest = import_tree(store, name)?;
    claim.publish(record(key, Output::Tree { digest }))
}

/// Every file and folder below a directory.
fn list(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            found.extend(list(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// Opens the store and checks that all in it is whole; returns the number of records.
fn check_consistent(root: &Path) -> usize {
    let store = Store::open(root).unwrap();
    assert_eq!(list(&root.join("v1/tmp")), Vec::<PathBuf>::new());
    for path in list(&root.join("v1/blobs")).into_iter().filter(|path| path.is_file()) {
        let digest = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(store.blob(digest).unwrap(), Some(path));
    }
    for entry in fs::read_dir(root.join("v1/trees")).unwrap() {
        let path = entry.unwrap().path();
        let digest = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        assert_eq!(store.tree(digest).unwrap(), Some(path));
    }
    let records = list(&root.join("v1/actions"));
    for path in &records {
        let record =
            store.record(path.file_stem().unwrap().to_str().unwrap().parse().unwrap()).unwrap().unwrap();
        match record.output {
            Output::Blob { digest, .. } => assert!(store.blob(digest).unwrap().is_some()),
            Output::Tree { digest } => assert!(store.tree(digest).unwrap().is_some()),
        }
    }
    assert_eq!(store.take_warnings(), Vec::<String>::new());
    records.len()
}

fn start(role: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--ignored", "--nocapture"]).env(ROLE, role).env(ROOT, root);
    command.stdout(Stdio::piped());
    command
}

/// Reads the output of a child up to a line of this text.
fn wait_for(child: &mut Child, text: &str) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert!(
        lines.map_while(io::Result::ok).any(|line| line.ends_with(text)),
        "the child did not say `{text}`"
    );
}

/// Gives some bytes, says so on standard output, and never ends.
struct Stuck(usize);

impl Read for Stuck {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        let count = buffer.len().min(self.0);
        buffer[..count].fill(7);
        self.0 -= count;
        Ok(count)
    }
}

#[test]
#[ignore = "the other tests start it, in a process of its own"]
fn child() {
    let (Ok(role), Some(root)) = (std::env::var(ROLE), std::env::var_os(ROOT)) else {
        return; // Not started by a test.
    };
    let root = Path::new(&root);
    match role.as_str() {
        "stuck import" => {
            Store::open(root).unwrap().import_blob(&mut Stuck(1 << 20), None).unwrap();
        }
        "claim" => {
            let store = Store::open(root).unwrap();
            let _claim = store.claim(Digest::of(b"claimed"), &|| {}).unwrap();
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        "write for ever" => {
            let store = Store::open(root).unwrap();
            println!("ready");
            for round in 0.. {
                import(&store, format!("blob {round} {}", std::process::id()).as_bytes()).unwrap();
                publish(&store, &format!("{round} {}", std::process::id())).unwrap();
            }
        }
        "write together" => write_together(&Store::open(root).unwrap()),
        "fill" => faults::fill(root),
        "prepare" => publish(&Store::open(root).unwrap(), "kept").unwrap(),
        "read only" => faults::read_only(root),
        other => panic!("unknown role `{other}`"),
    }
}

/// What each of several writers does: all make the same things, at the same time.
fn write_together(store: &Store) {
    for round in 0..20 {
        import(store, format!("blob {round}").as_bytes()).unwrap();
        import_tree(store, &format!("tree {}", round % 5)).unwrap();
        publish(store, &format!("action {}", round % 7)).unwrap();
    }
}

#[test]
fn keeps_blobs() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let (digest, size) = import(&store, b"abc").unwrap();
    assert_eq!((digest, size), (Digest::of(b"abc"), 3));
    let path = store.blob(digest).unwrap().unwrap();
    let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(path, root.path().join("v1/blobs/ba").join(name));
    assert_eq!(fs::read(&path).unwrap(), b"abc");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o444);
    assert_eq!(store.blob(Digest::of(b"other")).unwrap(), None);
    drop(store);
    assert!(fs::read_to_string(root.path().join("CACHEDIR.TAG")).unwrap().starts_with("Signature: 8a477f59"));
    check_consistent(root.path());
}

#[test]
fn refuses_what_was_not_expected() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let error = |bytes: &[u8], size| {
        let expect = Some((Digest::of(b"abc"), size));
        store.import_blob(&mut Cursor::new(bytes), expect).unwrap_err().to_string()
    };
    assert_eq!(
        error(b"ab", Some(3)),
        "expected 3 bytes but found 2\nhint: the data is cut short; fetch it again"
    );
    assert_eq!(error(b"abcd", Some(3)), "expected 3 bytes but found more");
    let mismatch = format!("expected sha256 `{}` but found `{}`", Digest::of(b"abc"), Digest::of(b"abd"));
    assert_eq!(error(b"abd", Some(3)), mismatch);
    assert_eq!(error(b"abd", None), mismatch);
    assert_eq!(list(&root.path().join("v1/blobs")), Vec::<PathBuf>::new());
    drop(store);
    check_consistent(root.path());
}

#[test]
fn a_reader_that_fails_leaves_nothing() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("connection lost"))
        }
    }
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let error = store.import_blob(&mut Cursor::new(b"abc").chain(Broken), None).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the incoming data: connection lost");
    assert_eq!(list(&root.path().join("v1/blobs")), Vec::<PathBuf>::new());
    drop(store);
    check_consistent(root.path());
}

#[test]
fn keeps_trees_once_and_canonical() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let digest = import_tree(&store, "text").unwrap();
    assert_eq!(import_tree(&store, "text").unwrap(), digest);
    assert_ne!(import_tree(&store, "other").unwrap(), digest);
    let path = store.tree(digest).unwrap().unwrap();
    assert_eq!(path, root.path().join("v1/trees").join(digest.to_string()));
    assert_eq!(list(&root.path().join("v1/trees")).iter().filter(|path| path.ends_with("text")).count(), 2);
    for (name, mode) in [("", 0o755), ("bin", 0o755), ("bin/run", 0o555), ("text", 0o444), ("empty", 0o755)] {
        let metadata = fs::metadata(path.join(name)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{name}");
        let since = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert_eq!(since, Duration::from_secs(315_532_800), "{name}");
    }
    assert_eq!(fs::read_to_string(path.join("bin/link")).unwrap(), "text");
}

#[test]
fn a_tree_does_not_change_through_another_name() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let scratch = store.scratch().unwrap();
    let dir = scratch.path().join("tree");
    write_tree(&dir, "text").unwrap();
    let alias = scratch.path().join("alias");
    fs::hard_link(dir.join("text"), &alias).unwrap();
    let digest = store.import_tree(&dir).unwrap();
    fs::set_permissions(&alias, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(alias, "changed").unwrap();
    assert!(Store::open(root.path()).unwrap().tree(digest).unwrap().is_some());
}

#[test]
fn the_digest_of_a_tree_is_of_its_listing() {
    let dir = temporary();
    let tree = dir.path().join("tree");
    write_tree(&tree, "text").unwrap();
    let listing = format!(
        "eryx-tree 1\nd bin\0l 7 ../text bin/link\0x {} bin/run\0d empty\0f {} text\0",
        Digest::of(b"#!/bin/sh\n"),
        Digest::of(b"text")
    );
    let digest = Digest::of(listing.as_bytes());
    assert_eq!(tree_digest(&tree), Ok(digest));
    type Change = fn(&Path) -> io::Result<()>;
    let changes: [Change; 5] = [
        |tree| fs::write(tree.join("text"), "texd"),
        |tree| fs::set_permissions(tree.join("text"), fs::Permissions::from_mode(0o744)),
        |tree| fs::rename(tree.join("text"), tree.join("tex")),
        |tree| fs::remove_dir(tree.join("empty")),
        |tree| {
            fs::remove_file(tree.join("bin/link"))?;
            std::os::unix::fs::symlink("../texu", tree.join("bin/link"))
        },
    ];
    for (index, change) in changes.iter().enumerate() {
        let tree = dir.path().join(index.to_string());
        write_tree(&tree, "text").unwrap();
        assert_eq!(tree_digest(&tree), Ok(digest));
        change(&tree).unwrap();
        assert_ne!(tree_digest(&tree), Ok(digest), "change {index}");
    }
}

#[test]
fn refuses_trees_that_are_not_closed() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let scratch = store.scratch().unwrap();
    let dir = scratch.path().join("tree");
    fs::create_dir_all(dir.join("p/q")).unwrap();
    let link = |target: &str, path: &str| std::os::unix::fs::symlink(target, dir.join(path)).unwrap();
    link("/etc/passwd", "absolute");
    link("../..", "p/up");
    link("../..", "p/q/top");
    // Harmless by its text: but `p/q/top` is the tree itself.
    link("p/q/top/../x", "sly");
    link("loop", "loop");
    link("missing", "dangling");
    link("p/q/..", "fine");
    let error = store.import_tree(&dir).unwrap_err().to_string();
    let expected = format!(
        "cannot store `{}`: links lead out of it\n  `absolute` -> `/etc/passwd`\n  `p/up` -> `../..`\n  \
         `sly` -> `p/q/top/../x`",
        dir.display()
    );
    assert_eq!(error, expected);
    let _socket = std::os::unix::net::UnixListener::bind(dir.join("p/socket")).unwrap();
    let error = store.import_tree(&dir).unwrap_err().to_string();
    let expected = format!(
        "`{}` has something other than directories, regular files and symbolic links\n  `p/socket`",
        dir.display()
    );
    assert_eq!(error, expected);
    assert_eq!(list(&root.path().join("v1/trees")), Vec::<PathBuf>::new());
}

#[test]
fn records_what_actions_made() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let key = Digest::of(b"key");
    assert_eq!(store.record(key).unwrap(), None);
    assert_eq!(store.latest("compile").unwrap(), None);
    let (digest, size) = import(&store, b"abc").unwrap();
    let first = record(key, Output::Blob { digest, size });
    store.claim(key, &|| panic!("nobody has it")).unwrap().publish(first.clone()).unwrap();
    assert_eq!(store.record(key).unwrap(), Some(first.clone()));
    let other = Digest::of(b"other");
    let error = store.claim(other, &|| {}).unwrap().publish(first.clone()).unwrap_err();
    assert_eq!(error.to_string(), format!("expected a record of action `{other}` but found one of `{key}`"));
    let digest = Digest::of(b"absent");
    let absent = record(other, Output::Tree { digest });
    let error = store.claim(other, &|| {}).unwrap().publish(absent).unwrap_err();
    let expected = format!("step `compile` is recorded with the tree `{digest}`, which is not in the store");
    assert_eq!(error.to_string(), expected);
    assert_eq!(store.record(other).unwrap(), None);
    assert_eq!(store.latest("compile").unwrap(), Some(first.clone()));
    let second = Record { key: other, seconds: 12.345_678_9, ..first };
    store.claim(other, &|| {}).unwrap().publish(second.clone()).unwrap();
    assert_eq!(store.latest("compile").unwrap().map(|record| record.key), Some(other));
    assert_eq!(store.latest("link").unwrap(), None);
}

#[test]
fn a_claim_is_exclusive() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    let mut holder = start("claim", root.path()).spawn().unwrap();
    wait_for(&mut holder, "ready");
    let error = store.clean().unwrap_err().to_string();
    let expected = format!("the store `{}` is in use by another build", root.path().display());
    assert_eq!(error, format!("{expected}\nhint: try again when it is done"));
    // Another key is free.
    drop(store.claim(Digest::of(b"another"), &|| panic!("nobody has it")).unwrap());
    let waited = Cell::new(0);
    let claim = store.claim(Digest::of(b"claimed"), &|| {
        waited.set(waited.get() + 1);
        let pid = rustix::process::Pid::from_raw(holder.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    });
    assert_eq!(waited.get(), 1);
    holder.wait().unwrap();
    assert_eq!(
        store.clean().unwrap_err().to_string(),
        format!("{expected}\nhint: try again when it is done")
    );
    drop(claim);
    assert_eq!(store.clean(), Ok(0));
}

#[test]
fn threads_and_processes_share_a_store() {
    let root = temporary();
    let mut children: Vec<Child> =
        (0..3).map(|_| start("write together", root.path()).spawn().unwrap()).collect();
    let store = Store::open(root.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| write_together(&store));
        }
    });
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(store.take_warnings(), Vec::<String>::new());
    drop(store);
    assert_eq!(check_consistent(root.path()), 7);
    assert_eq!(list(&root.path().join("v1/blobs")).iter().filter(|path| path.is_file()).count(), 20);
}

#[test]
fn cleans_everything() {
    let root = temporary();
    let store = Store::open(root.path()).unwrap();
    import(&store, &[1; 1000]).unwrap();
    publish(&store, "name").unwrap();
    assert!(store.clean().unwrap() > 1000);
    let left: Vec<PathBuf> =
        list(&root.path().join("v1")).into_iter().filter(|path| path.is_file()).collect();
    assert!(
        left.iter().all(|path| path.extension().is_some_and(|end| end == "lock") || path.ends_with("lock"))
    );
    assert_eq!(store.blob(Digest::of(&[1; 1000])), Ok(None));
    publish(&store, "name").unwrap();
    drop(store);
    assert_eq!(check_consistent(root.path()), 1);
}
