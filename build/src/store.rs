//! The content-addressed store and the action cache, outside the checkout.
//!
//! ```text
//! <root>/                       `ERYX_CACHE`, or the platform's cache directory
//!   CACHEDIR.TAG                tells backup programs to pass by
//!   v1/                         the version of this layout
//!     blobs/<aa>/<sha256>       a file, read-only, named by the SHA-256 of its bytes
//!     trees/<sha256>/           a directory, named by its `tree_digest`
//!     actions/<key>.json        what the action with this key made
//!     steps/<sha256>.json       the last record of the step whose name has this SHA-256
//!     locks/store.lock          shared by every open store, exclusive while `clean` or `gc` runs
//!     locks/tmp.lock            exclusive while an entry of `tmp` appears or is swept
//!     locks/<key>.lock          exclusive while the action with this key runs
//!     tmp/<random>/             one for each open store that writes; `lock` in it is held as long
//! ```
//!
//! Whatever gets a name outside `tmp` gets it by one rename, complete and on disk; so a killed
//! process leaves something in `tmp` at most, and its lock, which the kernel lets go, tells the
//! next one to open the store that it may be removed. What is read is hashed first, once for each
//! open store: something damaged is removed, warned about, and made again.
//!
//! Several threads may share one [`Store`]; several processes may open the same root.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};

mod actions;
mod blobs;
mod collect;
mod files;
mod listing;
mod pack;
mod trees;

pub use actions::{Claim, Output, Record};
pub use collect::{Collected, Limits};
pub use listing::tree_digest;

pub(crate) use files::{set_mtime, write_error};
pub(crate) use listing::links_leading_out;

/// The version of the layout; another one stands beside it, untouched.
const VERSION: &str = "v1";

/// What <https://bford.info/cachedir/> asks for, and a line for a person.
const CACHEDIR_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # The store of eryx-build: everything here can be made again.\n";

/// An open store. It can be shared by reference between threads.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    base: PathBuf,
    /// Why nothing can be written, if nothing can.
    read_only: Option<String>,
    /// Held, shared, as long as the store is open. A read-only store may lack the file.
    in_use: Option<File>,
    session: Mutex<Option<Session>>,
    verified: Mutex<HashSet<(Kind, Digest)>>,
    warnings: Mutex<Vec<String>>,
    claims: AtomicUsize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Blob,
    Tree,
}

/// The directory under `tmp` of one open store.
#[derive(Debug)]
struct Session {
    path: PathBuf,
    lock: File,
}

