//! Trees as archives: one file that carries a tree elsewhere and back.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::listing::{self, What};
use super::{Store, files};
use crate::archive::{self, Unpack};
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};

/// How hard zstd tries: what is packed is read more often than it is written.
const LEVEL: i32 = 6;

impl Store {
    /// Writes a tree of the store as a tar archive compressed with zstd. Equal trees give equal archives. Says
    /// whether the store has the tree.
    ///
    /// # Errors
    /// When the store cannot be read or `sink` fails.
    pub fn pack(&self, digest: Digest, sink: &mut dyn Write) -> Result<bool> {
        let Some(dir) = self.tree(digest)? else { return Ok(false) };
        write_archive(&dir, sink).context(|| format!("cannot pack the tree `{digest}`"))?;
        Ok(true)
    }

    /// Puts the tree of an archive into the store, if it is the one with this digest.
    ///
    /// # Errors
    /// When the archive is damaged or has another tree; when the store cannot be written. The store is
    /// unchanged then.
    pub fn import_packed(&self, packed: &Path, digest: Digest) -> Result<()> {
        let scratch = self.scratch()?;
        let dir = scratch.path().join("tree");
        // A tree without anything in it is an archive without entries.
        fs::create_dir(&dir).map_err(|error| self.write_error("cannot unpack a tree", error))?;
        archive::unpack(packed, "tree.tar.zst", &dir, &Unpack::default())?;
        self.import_if(&dir, digest)
    }

    /// Copies a directory into the store, if it is the tree with this digest.
    ///
    /// # Errors
    /// When it is another one, cannot be read, or the store cannot be written. The store is unchanged then.
    pub fn import_copy(&self, from: &Path, digest: Digest) -> Result<()> {
        let scratch = self.scratch()?;
        let dir = scratch.path().join("tree");
        let full = |error| self.write_error("cannot copy a tree", error);
        fs::create_dir(&dir).map_err(full)?;
        for entry in listing::walk(from)? {
            let (source, target) = (from.join(&entry.path), dir.join(&entry.path));
            match entry.what {
                What::Directory => fs::create_dir(&target),
                What::File { .. } => fs::copy(&source, &target).map(drop),
                What::Link { target: to } => std::os::unix::fs::symlink(to, &target),
            }
            .map_err(full)?;
        }
        self.import_if(&dir, digest)
    }

    fn import_if(&self, dir: &Path, digest: Digest) -> Result<()> {
        let found = listing::tree_digest(dir)?;
        if found != digest {
            return Err(Error::new(format!("expected the tree `{digest}` but found `{found}`")));
        }
        self.import_tree(dir).map(drop)
    }
}

fn write_archive(dir: &Path, sink: &mut dyn Write) -> Result<()> {
    let entries = listing::walk(dir)?;
    let mut tar = tar::Builder::new(zstd::Encoder::new(sink, LEVEL)?);
    for entry in &entries {
        append(&mut tar, dir, entry).context(|| format!("`{}`", entry.path.display()))?;
    }
    tar.into_inner()?.finish()?;
    Ok(())
}

fn append(tar: &mut tar::Builder<impl Write>, dir: &Path, entry: &listing::Entry) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_mtime(files::MTIME.unsigned_abs());
    header.set_mode(0o644);
    header.set_size(0);
    match &entry.what {
        What::Directory => {
            header.set_mode(0o755);
            header.set_entry_type(tar::EntryType::Directory);
            tar.append_data(&mut header, &entry.path, io::empty())
        }
        What::File { executable, .. } => {
            let file = File::open(dir.join(&entry.path))?;
            header.set_size(file.metadata()?.len());
            if *executable {
                header.set_mode(0o755);
            }
            header.set_entry_type(tar::EntryType::Regular);
            tar.append_data(&mut header, &entry.path, file)
        }
        What::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            tar.append_link(&mut header, &entry.path, target)
        }
    }
}
