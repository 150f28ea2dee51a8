//! Compiled code on disk.
//!
//! The compiled form of a component is a pure function of the component and of the engine (its version, configuration
//! and the processor's features), so it is kept in a directory: `<key>` is a small text file with the SHA-256 of the
//! code, and `<sha256>.cwasm` is the code. The code is verified before it is mapped: running a damaged file would not be
//! safe. All files are written to a temporary file and renamed, so that processes may share a cache and a killed one
//! leaves nothing wrong behind.
//!
//! Hashing a hundred megabytes at each start would take longer than the start. As `git` does with its index, a file
//! that was hashed once is remembered by what the system says of it (`<name>.seen`): device, inode, size, and the times
//! of its last change, down to the nanosecond. Any write to the file changes that.

use std::fs::{self, Metadata};
use std::hash::Hash;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest::{Digest, Hasher};
use crate::error::Result;

/// How many compiled components are kept; each takes a few times the size of the component.
const KEPT: usize = 16;
/// A file that was changed so shortly before it was hashed may change again without a new time: clocks are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// A directory of compiled code.
pub(crate) struct Cache {
    folder: PathBuf,
    /// Where files that were hashed are remembered.
    notes: Option<PathBuf>,
    /// Whether what is damaged may be removed.
    ours: bool,
}

impl Cache {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { notes: Some(folder.clone()), folder, ours: true }
    }

    /// A directory that was put beside a component, and is only read.
    pub(crate) fn beside(folder: PathBuf, notes: Option<PathBuf>) -> Self {
        Self { folder, notes, ours: false }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The code of a component for an engine, if it is there.
    pub(crate) fn load(&self, component: Digest, engine: &Engine) -> Option<Component> {
        let index = self.folder.join(key(component, engine));
        let digest: Digest = fs::read_to_string(&index).ok()?.trim_end().parse().ok()?;
        let path = self.code(digest);
        let trusted = self.ours || only_ours_to_write(&self.folder) && only_ours_to_write(&path);
        if !trusted {
            tracing::warn!(code = %path.display(), "native code that others may write is not used");
            return None;
        }
        if self.digest_of(&path).ok()? != digest {
            if self.ours {
                // A damaged file would only be hashed again each time. Both may be gone already.
                let _ = fs::remove_file(&path);
                let _ = fs::remove_file(&index);
            }
            return None;
        }
        // SAFETY: the file holds, by its digest, the very bytes that `Component::serialize` gave, for an engine that
        // `precompile_compatibility_hash` calls the same. Files in the cache are replaced by renaming and never
        // written in place, so the mapping does not change.
        unsafe { Component::deserialize_file(engine, &path) }.ok()
    }

    pub(crate) fn save(&self, component: Digest, engine: &Engine, code: &[u8]) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let digest = Digest::of(code);
        write(&self.code(digest), code)?;
        write(&self.folder.join(key(component, engine)), format!("{digest}\n").as_bytes())
    }

    fn code(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}.cwasm"))
    }

    /// The digest of a file, from what is remembered of it if it has not changed since.
    pub(crate) fn digest_of(&self, file: &Path) -> Result<Digest> {
        let before = fs::metadata(file)?;
        let Some(notes) = &self.notes else { return Ok(Digest::of_file(file)?.0) };
        let place = std::path::absolute(file)?;
        let memo = notes.join(format!("{}.seen", Digest::of(place.as_os_str().as_encoded_bytes())));
        if let Some(seen) =
            fs::read_to_string(&memo).ok().as_deref().and_then(|text| remembered(text, &before))
        {
            return Ok(seen);
        }
        let (digest, _) = Digest::of_file(file)?;
        let settled = before.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        let unchanged = fs::metadata(file).is_ok_and(|after| identity(&after) == identity(&before));
        if unchanged && settled.is_some_and(|age| age > SETTLED) && fs::create_dir_all(notes).is_ok() {
            // Only time is lost when it cannot be written.
            let _ = write(&memo, format!("{digest} {}\n", identity(&before)).as_bytes());
        }
        Ok(digest)
    }

    /// Removes all but the newest [`KEPT`] codes, and notes on files that are gone; whoever has one mapped keeps it.
    pub(crate) fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut codes: Vec<(SystemTime, PathBuf)> = Vec::new();
        let mut notes: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in entries.flatten() {
            let (Ok(metadata), path) = (entry.metadata(), entry.path()) else { continue };
            let Ok(time) = metadata.modified() else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("cwasm") => codes.push((time, path)),
                Some("seen") => notes.push((time, path)),
                _ => {}
            }
        }
        for (mut files, kept) in [(codes, KEPT), (notes, 8 * KEPT)] {
            files.sort();
            let excess = files.len().saturating_sub(kept);
            for (_, path) in files.into_iter().take(excess) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn write(target: &Path, content: &[u8]) -> Result<()> {
    let folder = target.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_data()?;
    file.persist(target).map_err(|error| error.error)?;
    Ok(())
}

/// Whether nobody but this user and root may write to a file or directory.
#[cfg(unix)]
fn only_ours_to_write(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).is_ok_and(|metadata| {
        let owner = metadata.uid();
        metadata.mode() & 0o022 == 0 && (owner == 0 || owner == rustix::process::geteuid().as_raw())
    })
}

/// Elsewhere it cannot be told.
#[cfg(not(unix))]
fn only_ours_to_write(_: &Path) -> bool {
    false
}

/// Under which name an index stands.
fn key(component: Digest, engine: &Engine) -> String {
    let mut compatibility = FeedHasher(Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    compatibility.0.update(component.to_string().as_bytes());
    compatibility.0.finish().0.to_string()
}

/// What changes when a file does.
#[cfg(unix)]
fn identity(metadata: &Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    format!(
        "{} {} {} {}.{:09} {}.{:09}",
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec()
    )
}

/// Elsewhere nothing tells it for certain, so nothing is remembered.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> String {
    String::new()
}

fn remembered(text: &str, metadata: &Metadata) -> Option<Digest> {
    let (digest, identity_then) = text.trim_end().split_once(' ')?;
    let now = identity(metadata);
    (!now.is_empty() && identity_then == now).then(|| digest.parse().ok())?
}

/// Feeds what is hashed to a digest: the standard hashers promise nothing from one release to the next.
struct FeedHasher(Hasher);

impl std::hash::Hasher for FeedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let (digest, _) = self.0.clone().finish();
        u64::from_str_radix(digest.to_string().get(..16).unwrap_or_default(), 16).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_hashed_again_when_it_changes() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("cache"));
        let file = folder.path().join("file");
        let notes = || fs::read_dir(folder.path().join("cache")).map_or(0, Iterator::count);
        fs::write(&file, "one").unwrap();
        assert_eq!(cache.digest_of(&file).unwrap(), Digest::of(b"one"));
        assert_eq!(notes(), 0, "a file that has just changed may do so again at the same time");
        let old = SystemTime::now() - Duration::from_secs(60);
        fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
        assert_eq!(cache.digest_of(&file).unwrap(), Digest::of(b"one"));
        assert_eq!(notes(), 1);
        assert_eq!(cache.digest_of(&file).unwrap(), Digest::of(b"one"));
        // Same size, same time of modification: the time of the change of the inode tells.
        fs::write(&file, "two").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(old).unwrap();
        assert_eq!(cache.digest_of(&file).unwrap(), Digest::of(b"two"));
        assert!(cache.digest_of(&folder.path().join("none")).is_err());
    }
}