impl Store {
    /// Opens the store at `root`, making it where there is none, and removes what killed processes
    /// left in it. Waits while another process cleans the store.
    ///
    /// A store that cannot be written (another user's, a read-only file system) opens all the same:
    /// what is in it can be read, and only writing is an error.
    ///
    /// # Errors
    /// When there is no store at `root` and none can be made.
    pub fn open(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).context(|| format!("cannot open `{}`", root.display()))?;
        let base = root.join(VERSION);
        let read_only = match Self::lay_out(&root, &base) {
            Ok(()) => None,
            Err(error) if is_refusal(&error) && base.is_dir() => Some(error.to_string()),
            Err(error) => {
                let doing = format!("cannot make the store `{}`", root.display());
                return Err(write_error(&doing, &root, error)
                    .hint("set `ERYX_CACHE` to a directory that can be written"));
            }
        };
        let in_use = if read_only.is_some() {
            File::open(base.join("locks/store.lock")).ok()
        } else {
            Some(lock_file(&base.join("locks/store.lock"))?)
        };
        if let Some(file) = &in_use {
            file.lock_shared().context(|| format!("cannot lock the store `{}`", root.display()))?;
        }
        let store = Self {
            root,
            base,
            read_only,
            in_use,
            session: Mutex::default(),
            verified: Mutex::default(),
            warnings: Mutex::default(),
            claims: AtomicUsize::new(0),
        };
        if store.read_only.is_none() {
            store.sweep()?;
        }
        Ok(store)
    }

    fn lay_out(root: &Path, base: &Path) -> io::Result<()> {
        for name in ["blobs", "trees", "actions", "steps", "locks", "tmp"] {
            fs::create_dir_all(base.join(name))?;
        }
        let tag = root.join("CACHEDIR.TAG");
        if !tag.exists() {
            fs::write(tag, CACHEDIR_TAG)?;
        }
        // Only an attempt tells a directory that can be written from one that cannot.
        let probe = base.join("locks/store.lock");
        File::options().read(true).write(true).create(true).truncate(false).open(probe)?;
        rustix::fs::access(base.join("tmp"), rustix::fs::Access::WRITE_OK)?;
        Ok(())
    }

    /// The directory that holds the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes an empty directory on the file system of the store, for something to be imported.
    /// It is removed when dropped; it must be dropped before the store is.
    ///
    /// # Errors
    /// When the store cannot be written or its file system is full.
    pub fn scratch(&self) -> Result<tempfile::TempDir> {
        let session = self.session()?;
        tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(&session)
            .map_err(|error| self.write_error("cannot make a scratch directory", error))
    }

    /// Takes the warnings gathered since the last call: sentences about damage that was found, and
    /// what was done about it.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut *held(&self.warnings))
    }

    /// Removes everything from the store and returns the number of bytes of the files removed.
    ///
    /// # Errors
    /// When another process has the store open or an action is claimed, when the store cannot be
    /// written, or when something cannot be removed.
    pub fn clean(&self) -> Result<u64> {
        let doing = || format!("cannot clean the store `{}`", self.root.display());
        self.exclusively(|| self.clean_locked().context(doing))
    }

    /// Does something while nobody else has the store open and no action is claimed.
    fn exclusively<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check_writable()?;
        let in_use = || {
            Error::new(format!("the store `{}` is in use by another build", self.root.display()))
                .hint("try again when it is done")
        };
        if self.claims.load(Ordering::SeqCst) > 0 {
            return Err(in_use());
        }
        let Some(lock) = &self.in_use else { return Err(in_use()) };
        let doing = || format!("cannot lock the store `{}`", self.root.display());
        // A shared lock is not turned into an exclusive one in one step everywhere; in the gap
        // another process may come in, and then wins.
        lock.unlock().context(doing)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                lock.lock_shared().context(doing)?;
                return Err(in_use());
            }
            Err(TryLockError::Error(error)) => return Err(error).context(doing),
        }
        let result = work();
        lock.unlock().context(doing)?;
        lock.lock_shared().context(doing)?;
        result
    }

    fn clean_locked(&self) -> io::Result<u64> {
        // Records go first: a clean that is killed must not leave records without outputs, and
        // trees leave `trees` whole, so that none is ever half there.
        for name in ["actions", "steps", "trees", "blobs"] {
            let trash = self.base.join("tmp").join(format!("clean-{name}"));
            fs::create_dir_all(&trash)?;
            for entry in fs::read_dir(self.base.join(name))? {
                let entry = entry?;
                fs::rename(entry.path(), trash.join(entry.file_name()))?;
            }
        }
        let kept = held(&self.session).as_ref().map(|session| session.path.clone());
        let mut freed = 0;
        for entry in fs::read_dir(self.base.join("tmp"))? {
            let path = entry?.path();
            if Some(&path) != kept.as_ref() {
                freed += files::remove(&path)?;
            }
        }
        for entry in fs::read_dir(self.base.join("locks"))? {
            let entry = entry?;
            // Nobody can hold the lock of a key now; these two may be awaited by somebody.
            if !matches!(entry.file_name().to_str(), Some("store.lock" | "tmp.lock")) {
                fs::remove_file(entry.path())?;
            }
        }
        held(&self.verified).clear();
        Ok(freed)
    }

    /// Removes the entries of `tmp` that no living process holds.
    fn sweep(&self) -> Result<()> {
        let guard = TmpLock(lock_file(&self.base.join("locks/tmp.lock"))?);
        match guard.0.try_lock() {
            Ok(()) => {}
            // Somebody else sweeps, or makes an entry: the next one to open the store will see.
            Err(TryLockError::WouldBlock) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error).context(|| "cannot sweep".to_owned()),
        }
        let doing = || format!("cannot sweep `{}`", self.base.join("tmp").display());
        for entry in fs::read_dir(self.base.join("tmp")).context(doing)? {
            let path = entry.context(doing)?.path();
            // No entry is being made while we hold `tmp.lock`: without a lock it is a remnant.
            let lock = File::open(path.join("lock")).ok();
            if lock.as_ref().is_none_or(|lock| lock.try_lock().is_ok()) {
                files::remove(&path).context(doing)?;
            }
        }
        Ok(())
    }

    /// This store's own directory under `tmp`, made when it is first needed: a build that only
    /// reads writes nothing.
    fn session(&self) -> Result<PathBuf> {
        self.check_writable()?;
        let mut session = held(&self.session);
        if let Some(session) = &*session {
            return Ok(session.path.clone());
        }
        let guard = self.lock_tmp()?;
        let made = (|| {
            let mut builder = tempfile::Builder::new();
            let path = builder.prefix("").disable_cleanup(true).tempdir_in(self.base.join("tmp"))?.keep();
            let lock = File::options().write(true).create_new(true).open(path.join("lock"))?;
            lock.try_lock().map_err(io::Error::from)?;
            Ok(Session { path, lock })
        })();
        drop(guard);
        let made = made.map_err(|error| self.write_error("cannot write", error))?;
        let path = made.path.clone();
        *session = Some(made);
        Ok(path)
    }

    /// Waits for the lock that entries of `tmp` appear and are swept under.
    fn lock_tmp(&self) -> Result<TmpLock> {
        let lock = TmpLock(lock_file(&self.base.join("locks/tmp.lock"))?);
        lock.0.lock().context(|| format!("cannot lock the store `{}`", self.root.display()))?;
        Ok(lock)
    }

    fn check_writable(&self) -> Result<()> {
        match &self.read_only {
            None => Ok(()),
            Some(why) => Err(Error::new(format!("the store `{}` is read-only", self.root.display()))
                .detail(why)
                .hint("set `ERYX_CACHE` to a directory that can be written")),
        }
    }

    fn write_error(&self, doing: &str, error: io::Error) -> Error {
        write_error(&format!("{doing} in the store `{}`", self.root.display()), &self.base, error)
    }

    fn warn(&self, warning: String) {
        held(&self.warnings).push(warning);
    }

    /// Whether something is in the store and intact: read once for each open store, removed if not.
    fn verify(&self, kind: Kind, digest: Digest, path: &Path) -> Result<bool> {
        if held(&self.verified).contains(&(kind, digest)) {
            return Ok(fs::symlink_metadata(path).is_ok());
        }
        let noun = match kind {
            Kind::Blob => "blob",
            Kind::Tree => "tree",
        };
        let there = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            other => {
                other.context(|| format!("cannot read the {noun} `{}`", path.display()))?;
                true
            }
        };
        if there {
            if is_intact(kind, digest, path) {
                held(&self.verified).insert((kind, digest));
                return Ok(true);
            }
            if self.read_only.is_some() {
                self.warn(format!("the {noun} `{digest}` in the store is damaged and cannot be removed"));
                return Ok(false);
            }
            let session = self.session()?;
            // Two processes may find the same damage: with the lock, and another look, the second
            // one does not throw away what the first has already put right.
            let guard = self.lock_tmp()?;
            if is_intact(kind, digest, path) {
                return Ok(true);
            }
            let trash = tempfile::Builder::new()
                .prefix("damaged-")
                .tempdir_in(session)
                .map_err(|error| self.write_error("cannot remove something damaged", error))?;
            let moved = fs::rename(path, trash.path().join("it"));
            drop(guard);
            match moved {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error).context(|| format!("cannot remove `{}`", path.display()));
                }
                _ => {
                    self.warn(format!("the {noun} `{digest}` in the store was damaged and has been removed"))
                }
            }
        }
        Ok(false)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let session = self.session.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(session) = session {
            // Failing is fine: whoever opens the store next sweeps.
            let _ = files::remove(&session.path);
            let _ = session.lock.unlock();
        }
        if let Some(lock) = &self.in_use {
            // Not just closed, as in `TmpLock`.
            let _ = lock.unlock();
        }
    }
}

/// The lock of `tmp`, let go of when dropped. Closing the file would do, were it not for a child
/// between its fork and its exec, which has the file open too.
struct TmpLock(File);

impl Drop for TmpLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Whether the bytes are those of the digest. Something unreadable or of another kind is not intact.
fn is_intact(kind: Kind, digest: Digest, path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    let found = match kind {
        Kind::Blob if metadata.is_file() => Digest::of_file(path).map(|(found, _)| found),
        Kind::Tree if metadata.is_dir() => tree_digest(path),
        _ => return false,
    };
    found.is_ok_and(|found| found == digest)
}

/// Whether the error means that the file system will never let us write, rather than a mishap.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

fn lock_file(path: &Path) -> Result<File> {
    let doing = || format!("cannot open `{}`", path.display());
    match File::options().read(true).write(true).create(true).truncate(false).open(path) {
        Ok(file) => Ok(file),
        Err(error) => Err(write_error(&doing(), path.parent().unwrap_or(path), error)),
    }
}

/// The content of a mutex; a thread that panicked while holding one of ours has left it in order.
pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a file read-only, for everybody, with or without the executable bit.
fn seal(file: &File, executable: bool) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 }))
}
