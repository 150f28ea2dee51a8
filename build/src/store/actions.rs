//! The action cache: what an action made, by the key of everything that could change it.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{Kind, Store, files, held, lock_file};
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};

/// How long the time of a record may lag behind its last use.
const TOUCH_EVERY: Duration = Duration::from_hours(1);

/// What an action made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The name of the step.
    pub step: String,
    /// The action key: the digest of the preimage.
    pub key: Digest,
    /// Everything that was hashed into the key, so that a miss can say which input changed.
    pub preimage: serde_json::Value,
    /// What was made.
    pub output: Output,
    /// How long it took, in seconds; for information.
    pub seconds: f64,
}

/// Where the result of an action is in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Output {
    /// One file.
    Blob {
        /// The SHA-256 of its bytes.
        digest: Digest,
        /// Their number.
        size: u64,
    },
    /// A directory.
    Tree {
        /// Its [`super::tree_digest`].
        digest: Digest,
    },
}

impl Output {
    /// What names it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Blob { digest, .. } | Self::Tree { digest } => *digest,
        }
    }
}

/// The right to run the action with one key, which nobody else has meanwhile, in any process. It
/// ends when the claim is dropped, or its process killed.
#[derive(Debug)]
pub struct Claim<'a> {
    store: &'a Store,
    key: Digest,
    lock: File,
}

impl Store {
    /// What the action with this key made, if it is recorded. Reads one small file: whether the
    /// output is still there is for [`Store::blob`] and [`Store::tree`] to say. A damaged record
    /// is a miss, with a warning.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn record(&self, key: Digest) -> Result<Option<Record>> {
        let path = self.base.join("actions").join(format!("{key}.json"));
        let Some(text) = read(&path)? else { return Ok(None) };
        let record = parse(&text).filter(|record| record.key == key);
        if record.is_none() {
            self.warn(format!("the record of action `{key}` in the store is damaged and counts as missing"));
        }
        Ok(record)
    }

    /// Notes that a record was of use, for [`Store::collect`]: by its time, and no more than once in a while, so that
    /// a build that finds everything writes next to nothing. A store that cannot be written is left as it is.
    pub fn touch(&self, key: Digest) {
        let path = self.base.join("actions").join(format!("{key}.json"));
        let stale = |path: &Path| -> io::Result<bool> {
            Ok(fs::metadata(path)?.modified()?.elapsed().is_ok_and(|age| age > TOUCH_EVERY))
        };
        if self.read_only.is_none() && stale(&path).unwrap_or(false) {
            // The worst that follows from a failure is that something is made again.
            let _ = File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        }
    }

    /// Removes the record of an action, so that the action runs again: for when its output is gone.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn forget(&self, key: Digest) -> Result<()> {
        self.check_writable()?;
        let path = self.base.join("actions").join(format!("{key}.json"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context(|| format!("cannot remove `{}`", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// The record last published for a step of this name, by anybody. A damaged one counts as none.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn latest(&self, step: &str) -> Result<Option<Record>> {
        let name = format!("{}.json", Digest::of(step.as_bytes()));
        let text = read(&self.base.join("steps").join(name))?;
        Ok(text.and_then(|text| parse(&text)).filter(|record| record.step == step))
    }

    /// Waits for the right to run the action with this key; `wait` is called once, before waiting,
    /// if somebody else has it. Look for the record again afterwards: they may have made it.
    ///
    /// A thread that claims a key twice waits for itself for ever.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn claim(&self, key: Digest, wait: &dyn Fn()) -> Result<Claim<'_>> {
        self.check_writable()?;
        let lock = lock_file(&self.base.join("locks").join(format!("{key}.lock")))?;
        let doing = || format!("cannot claim action `{key}`");
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                wait();
                lock.lock().context(doing)?;
            }
            Err(TryLockError::Error(error)) => return Err(error).context(doing),
        }
        self.claims.fetch_add(1, Ordering::SeqCst);
        Ok(Claim { store: self, key, lock })
    }
}

impl Claim<'_> {
    /// The key claimed.
    #[must_use]
    pub fn key(&self) -> Digest {
        self.key
    }

    /// Records what the action made, on disk and for everybody, and ends the claim.
    ///
    /// # Errors
    /// When the record is of another key, its output is not in the store, or the store cannot be
    /// written. There is no record then, except one published before.
    pub fn publish(self, record: Record) -> Result<()> {
        self.expect(&record)?;
        let store = self.store;
        let (noun, kind, digest, path) = match record.output {
            Output::Blob { digest, .. } => ("blob", Kind::Blob, digest, store.blob_path(digest)),
            Output::Tree { digest } => ("tree", Kind::Tree, digest, store.tree_path(digest)),
        };
        if !held(&store.verified).contains(&(kind, digest)) && fs::symlink_metadata(path).is_err() {
            return Err(Error::new(format!(
                "step `{}` is recorded with the {noun} `{digest}`, which is not in the store",
                record.step
            )));
        }
        store.write_record(&record)
    }

    /// Records what somebody else says that the action made, and ends the claim. The output need not be in the
    /// store; who needs it has to get it first.
    ///
    /// # Errors
    /// When the record is of another key, or the store cannot be written.
    pub fn adopt(self, record: &Record) -> Result<()> {
        self.expect(record)?;
        self.store.write_record(record)
    }

    fn expect(&self, record: &Record) -> Result<()> {
        if record.key == self.key {
            return Ok(());
        }
        Err(Error::new(format!(
            "expected a record of action `{}` but found one of `{}`",
            self.key, record.key
        )))
    }
}

impl Store {
    fn write_record(&self, record: &Record) -> Result<()> {
        let text = print(record)?;
        let step = format!("{}.json", Digest::of(record.step.as_bytes()));
        // The step's record first: it only explains misses, and the other one is the promise.
        for (directory, name) in [("steps", step), ("actions", format!("{}.json", record.key))] {
            let full = |error: io::Error| self.write_error("cannot write a record", error);
            let mut file =
                tempfile::Builder::new().prefix("record-").tempfile_in(self.session()?).map_err(full)?;
            file.write_all(text.as_bytes()).map_err(full)?;
            // Whoever may read the store's folders may use it, as a read-only store of another user.
            file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(full)?;
            file.as_file().sync_all().map_err(full)?;
            let directory = self.base.join(directory);
            file.persist(directory.join(name)).map_err(|error| full(error.error))?;
            files::sync_directory(&directory).map_err(full)?;
        }
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child between its fork and its exec.
        let _ = self.lock.unlock();
        self.store.claims.fetch_sub(1, Ordering::SeqCst);
    }
}

fn read(path: &Path) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context(|| format!("cannot read `{}`", path.display())),
    }
}

/// The text of a record: JSON, in lines of which the first has the SHA-256 of those between the
/// first and the last. A record that is damaged and still JSON must not pass for a hit.
fn print(record: &Record) -> Result<String> {
    let body = serde_json::to_string_pretty(record)
        .map_err(|error| Error::new(format!("cannot write a record of step `{}`: {error}", record.step)))?;
    Ok(format!("{{\"sha256\": \"{}\", \"record\":\n{body}\n}}\n", Digest::of(body.as_bytes())))
}

pub(super) fn parse(text: &str) -> Option<Record> {
    let (head, rest) = text.split_once('\n')?;
    let body = rest.strip_suffix("\n}\n")?;
    let digest = head.strip_prefix("{\"sha256\": \"")?.strip_suffix("\", \"record\":")?;
    if Digest::of(body.as_bytes()).to_string() != digest {
        return None;
    }
    serde_json::from_str(body).ok()
}
