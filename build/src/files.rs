//! Writing, copying and listing files, with errors that name the path.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};

/// Writes a file, making the folders above it.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    let what = || format!("cannot write `{}`", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).context(what)?;
    }
    fs::write(path, content).context(what)
}

/// Writes a file that can be executed.
///
/// # Errors
/// When it cannot be written.
pub fn write_executable(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .context(|| format!("cannot make `{}` executable", path.display()))
}

/// Copies a file, making the folders above its new place; the copy is writable.
///
/// # Errors
/// When it cannot be copied.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let what = || format!("cannot copy `{}` to `{}`", from.display(), to.display());
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).context(what)?;
    }
    fs::copy(from, to).context(what)?;
    let mode = fs::metadata(from).context(what)?.permissions().mode() & 0o111;
    fs::set_permissions(to, fs::Permissions::from_mode(0o644 | mode)).context(what)
}

/// Copies a directory with all that is in it; symbolic links stay such, and `keep` decides by the path
/// below `from` what is copied.
///
/// # Errors
/// When something cannot be copied.
pub fn copy_tree(from: &Path, to: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<()> {
    fs::create_dir_all(to).context(|| format!("cannot create `{}`", to.display()))?;
    for path in files_below(from)? {
        if !keep(&path) {
            continue;
        }
        let (source, target) = (from.join(&path), to.join(&path));
        if source.is_symlink() {
            let link = fs::read_link(&source)?;
            if let Some(folder) = target.parent() {
                fs::create_dir_all(folder)?;
            }
            std::os::unix::fs::symlink(link, &target)
                .context(|| format!("cannot link `{}`", target.display()))?;
        } else {
            copy(&source, &target)?;
        }
    }
    Ok(())
}

/// All files and links below a directory, relative to it and sorted.
///
/// # Errors
/// When a directory cannot be read.
pub fn files_below(root: &Path) -> Result<Vec<PathBuf>> {
    fn walk(root: &Path, below: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
        let folder = root.join(below);
        for entry in fs::read_dir(&folder).context(|| format!("cannot read `{}`", folder.display()))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                walk(root, &path, found)?;
            } else {
                found.push(path);
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(root, Path::new(""), &mut found)?;
    found.sort();
    Ok(found)
}
