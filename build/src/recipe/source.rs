//! Sources: pinned files and how they are unpacked.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::Digest;
use crate::fetch::{Origin, Pin};

/// A pinned file, and how it is laid out for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file name.
    pub file: String,
    /// The digest of the file.
    pub sha256: Digest,
    /// The length of the file in bytes.
    pub size: u64,
    /// Where the file can be had, best first; never empty.
    pub origins: Vec<Origin>,
    /// The kind of archive.
    pub format: Format,
    /// How many leading path components are taken off each member.
    pub strip: usize,
    /// The folder of the build tree into which it is unpacked; empty for its root.
    pub into: String,
    /// Paths (after stripping) that are unpacked, each a file or a whole folder; empty for everything.
    pub only: Vec<String>,
}

/// The kind of archive that a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A tar archive, compressed or not as its content says.
    Tar,
    /// A zip archive; wheels are such.
    Zip,
}

/// What of a source belongs into an action key.
#[derive(Debug, Serialize)]
pub struct SourceKey<'a> {
    sha256: Digest,
    format: Format,
    strip: usize,
    into: &'a str,
    only: &'a [String],
}

impl Source {
    /// The file as something to fetch.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin {
            file: self.file.clone(),
            sha256: self.sha256,
            size: Some(self.size),
            origins: self.origins.clone(),
        }
    }

    /// What of this source belongs into an action key: addresses do not.
    #[must_use]
    pub fn key(&self) -> SourceKey<'_> {
        SourceKey {
            sha256: self.sha256,
            format: self.format,
            strip: self.strip,
            into: &self.into,
            only: &self.only,
        }
    }
}
