//! What package indexes say about projects.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::fetch::{Fetcher, Origin, Pin};
use crate::file_name::FileName;
use crate::name::PackageName;

/// The longest core metadata that is read, in bytes.
const METADATA_LIMIT: u64 = 4 << 20;

/// A project and all its files, of all versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The project's name.
    pub name: PackageName,
    /// Wheels, source distributions and whatever else the index lists, each file name once.
    pub files: Vec<ProjectFile>,
}

/// A file of a project, as an index lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectFile {
    /// The project that it belongs to.
    pub project: PackageName,
    /// The file name.
    pub file: FileName,
    /// Its absolute address.
    pub url: String,
    /// Its digest, where the index has one.
    pub sha256: Option<Digest>,
    /// Its length in bytes, where the index says it.
    pub size: Option<u64>,
    /// The version specifiers that the running Python must match (`Requires-Python`).
    pub requires_python: Option<String>,
    /// Whether the file was withdrawn (PEP 592).
    pub yanked: bool,
    /// Whether the index serves the metadata by itself, at the address with `.metadata` added (PEP 658).
    pub has_metadata: bool,
    /// The digest of that metadata.
    pub metadata_sha256: Option<Digest>,
}

impl ProjectFile {
    /// A file of which nothing is known but its name and address.
    #[must_use]
    pub fn new(project: PackageName, file: FileName, url: String) -> Self {
        Self {
            project,
            file,
            url,
            sha256: None,
            size: None,
            requires_python: None,
            yanked: false,
            has_metadata: false,
            metadata_sha256: None,
        }
    }

    /// The pin of this file; nothing when the index gives no digest.
    #[must_use]
    pub fn pin(&self) -> Option<Pin> {
        Some(Pin {
            file: self.file.clone(),
            sha256: self.sha256?,
            size: self.size,
            origins: vec![Origin::Pypi { project: self.project.to_string(), file: self.file.to_string() }],
        })
    }
}

/// Something that knows projects.
pub trait Index {
    /// The files of a project, or nothing when there is no such project.
    ///
    /// # Errors
    /// When that cannot be found out, for instance offline.
    fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>>;

    /// The core metadata of a wheel.
    ///
    /// # Errors
    /// When it cannot be had, as opposed to being malformed.
    fn metadata(&self, file: &ProjectFile) -> Result<CoreMetadata>;

    /// Reads the metadata of wheels that will probably be looked at next, if that can be done at once.
    fn prefetch(&self, _files: &[ProjectFile]) {}

    /// Whether some projects cannot be looked up because no network may be used.
    fn offline(&self) -> bool {
        false
    }
}

/// The text of a wheel's `METADATA`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreMetadata {
    /// The text.
    Text(String),
    /// The file has none that can be read; why, in one sentence.
    Malformed(String),
}

/// The indexes that pip is configured for.
pub struct PipIndex<'a> {
    fetcher: &'a Fetcher,
    tell: &'a (dyn Fn(&str) + Sync),
    /// What was read ahead, by file.
    ahead: Mutex<BTreeMap<FileName, CoreMetadata>>,
    /// The projects of which wheels were read ahead.
    searched: Mutex<BTreeSet<PackageName>>,
}

impl<'a> PipIndex<'a> {
    /// An index that asks through `fetcher`, which remembers the answers, and says what takes long in a line.
    #[must_use]
    pub fn new(fetcher: &'a Fetcher, tell: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self { fetcher, tell, ahead: Mutex::default(), searched: Mutex::default() }
    }

    fn read(&self, file: &ProjectFile) -> Result<CoreMetadata> {
        if file.has_metadata
            && let Ok(text) = self.fetcher.text(&format!("{}.metadata", file.url))
            && file.metadata_sha256.is_none_or(|digest| digest == Digest::of(text.as_bytes()))
        {
            return Ok(CoreMetadata::Text(text));
        }
        let pin = file.pin().ok_or_else(|| {
            Error::new(format!("the index gives no sha256 for `{}`", file.file))
                .hint("only files with a sha256 are used")
        })?;
        Ok(match read_metadata(self.fetcher.keep(&pin)?) {
            Ok(text) => CoreMetadata::Text(text),
            Err(error) => CoreMetadata::Malformed(format!("`{}`: {error}", file.file)),
        })
    }
}

/// Locks even when another thread panicked: what these mutexes guard is whole between any two calls.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Index for PipIndex<'_> {
    fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>> {
        self.fetcher.project(name)
    }

    fn offline(&self) -> bool {
        self.fetcher.offline()
    }

    fn metadata(&self, file: &ProjectFile) -> Result<CoreMetadata> {
        match lock(&self.ahead).remove(&file.file) {
            Some(read) => Ok(read),
            None => self.read(file),
        }
    }

    fn prefetch(&self, files: &[ProjectFile]) {
        if let Some(first) = files.first()
            && lock(&self.searched).insert(first.project.clone())
        {
            (self.tell)(&format!("looking through older releases of `{}`", first.project));
        }
        std::thread::scope(|scope| {
            for file in files {
                scope.spawn(|| {
                    // What fails here fails once more when it is needed.
                    if let Ok(read) = self.read(file) {
                        lock(&self.ahead).insert(file.file.clone(), read);
                    }
                });
            }
        });
    }
}

/// Reads the core metadata out of a wheel.
///
/// # Errors
/// When the file is not a wheel, or its metadata is missing or longer than 4 MiB.
pub fn read_metadata(wheel: std::fs::File) -> Result<String> {
    let bad = |error: zip::result::ZipError| Error::new(format!("not a wheel: {error}"));
    let mut archive = zip::ZipArchive::new(wheel).map_err(bad)?;
    let is_metadata = |name: &str| {
        let directory = name.strip_suffix("/METADATA");
        directory.is_some_and(|directory| directory.ends_with(".dist-info") && !directory.contains('/'))
    };
    let name = archive.file_names().flatten().find(|name| is_metadata(name)).map(|name| name.into_owned());
    let name = name.ok_or_else(|| Error::new("not a wheel: it has no `*.dist-info/METADATA`"))?;
    let mut text = Vec::new();
    let read = archive.by_name(&name).map_err(bad)?.take(METADATA_LIMIT + 1).read_to_end(&mut text);
    if read.context(|| format!("cannot read `{name}`"))? as u64 > METADATA_LIMIT {
        return Err(Error::new(format!("`{name}` is longer than {METADATA_LIMIT} bytes")));
    }
    // Old wheels have names of people in other encodings.
    Ok(String::from_utf8_lossy(&text).into_owned())
}
