//! Files in a grant that would keep whoever opens them waiting, and answers that are too long.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use eryx_embed::{Callback, Error, Grant, Limits, Pool, Session, SessionOptions};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{image, ok, pooled};

/// A grant with one of everything that is no file; the listener keeps its socket there.
fn odd_files(folder: &Path) -> UnixListener {
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::fs::create_dir(folder.join("sub")).unwrap();
    std::fs::write(folder.join("file"), "content").unwrap();
    symlink("fifo", folder.join("link")).unwrap();
    symlink("../link", folder.join("sub/chain")).unwrap();
    symlink("file", folder.join("good")).unwrap();
    UnixListener::bind(folder.join("socket")).unwrap()
}

const OPEN: &str = "
import os, pathlib
for name in ('fifo', 'link', 'sub/chain', 'socket', 'sub/../fifo'):
    path = '/d/' + name
    for what in (
        lambda: open(path), lambda: open(path, 'rb', buffering=0), lambda: open(path, 'w'), lambda: open(path, 'r+'),
        lambda: open(path, 'a'), lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK), lambda: os.utime(path),
        lambda: os.truncate(path, 0), lambda: os.listdir(path), lambda: pathlib.Path(path).read_bytes(),
    ):
        try:
            print(name, what())
        except OSError:
            pass
print(open('/d/file').read(), open('/d/good').read(), sorted(os.listdir('/d')))
print(os.path.exists('/d/fifo'), pathlib.Path('/d/fifo').is_file(), os.lstat('/d/link').st_size)
";
const OPENED: &str = "content content ['fifo', 'file', 'good', 'link', 'socket', 'sub']\nTrue False 4\n";

#[test]
fn what_would_wait_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let _socket = odd_files(&path);
    for read_only in [false, true] {
        let options = || {
            let grant = Grant::new(&path, "/d").unwrap().read_only(read_only);
            let limits = Limits::default().timeout(Duration::from_secs(60));
            SessionOptions::default().grants(vec![grant]).limits(limits)
        };
        // A session that may block its thread, and one that may not.
        let mut session = image().session(options()).unwrap();
        assert_eq!(ok(&mut session, OPEN), OPENED, "{read_only}");
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pool = Pool::new(&pooled(2), SessionOptions::default).unwrap();
        let answer = executor.block_on(pool.execute_fresh_with(OPEN, options()));
        assert_eq!(answer, Ok(OPENED.to_owned()), "{read_only}");
    }
}

fn limited(limits: Limits) -> Session {
    let echo = Callback::new("echo", "", "{}", |arguments| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(arguments)
    });
    image().session(SessionOptions::default().limits(limits).callbacks(vec![echo])).unwrap()
}

#[test]
fn nothing_is_longer_than_the_limit_of_output() {
    const NOTE: &str = "\n[cut here: the limit of output was reached]\n";
    let mut session = limited(Limits::default().max_output(2000));
    let code = "for i in range(60):\n    try: print('\u{e9}' * 1_000_000)\n    except OSError: pass";
    let printed = session.execute(code).unwrap();
    assert!(printed.len() <= 2000 + NOTE.len() && printed.ends_with(NOTE), "{}", printed.len());
    for code in ["raise ValueError('x' * 25_000_000)", "raise ValueError('\\ud800' * 10_000)"] {
        let Err(Error::Raised(traceback)) = session.execute(code) else { panic!("{code}") };
        assert!(traceback.len() == 2000 + NOTE.len() && traceback.ends_with(NOTE), "{}", traceback.len());
    }
    ok(
        &mut session,
        "names = {f'generator_{i}': (x for x in ()) for i in range(1000)}\nglobals().update(names)",
    );
    let refused = session.snapshot_state().unwrap_err();
    assert!(matches!(&refused, Error::Refused(reason) if reason.len() <= 2000 + NOTE.len()), "{refused}");
}

#[test]
fn snapshots_and_arguments_are_bounded() {
    let mut session = limited(Limits::default().max_transfer(1 << 20));
    ok(&mut session, "x = 1");
    session.snapshot_state().unwrap();
    assert_eq!(ok(&mut session, "print(len((await echo(a='x' * 900_000))['a']))"), "900000\n");
    // Both together are larger, and the second one is refused; then there is room again.
    let code = "import asyncio
def known(one): return len(one['a']) if isinstance(one, dict) else str(one)
both = await asyncio.gather(echo(a='x' * 900_000), echo(a='y' * 900_000), return_exceptions=True)
print([known(one) for one in both])";
    let refused = "[900000, 'the arguments of the callbacks under way are larger than 1 MiB']\n";
    assert_eq!(ok(&mut session, code), refused);
    assert_eq!(ok(&mut session, "print(len((await echo(a='x' * 900_000))['a']))"), "900000\n");
    ok(&mut session, "x = bytes(range(256)) * 10_000");
    assert_eq!(session.snapshot_state(), Err(Error::TransferLimit));
    assert_eq!(session.execute("1"), Err(Error::Ended));
    let mut session = limited(Limits::default().max_transfer(1 << 20));
    assert_eq!(session.execute("await echo(a='x' * 2_000_000)"), Err(Error::TransferLimit));
}

