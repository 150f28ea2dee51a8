//! Directories named by the digest of all that is in them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::listing::{self, Entry, What};
use super::{Kind, Store, files, held};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// Up to this many files are put on disk one by one; more by one sync of the file system, which
/// may have to write what other programs left, but costs one journal commit and not thousands.
const FEW: usize = 32;

impl Store {
    /// Moves a directory into the store, which consumes it, and returns its [`super::tree_digest`].
    /// It must lie on the file system of the store: make it inside [`Store::scratch`].
    ///
    /// Regular files become read-only and keep the executable bit of their owner; directories get
    /// mode 0755; all get one modification time. A tree that is already there is not stored twice.
    ///
    /// # Errors
    /// When the tree has anything but directories, regular files and relative symbolic links that
    /// stay inside; when the store cannot be written or its file system is full. The store is
    /// unchanged then, and `dir` still there.
    pub fn import_tree(&self, dir: &Path) -> Result<Digest> {
        self.check_writable()?;
        let full = |error| self.write_error("cannot write a tree", error);
        let entries = listing::walk(dir)?;
        let links = entries.iter().filter(|entry| matches!(entry.what, What::Link { .. }));
        let outside = listing::links_leading_out(dir, links.map(|entry| entry.path.as_path()));
        if !outside.is_empty() {
            return Err(Error::new(format!("cannot store `{}`: links lead out of it", dir.display()))
                .details(outside));
        }
        canonicalise(dir, &entries).map_err(full)?;
        let digest = listing::digest_entries(dir, &entries)?;
        let path = self.tree_path(digest);
        // Saves the sync below, the slowest part, when the tree is there.
        if self.tree(digest)?.is_some() {
            files::remove(dir).map_err(full)?;
            return Ok(digest);
        }
        sync(dir, &entries).map_err(full)?;
        while let Err(error) = fs::rename(dir, &path) {
            match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {}
                io::ErrorKind::CrossesDevices => {
                    return Err(Error::new(format!(
                        "cannot store `{}`: it is not on the file system of the store `{}`",
                        dir.display(),
                        self.root.display()
                    )));
                }
                _ => return Err(full(error)),
            }
            // Somebody was faster; and if theirs is damaged, it is gone after this.
            held(&self.verified).remove(&(Kind::Tree, digest));
            if self.tree(digest)?.is_some() {
                files::remove(dir).map_err(full)?;
                return Ok(digest);
            }
        }
        files::sync_directory(&self.base.join("trees")).map_err(full)?;
        held(&self.verified).insert((Kind::Tree, digest));
        Ok(digest)
    }

    /// The directory with this digest, if the store has it. It is read and checked once for each
    /// open store; a damaged one is removed, with a warning, and `None` returned.
    ///
    /// # Errors
    /// When the store cannot be read, or something damaged not removed.
    pub fn tree(&self, digest: Digest) -> Result<Option<PathBuf>> {
        let path = self.tree_path(digest);
        Ok(self.verify(Kind::Tree, digest, &path)?.then_some(path))
    }

    pub(super) fn tree_path(&self, digest: Digest) -> PathBuf {
        self.base.join("trees").join(digest.to_string())
    }
}

/// Gives everything the modes and the time of stored things.
fn canonicalise(dir: &Path, entries: &[Entry]) -> io::Result<()> {
    for entry in entries {
        let path = dir.join(&entry.path);
        match &entry.what {
            What::File { executable, shared } => {
                if *shared {
                    // A file with other names can be changed through them.
                    let copy = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(dir))?;
                    fs::copy(&path, copy.path())?;
                    copy.persist(&path).map_err(|error| error.error)?;
                }
                let mode = if *executable { 0o555 } else { 0o444 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
                files::set_mtime(&path)?;
            }
            What::Link { .. } => files::set_mtime(&path)?,
            What::Directory => fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?,
        }
    }
    // Last, for making a copy above changes the time of its directory.
    for entry in entries.iter().filter(|entry| entry.what == What::Directory) {
        files::set_mtime(&dir.join(&entry.path))?;
    }
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    files::set_mtime(dir)
}

/// Puts a tree on disk.
fn sync(dir: &Path, entries: &[Entry]) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if entries.len() > FEW {
        return Ok(rustix::fs::syncfs(File::open(dir)?)?);
    }
    for entry in entries {
        if !matches!(entry.what, What::Link { .. }) {
            File::open(dir.join(&entry.path))?.sync_all()?;
        }
    }
    files::sync_directory(dir)
}
