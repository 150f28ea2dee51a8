//! Reads zip archives, wheels among them.

use std::fs::File;
use std::io::{BufReader, Read as _};

use zip::ZipArchive;
use zip::result::ZipError;

use super::damaged;
use super::target::{MAX_LINK, Target};
use crate::error::{Error, Result};

pub(super) fn unpack(file: File, target: &mut Target<'_>) -> Result<()> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(failure)?;
    // Programs differ in which of two entries of one name they take.
    if archive.has_duplicate_names() {
        return Err(Error::new("an entry occurs twice"));
    }
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(failure)?;
        let name = entry.name_raw().to_vec();
        if name.contains(&b'\\') {
            return Err(Error::new(format!(
                "entry `{}` has a backslash in its path",
                String::from_utf8_lossy(&name)
            )));
        }
        let Some(path) = target.select(&name)? else { continue };
        if entry.is_dir() {
            target.directory(&path)?;
        } else if entry.is_symlink() {
            let mut link = Vec::new();
            entry.by_ref().take(MAX_LINK + 1).read_to_end(&mut link).map_err(|error| damaged(&error))?;
            target.link(&path, &link)?;
        } else {
            // The type bits of a Unix mode; an archive from elsewhere has none.
            match entry.unix_mode().map_or(0, |mode| mode & 0o170_000) {
                0 | 0o100_000 => {}
                _ => {
                    return Err(Error::new(format!(
                        "entry `{}` is neither a file, a folder nor a link",
                        path.display()
                    )));
                }
            }
            let executable = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
            let size = entry.size();
            target.file(&path, executable, &mut entry, Some(size))?;
        }
    }
    Ok(())
}

fn failure(error: ZipError) -> Error {
    match error {
        ZipError::Io(error) => damaged(&error),
        ZipError::InvalidArchive(what) => Error::new(format!("the archive is damaged or cut short: {what}")),
        other => Error::new(format!("the archive cannot be read: {other}")),
    }
}