#[test]
fn a_snapshot_that_is_too_large_for_the_guest_is_refused() {
    let limits = Limits::default().max_memory(192 << 20);
    let mut session = image().session(SessionOptions::default().limits(limits)).unwrap();
    ok(&mut session, "x = 'kept'");
    let outcome = session.restore_state(&vec![b'E'; 400 << 20]);
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("emory"), "{text}");
}

const FOREIGN: &str = r"
import errno, linecache, os, pathlib
def told(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
for path in ('/d/x\udc80', '/d/sub/\udcff', '/d/\udcff/in', b'/d/\xed\xa0\x80'):
    print(os.path.exists(path), os.path.lexists(path), os.access(path, os.R_OK), end=' ')
    seen = {told(call, path) for call in (os.stat, os.lstat, open, os.listdir, os.unlink, os.rmdir, os.readlink, os.chdir)}
    print(*seen, told(os.chmod, path, 0o600), told(os.utime, path), told(os.rename, path, '/d/new'))
    print(told(open, path, 'w'), told(os.mkdir, path), told(os.symlink, 'file', path), told(os.rename, '/d/file', path))
print(told(os.symlink, 'x\udc80', '/d/link'), linecache.getlines('/d/x\udc80'), sorted(os.listdir('/d')))
";
const FOREIGN_TOLD: &str = "False False False ENOENT ENOENT ENOENT ENOENT\nEILSEQ EILSEQ EILSEQ EILSEQ\n";

#[test]
fn names_that_are_not_utf8_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::create_dir(path.join("sub")).unwrap();
    std::fs::write(path.join("file"), "content").unwrap();
    // One that the embedder has, too, which the guest cannot name.
    std::fs::write(path.join(std::ffi::OsStr::from_bytes(b"y\xff")), "content").unwrap();
    let grants = vec![Grant::new(&path, "/d").unwrap()];
    let mut session = image().session(SessionOptions::default().grants(grants)).unwrap();
    let expected = FOREIGN_TOLD.repeat(4) + "EILSEQ [] ['file', 'sub']\n";
    assert_eq!(ok(&mut session, FOREIGN), expected);
}

const MODES: &str = "
import errno, os, shutil, stat
def told(call, *arguments):
    try:
        return call(*arguments)
    except OSError as error:
        return type(error).__name__
for path in ('/d', '/d/sub', '/d/file'):
    print(stat.filemode(os.stat(path).st_mode), os.access(path, os.R_OK), os.access(path, os.W_OK), end=' ')
print(told(os.chmod, '/d/file', 0o600), told(shutil.copy, '/d/file', '/tmp/copy'), told(shutil.copy, '/tmp/copy', '/d/copied'))
print(told(open, '/d/file', 'a') != 'PermissionError', os.stat('/d/file').st_uid == os.getuid())
";

#[test]
fn what_a_grant_allows_is_told_by_modes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    std::fs::create_dir(path.join("sub")).unwrap();
    std::fs::write(path.join("file"), "content").unwrap();
    let writable = "drwxr-xr-x True True drwxr-xr-x True True -rw-r--r-- True True None /tmp/copy /d/copied\nTrue True\n";
    let read_only = "dr-xr-xr-x True False dr-xr-xr-x True False -r--r--r-- True False OSError /tmp/copy PermissionError\nFalse True\n";
    for (only_read, expected) in [(false, writable), (true, read_only)] {
        let grants = vec![Grant::new(&path, "/d").unwrap().read_only(only_read)];
        let mut session = image().session(SessionOptions::default().grants(grants)).unwrap();
        assert_eq!(ok(&mut session, MODES), expected, "{only_read}");
    }
}

#[test]
fn who_is_stopped_for_good_leaves_word_of_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let grants = vec![Grant::new(&path, "/d").unwrap()];
    let limits = Limits::default().timeout(Some(std::time::Duration::from_millis(500)));
    let mut session = image().session(SessionOptions::default().grants(grants).limits(limits)).unwrap();
    let open =
        "f = open('/d/f', 'w'); f.write('begun'); open('/d/closed', 'w').close(); r = open('/d/closed')";
    assert_eq!(ok(&mut session, open), "");
    assert_eq!(session.files_being_written(), [path.join("f")]);
    // One that is asked to stop writes out what it has.
    session.execute("f.write(' more')\nwhile True: pass").unwrap_err();
    assert!(session.is_usable());
    assert_eq!(std::fs::read_to_string(path.join("f")).unwrap(), "begun more");
    let code =
        "f.write(' lost')\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass";
    session.execute(code).unwrap_err();
    assert!(!session.is_usable());
    assert_eq!(std::fs::read_to_string(path.join("f")).unwrap(), "begun more");
    assert_eq!(session.files_being_written(), [path.join("f")]);
}
