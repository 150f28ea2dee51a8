//! Small work on files that the store and the archive reader share.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::error::Error;

/// The modification time of everything unpacked or stored, in seconds since 1970: the beginning of
/// 1980, the earliest a zip archive can express. One time for all, since `make` takes files of the
/// same age for up to date and since the time of an import must not become part of a result.
pub(crate) const MTIME: i64 = 315_532_800;

/// Sets the modification and access times of a file, directory or link (not what it leads to) to
/// [`MTIME`].
pub(crate) fn set_mtime(path: &Path) -> io::Result<()> {
    let time = Timespec { tv_sec: MTIME, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// The error for a failure to write at or below `place`: when the file system is full, it names the
/// file system and says what can be done.
pub(crate) fn write_error(doing: &str, place: &Path, error: io::Error) -> Error {
    let limit = match error.kind() {
        io::ErrorKind::StorageFull => "is full",
        io::ErrorKind::QuotaExceeded => "is full for this user (quota)",
        _ => return Error::from(error).context(doing).of_storage(),
    };
    Error::new(format!("{doing}: the file system at `{}` {limit}", mount_point(place).display()))
        .hint("free some space, or set `ERYX_CACHE` to a directory on a larger file system")
        .of_storage()
}

/// The topmost directory on the file system of `place`.
fn mount_point(place: &Path) -> PathBuf {
    let existing = place.ancestors().find_map(|ancestor| fs::canonicalize(ancestor).ok());
    let Some(mut top) = existing else { return place.to_owned() };
    while let Some(parent) = top.parent() {
        match (fs::metadata(&top), fs::metadata(parent)) {
            (Ok(here), Ok(above)) if here.dev() == above.dev() => top = parent.to_owned(),
            _ => break,
        }
    }
    top
}

/// Removes a file or a directory with all that is in it, whatever the modes; returns the bytes of
/// the files removed. That it is gone already is no error.
pub(crate) fn remove(path: &Path) -> io::Result<u64> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut freed = 0;
    if metadata.is_dir() {
        if metadata.permissions().mode() & 0o700 != 0o700 {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
        }
        for entry in fs::read_dir(path)? {
            freed += remove(&entry?.path())?;
        }
        ignore_missing(fs::remove_dir(path))?;
    } else {
        freed = metadata.len();
        ignore_missing(fs::remove_file(path))?;
    }
    Ok(freed)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Puts a directory itself (the names in it) on disk.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
