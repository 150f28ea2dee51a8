//! The folder that an archive is unpacked into: what may appear in it, and where.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::{Unpack, Unpacked, damaged, truncated};
use crate::error::{Error, Result};
use crate::store::{self, write_error};

/// The longest target of a link, in bytes; what Linux takes.
pub(super) const MAX_LINK: u64 = 4095;

/// What has been unpacked at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    File,
    Link,
}

pub(super) struct Target<'a> {
    root: &'a Path,
    options: &'a Unpack,
    /// All there is below `root`: nobody else knows that folder, so this need not ask the disk.
    kinds: BTreeMap<PathBuf, Kind>,
    matched: Vec<bool>,
    bytes: u64,
    buffer: Vec<u8>,
}

impl<'a> Target<'a> {
    /// Unpacks into `root`, a fresh and empty folder.
    pub(super) fn new(root: &'a Path, options: &'a Unpack) -> Self {
        let matched = vec![false; options.only.len()];
        Self { root, options, kinds: BTreeMap::new(), matched, bytes: 0, buffer: vec![0; 1 << 16] }
    }

    /// The path below the target of an entry with this name; `None` for one that is not wanted.
    /// A name that leads out is an error even then: such an archive is not to be trusted.
    pub(super) fn select(&mut self, name: &[u8]) -> Result<Option<PathBuf>> {
        let Some(path) = self.strip(name)? else { return Ok(None) };
        let mut wanted = self.options.only.is_empty();
        for (only, matched) in self.options.only.iter().zip(&mut self.matched) {
            if path.starts_with(only) {
                *matched = true;
                wanted = true;
            }
        }
        Ok(wanted.then_some(path))
    }

