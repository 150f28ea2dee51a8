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
//!
//! Compiled code is no longer inside the sandbox: who can write it runs programs as us. So a directory is used only if it and
//! its files belong to this user or root and nobody else may write to them. What was judged is what is read: the directory
//! is opened once, and its files by way of it.

use std::fs::{self, File, Metadata};
use std::hash::Hash;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::digest::{Digest, Hasher};
use crate::error::{Error as Message, Result};
use crate::failure::Error;

/// How many compiled components are kept; each takes a few times the size of the component.
const KEPT: usize = 16;
/// A file that was changed so shortly before it was hashed may change again without a new time: clocks are coarse.
const SETTLED: Duration = Duration::from_secs(2);

/// A directory for the compiled code of a program, below this user's cache directory (`XDG_CACHE_HOME`, else `.cache` in
/// `HOME`), if there is one. Nobody else can make it first, as they can in a shared temporary directory.
#[must_use]
pub fn user_cache(program: &str) -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(caches.join(program))
}

/// A directory of compiled code.
pub(crate) struct Cache {
    folder: PathBuf,
    /// Where files that were hashed are remembered.
    notes: Option<PathBuf>,
    /// Whether it is written, and what is damaged removed.
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

    /// Whether the directory can be used; one that does not exist can.
    ///
    /// # Errors
    /// When others may write to it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match Folder::open(&self.folder) {
            Ok(_) => Ok(()),
            Err(Unusable::Absent) => Ok(()),
            Err(Unusable::Untrusted(reason)) => {
                let folder = self.folder.display();
                let message = Message::new(format!("compiled code cannot be kept in `{folder}`: {reason}"));
                Err(Error::Cache(message.hint(
                    "choose a directory that belongs to you, or take the write permission from others by `chmod go-w`",
                )))
            }
        }
    }

    /// The code of a component for an engine, if it is there and can be trusted.
    pub(crate) fn load(&self, component: Digest, engine: &Engine) -> Option<Component> {
        let found = self.find(component, engine);
        if let Err(Unusable::Untrusted(reason)) = &found {
            tracing::warn!(folder = %self.folder.display(), reason, "native code that others may write is not used");
        }
        let (path, code) = found.ok()?;
        // SAFETY: the file holds, by its digest, the very bytes that `Component::serialize` gave, for an engine that
        // `precompile_compatibility_hash` calls the same. Nobody but this user and root may write it. Files in the cache
        // are replaced by renaming and never written in place, so the mapping does not change.
        unsafe { Component::deserialize_file(engine, reopened(&path, &code)) }.ok()
    }

    fn find(&self, component: Digest, engine: &Engine) -> Result<(PathBuf, File), Unusable> {
        let folder = Folder::open(&self.folder)?;
        let index = key(component, engine);
        let digest: Digest = folder.text(&index)?.trim_end().parse().map_err(|_| Unusable::Absent)?;
        let name = format!("{digest}.cwasm");
        let (path, code) = (self.folder.join(&name), folder.file(&name)?);
        if self.digest_of_open(&path, &code).map_err(|_| Unusable::Absent)? != digest {
            if self.ours {
                // A damaged file would only be hashed again each time. Both may be gone already.
                let _ = fs::remove_file(&path);
                let _ = fs::remove_file(self.folder.join(index));
            }
            return Err(Unusable::Absent);
        }
        Ok((path, code))
    }

    pub(crate) fn save(&self, component: Digest, engine: &Engine, code: &[u8]) -> Result<()> {
        make(&self.folder)?;
        let digest = Digest::of(code);
        write(&self.folder.join(format!("{digest}.cwasm")), code)?;
        write(&self.folder.join(key(component, engine)), format!("{digest}\n").as_bytes())
    }

    /// The digest of a file, from what is remembered of it if it has not changed since.
    pub(crate) fn digest_of(&self, file: &Path) -> Result<Digest> {
        self.digest_of_open(file, &File::open(file)?)
    }

    /// As [`Self::digest_of`]; `path` is where `file` was opened.
    fn digest_of_open(&self, path: &Path, file: &File) -> Result<Digest> {
        let before = file.metadata()?;
        let Some(notes) = &self.notes else { return digest(file) };
        let absolute = std::path::absolute(path)?;
        let memo = format!("{}.seen", Digest::of(absolute.as_os_str().as_encoded_bytes()));
        let noted = Folder::open(notes).and_then(|notes| notes.text(&memo)).ok();
        if let Some(seen) = noted.as_deref().and_then(|text| remembered(text, &before)) {
            return Ok(seen);
        }
        let digest = digest(file)?;
        let settled = before.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        let unchanged = file.metadata().is_ok_and(|after| identity(&after) == identity(&before));
        if unchanged && settled.is_some_and(|age| age > SETTLED) && make(notes).is_ok() {
            // Only time is lost when it cannot be written.
            let _ = write(&notes.join(memo), format!("{digest} {}\n", identity(&before)).as_bytes());
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

/// Makes a directory that is closed to others, unless it is there.
fn make(folder: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

fn digest(mut file: &File) -> Result<Digest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok(hasher.finish().0);
        }
        hasher.update(&buffer[..count]);
    }
}

