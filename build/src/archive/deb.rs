//! Reads Debian packages, deb(5): an ar archive with a tar archive of the files in it.

use std::fs::File;
use std::io::BufReader;

use super::target::Target;
use super::{Compression, damaged, tarball};
use crate::error::{Error, Result};

pub(super) fn unpack(file: File, target: &mut Target<'_>) -> Result<()> {
    let mut archive = ar::Archive::new(BufReader::new(file));
    while let Some(entry) = archive.next_entry() {
        let entry = entry.map_err(|error| damaged(&error))?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        // Some programs end names with a slash.
        let compression = match name.trim_end_matches('/') {
            "data.tar" => Compression::None,
            "data.tar.gz" => Compression::Gzip,
            "data.tar.bz2" => Compression::Bzip2,
            "data.tar.xz" => Compression::Xz,
            "data.tar.zst" => Compression::Zstd,
            _ => continue,
        };
        return tarball::unpack(entry, compression, target);
    }
    Err(Error::new("expected a member `data.tar` (`.gz`, `.bz2`, `.xz`, `.zst`) but found none"))
}
