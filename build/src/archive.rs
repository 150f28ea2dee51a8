//! Unpacks archives that may be hostile.
//!
//! An archive is unpacked into a fresh folder beside the target and renamed when it is complete and
//! every link in it has been looked at; what fails leaves nothing. Only directories, regular files
//! and links appear; nothing is written through a link. Modes become 0644 or 0755, and every file
//! gets the same time, so that what comes out depends on the bytes of the archive alone.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context as _, Error, Result};
use crate::store::write_error;

mod deb;
mod tarball;
mod target;
mod zipped;

use target::Target;

/// What to unpack, and how much of it at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpack {
    /// How many leading components to take off each path; what has no more than these is left out.
    pub strip: usize,
    /// The files and folders to unpack, as paths after `strip`; when empty, everything.
    pub only: Vec<String>,
    /// The most bytes that the unpacked files may have together.
    pub max_bytes: u64,
    /// The most files, folders and links that may be unpacked.
    pub max_entries: u64,
}

impl Default for Unpack {
    /// Everything, up to 8 GiB and half a million entries.
    fn default() -> Self {
        Self { strip: 0, only: Vec::new(), max_bytes: 8 << 30, max_entries: 500_000 }
    }
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unpacked {
    /// The number of files, folders and links.
    pub entries: u64,
    /// The bytes of the files.
    pub bytes: u64,
}

/// How the bytes of a tar archive are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Tar(Compression),
    Zip,
    Deb,
}

/// The names of archives, by their ends.
const FORMATS: [(&str, Format); 10] = [
    (".tar.gz", Format::Tar(Compression::Gzip)),
    (".tgz", Format::Tar(Compression::Gzip)),
    (".crate", Format::Tar(Compression::Gzip)),
    (".tar.bz2", Format::Tar(Compression::Bzip2)),
    (".tar.xz", Format::Tar(Compression::Xz)),
    (".tar.zst", Format::Tar(Compression::Zstd)),
    (".tar", Format::Tar(Compression::None)),
    (".zip", Format::Zip),
    (".whl", Format::Zip),
    (".deb", Format::Deb),
];

/// Unpacks the archive at `archive` into the folder `into`; `name` is the archive's file name,
/// whose end says which format it has. `into` is made with its parents; if it is there, what is
/// unpacked joins what it has, and must not replace any of it.
///
/// # Errors
/// When the archive is damaged or cut short, has an entry that leads out of `into` or is neither a
/// folder, a file nor a link, has a path twice, has less than `options` name or more than they
/// allow; when something cannot be written. `into` is then as it was.
pub fn unpack(archive: &Path, name: &str, into: &Path, options: &Unpack) -> Result<Unpacked> {
    unpack_into(archive, name, into, options).context(|| format!("cannot unpack `{name}`"))
}

fn unpack_into(archive: &Path, name: &str, into: &Path, options: &Unpack) -> Result<Unpacked> {
    let Some((_, format)) = FORMATS.iter().find(|(end, _)| name.ends_with(end)) else {
        let ends: Vec<String> = FORMATS.iter().map(|(end, _)| format!("`{end}`")).collect();
        return Err(Error::new("its name does not tell its format")
            .detail(format!("expected a name ending in one of {}", ends.join(", "))));
    };
    let file = File::open(archive).context(|| format!("cannot read `{}`", archive.display()))?;
    // Without a `.` or `/` at the end, of which there may be one when the caller joins paths.
    let into: &Path = &into.components().collect::<PathBuf>();
    let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let full = |error| write_error(&format!("cannot write `{}`", into.display()), parent, error);
    fs::create_dir_all(parent).map_err(full)?;
    let fresh = tempfile::Builder::new().prefix(".unpack-").tempdir_in(parent).map_err(full)?;
    let mut target = Target::new(fresh.path(), options);
    match *format {
        Format::Tar(compression) => tarball::unpack(file, compression, &mut target)?,
        Format::Zip => zipped::unpack(file, &mut target)?,
        Format::Deb => deb::unpack(file, &mut target)?,
    }
    let unpacked = target.finish()?;
    fs::set_permissions(fresh.path(), fs::Permissions::from_mode(0o755)).map_err(full)?;
    // Renaming onto an empty folder replaces it.
    match fs::rename(fresh.path(), into) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            let mut moves = Vec::new();
            let mut taken = Vec::new();
            plan_merge(fresh.path(), into, &mut moves, &mut taken).map_err(full)?;
            if !taken.is_empty() {
                taken.sort();
                return Err(Error::new("it would replace what is there").details(taken));
            }
            for (done, (from, to)) in moves.iter().enumerate() {
                if let Err(error) = fs::rename(from, to) {
                    for (from, to) in moves.iter().take(done) {
                        // The first failure is the one to tell.
                        let _ = fs::rename(to, from);
                    }
                    return Err(full(error));
                }
            }
        }
        result => result.map_err(full)?,
    }
    Ok(unpacked)
}

/// Finds what to move so that the content of `from` joins that of `to`, and what stands in the way.
fn plan_merge(
    from: &Path,
    to: &Path,
    moves: &mut Vec<(PathBuf, PathBuf)>,
    taken: &mut Vec<String>,
) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let destination = to.join(entry.file_name());
        match fs::symlink_metadata(&destination) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => moves.push((entry.path(), destination)),
            Err(error) => return Err(error),
            Ok(there) if there.is_dir() && entry.file_type()?.is_dir() => {
                plan_merge(&entry.path(), &destination, moves, taken)?;
            }
            Ok(_) => taken.push(format!("`{}`", destination.display())),
        }
    }
    Ok(())
}

/// The error for a failure to read from an archive.
fn damaged(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => truncated(),
        _ => Error::new(format!("the archive is damaged: {error}")),
    }
}

/// The error for an archive that ends too early.
fn truncated() -> Error {
    Error::new("the archive is cut short").hint("fetch it again")
}