/// Why nothing is taken from a directory.
enum Unusable {
    /// It, or what is looked for, is not there.
    Absent,
    /// Others may write to it: how.
    Untrusted(&'static str),
}

impl From<std::io::Error> for Unusable {
    fn from(_: std::io::Error) -> Self {
        Self::Absent
    }
}

/// A directory that was found to be ours, and stays the same one whatever becomes of its path.
struct Folder(#[cfg(unix)] File);

#[cfg(unix)]
impl Folder {
    fn open(path: &Path) -> Result<Self, Unusable> {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(open(path, flags, Mode::empty()).map_err(std::io::Error::from)?);
        judge(&folder, fs::FileType::is_dir)?;
        Ok(Self(folder))
    }

    fn file(&self, name: &str) -> Result<File, Unusable> {
        use rustix::fs::{Mode, OFlags, openat};
        // A FIFO would keep us waiting.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.0, name, flags, Mode::empty()).map_err(std::io::Error::from)?);
        judge(&file, fs::FileType::is_file)?;
        Ok(file)
    }

    fn text(&self, name: &str) -> Result<String, Unusable> {
        let mut text = String::new();
        // Nothing of ours that is text is longer.
        self.file(name)?.take(4096).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// Whether nobody but this user and root may write to a file or directory, and it is what is expected.
#[cfg(unix)]
fn judge(file: &File, expected: fn(&fs::FileType) -> bool) -> Result<(), Unusable> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    let owner = metadata.uid();
    if !expected(&metadata.file_type()) {
        Err(Unusable::Untrusted("it is of another kind"))
    } else if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        Err(Unusable::Untrusted("it belongs to another user"))
    } else if metadata.mode() & 0o022 != 0 {
        Err(Unusable::Untrusted("others may write to it"))
    } else {
        Ok(())
    }
}

/// The path by which exactly this file is opened once more.
fn reopened(path: &Path, file: &File) -> PathBuf {
    #[cfg(target_os = "linux")]
    {
        let own = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)));
        // Without a mounted `/proc` the path has to do: the directory was ours a moment ago.
        if own.exists() {
            return own;
        }
    }
    let _ = file;
    path.to_owned()
}

/// Elsewhere it cannot be known who may write, so nothing is kept.
#[cfg(not(unix))]
impl Folder {
    fn open(_: &Path) -> Result<Self, Unusable> {
        Err(Unusable::Absent)
    }

    fn file(&self, _: &str) -> Result<File, Unusable> {
        Err(Unusable::Absent)
    }

    fn text(&self, _: &str) -> Result<String, Unusable> {
        Err(Unusable::Absent)
    }
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