    fn strip(&self, name: &[u8]) -> Result<Option<PathBuf>> {
        let shown = String::from_utf8_lossy(name);
        let refuse = |what: &str| Err(Error::new(format!("entry `{}` has {what}", shown.escape_debug())));
        if name.is_empty() {
            return refuse("an empty path");
        }
        if name.starts_with(b"/") {
            return refuse("an absolute path");
        }
        if name.contains(&0) {
            return refuse("a zero byte in its path");
        }
        let mut components = Vec::new();
        for component in name.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return refuse("`..` in its path"),
                component => components.push(OsStr::from_bytes(component)),
            }
        }
        let path: PathBuf = components.into_iter().skip(self.options.strip).collect();
        Ok((!path.as_os_str().is_empty()).then_some(path))
    }

    pub(super) fn directory(&mut self, path: &Path) -> Result<()> {
        match self.kinds.get(path) {
            Some(Kind::Directory) => return Ok(()),
            Some(_) => return Err(twice(path)),
            None => {}
        }
        self.prepare(path, Kind::Directory)?;
        let absolute = self.root.join(path);
        let made = fs::create_dir(&absolute)
            .and_then(|()| fs::set_permissions(&absolute, fs::Permissions::from_mode(0o755)));
        made.map_err(|error| self.write_error(path, error))
    }

    /// Writes a file: all the reader has, which must be `size` bytes when given.
    pub(super) fn file(
        &mut self,
        path: &Path,
        executable: bool,
        reader: &mut dyn Read,
        size: Option<u64>,
    ) -> Result<()> {
        self.prepare(path, Kind::File)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let absolute = self.root.join(path);
        let file = File::options().write(true).create_new(true).mode(mode).open(&absolute);
        let mut file = file.map_err(|error| self.write_error(path, error))?;
        let mut length = 0;
        loop {
            let bytes = match reader.read(&mut self.buffer) {
                Ok(count) => self.buffer.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(damaged(&error)),
            };
            if bytes.is_empty() {
                break;
            }
            length += bytes.len() as u64;
            self.bytes += bytes.len() as u64;
            if self.bytes > self.options.max_bytes {
                return Err(Error::new(format!("it has more than {} bytes", self.options.max_bytes)));
            }
            file.write_all(bytes).map_err(|error| self.write_error(path, error))?;
        }
        if size.is_some_and(|size| length != size) {
            return Err(truncated());
        }
        // The mode given above was subject to the umask.
        file.set_permissions(fs::Permissions::from_mode(mode))
            .and_then(|()| store::set_mtime(&absolute))
            .map_err(|error| self.write_error(path, error))
    }

    /// Makes a symbolic link. Where it leads is looked at in [`Target::finish`], when all it may
    /// lead through is there; until then nothing follows it.
    pub(super) fn link(&mut self, path: &Path, target: &[u8]) -> Result<()> {
        if target.is_empty() || target.contains(&0) || target.len() as u64 > MAX_LINK {
            return Err(Error::new(format!("link `{}` has a target that is not a path", path.display())));
        }
        self.prepare(path, Kind::Link)?;
        std::os::unix::fs::symlink(OsStr::from_bytes(target), self.root.join(path))
            .map_err(|error| self.write_error(path, error))
    }

    /// Makes a copy of a file that was unpacked before: a second name for it would let a change of
    /// one be a change of the other.
    pub(super) fn hard_link(&mut self, path: &Path, name: &[u8]) -> Result<()> {
        let original = self.strip(name)?.filter(|original| self.kinds.get(original) == Some(&Kind::File));
        let Some(original) = original else {
            return Err(Error::new(format!(
                "hard link `{}` leads to `{}`, which is not a file unpacked before it",
                path.display(),
                String::from_utf8_lossy(name).escape_debug()
            )));
        };
        let original = self.root.join(original);
        let (mut file, metadata) = File::open(&original)
            .and_then(|file| file.metadata().map(|metadata| (file, metadata)))
            .map_err(|error| self.write_error(path, error))?;
        let executable = metadata.permissions().mode() & 0o100 != 0;
        self.file(path, executable, &mut file, Some(metadata.len()))
    }

    /// Checks where the links lead and whether all that was asked for is there.
    pub(super) fn finish(self) -> Result<Unpacked> {
        let missing: Vec<String> = self
            .options
            .only
            .iter()
            .zip(&self.matched)
            .filter(|(_, matched)| !**matched)
            .map(|(only, _)| format!("`{only}`"))
            .collect();
        if !missing.is_empty() {
            return Err(Error::new("it does not have everything that is asked of it").details(missing));
        }
        let links = self.kinds.iter().filter(|(_, kind)| **kind == Kind::Link);
        let outside = store::links_leading_out(self.root, links.map(|(path, _)| path.as_path()));
        if !outside.is_empty() {
            return Err(Error::new("links lead out of it").details(outside));
        }
        for path in self.kinds.iter().filter(|(_, kind)| **kind != Kind::File).map(|(path, _)| path) {
            store::set_mtime(&self.root.join(path)).map_err(|error| self.write_error(path, error))?;
        }
        Ok(Unpacked { entries: self.kinds.len() as u64, bytes: self.bytes })
    }

    /// Makes the folders above a new entry, and room for it.
    fn prepare(&mut self, path: &Path, kind: Kind) -> Result<()> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            match self.kinds.get(parent) {
                Some(Kind::Directory) => {}
                Some(Kind::File) => return Err(below(path, parent, "a file")),
                Some(Kind::Link) => return Err(below(path, parent, "a link")),
                None => self.directory(parent)?,
            }
        }
        if self.kinds.insert(path.to_owned(), kind).is_some() {
            return Err(twice(path));
        }
        if self.kinds.len() as u64 > self.options.max_entries {
            return Err(Error::new(format!("it has more than {} entries", self.options.max_entries)));
        }
        Ok(())
    }

    fn write_error(&self, path: &Path, error: io::Error) -> Error {
        // On a file system that does not tell `A` from `a`, the second of them finds the first.
        if error.kind() == io::ErrorKind::AlreadyExists {
            return twice(path);
        }
        write_error(&format!("cannot write `{}`", path.display()), self.root, error)
    }
}

fn twice(path: &Path) -> Error {
    Error::new(format!("entry `{}` occurs twice", path.display()))
}

fn below(path: &Path, parent: &Path, what: &str) -> Error {
    Error::new(format!("entry `{}` lies below `{}`, which is {what}", path.display(), parent.display()))
}
