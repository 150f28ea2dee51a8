//! What is in a directory, in one order, and the digest of that.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::digest::{Digest, Hasher};
use crate::error::{Context as _, Error, Result};

/// The threads that hash one tree: more gain little, since the disk is read too, and a build has
/// other steps to run.
const THREADS: usize = 2;

/// As many links as Linux follows before it calls them a loop.
const MAX_LINKS: usize = 40;

/// Something in a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative to the directory walked.
    pub(crate) path: PathBuf,
    pub(crate) what: What,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum What {
    Directory,
    /// `executable` by its owner; `shared` if the file has other names (hard links).
    File {
        executable: bool,
        shared: bool,
    },
    Link {
        target: OsString,
    },
}

/// The digest of a directory: of a listing of all that is in it, sorted by the bytes of the path
/// (separated by `/`), after the line `eryx-tree 1`. Each entry ends in a zero byte:
///
/// ```text
/// d <path>                  a directory
/// f <sha256> <path>         a regular file; `x` in place of `f` when its owner may execute it
/// l <length> <target> <path>  a symbolic link; the length of its target in bytes
/// ```
///
/// Times, owners and other modes do not count.
///
/// # Errors
/// When something cannot be read, or is neither a directory, a regular file nor a symbolic link.
pub fn tree_digest(dir: &Path) -> Result<Digest> {
    digest_entries(dir, &walk(dir)?)
}

/// Everything below a directory, sorted by the bytes of the paths. Links are not followed.
pub(crate) fn walk(dir: &Path) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut special = Vec::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(parent) = pending.pop() {
        let doing = || format!("cannot read `{}`", dir.join(&parent).display());
        for entry in fs::read_dir(dir.join(&parent)).context(doing)? {
            let entry = entry.context(doing)?;
            let path = parent.join(entry.file_name());
            let doing = || format!("cannot read `{}`", dir.join(&path).display());
            let metadata = entry.metadata().context(doing)?;
            let what = if metadata.is_dir() {
                pending.push(path.clone());
                What::Directory
            } else if metadata.is_file() {
                let executable = metadata.permissions().mode() & 0o100 != 0;
                What::File { executable, shared: metadata.nlink() > 1 }
            } else if metadata.is_symlink() {
                let target = fs::read_link(dir.join(&path)).context(doing)?;
                What::Link { target: target.into_os_string() }
            } else {
                special.push(format!("`{}`", path.display()));
                continue;
            };
            entries.push(Entry { path, what });
        }
    }
    if !special.is_empty() {
        special.sort();
        return Err(Error::new(format!(
            "`{}` has something other than directories, regular files and symbolic links",
            dir.display()
        ))
        .details(special));
    }
    entries.sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
    Ok(entries)
}

pub(crate) fn digest_entries(dir: &Path, entries: &[Entry]) -> Result<Digest> {
    let mut digests = hash_files(dir, entries)?;
    let mut listing = Hasher::new();
    listing.update(b"eryx-tree 1\n");
    for entry in entries {
        match &entry.what {
            What::Directory => listing.update(b"d "),
            What::File { executable, .. } => {
                let digest = digests
                    .pop_front()
                    .ok_or_else(|| Error::new(format!("`{}` was not hashed", entry.path.display())))?;
                listing.update(if *executable { b"x " } else { b"f " });
                listing.update(format!("{digest} ").as_bytes());
            }
            What::Link { target } => {
                listing.update(format!("l {} ", target.len()).as_bytes());
                listing.update(target.as_bytes());
                listing.update(b" ");
            }
        }
        listing.update(entry.path.as_os_str().as_bytes());
        listing.update(b"\0");
    }
    Ok(listing.finish().0)
}

/// The digests of the regular files, in their order.
fn hash_files(dir: &Path, entries: &[Entry]) -> Result<VecDeque<Digest>> {
    let files: Vec<&Entry> = entries.iter().filter(|entry| matches!(entry.what, What::File { .. })).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = files.get(index) else { return Ok::<_, Error>(done) };
            done.push((index, Digest::of_file(&dir.join(&entry.path))?.0));
        }
    };
    let mut done = std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..THREADS.min(files.len())).map(|_| scope.spawn(work)).collect();
        let mut done: Vec<(usize, Digest)> = work()?;
        for helper in helpers {
            done.extend(helper.join().map_err(|_| Error::new("a thread that hashes files panicked"))??);
        }
        Ok::<_, Error>(done)
    })?;
    done.sort_unstable_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, digest)| digest).collect())
}

/// Those of the links at `paths` below `dir` that lead, or would lead if everything they name
/// existed, out of it; as lines `path -> target`.
pub(crate) fn links_leading_out<'a>(dir: &Path, paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
    paths
        .filter_map(|path| {
            let target = fs::read_link(dir.join(path)).ok()?;
            leads_out(dir, path, &target).then(|| format!("`{}` -> `{}`", path.display(), target.display()))
        })
        .collect()
}

/// Whether a link at `path` below `dir` leads out, following the links on its way as the kernel
/// would. A purely textual check is not enough: `a/link/..` is not `a` when `link` leads elsewhere.
fn leads_out(dir: &Path, path: &Path, target: &Path) -> bool {
    let mut here: Vec<OsString> =
        path.parent().map(|parent| parent.iter().map(OsStr::to_owned).collect()).unwrap_or_default();
    let mut ahead: VecDeque<OsString> = VecDeque::new();
    let mut links = 0;
    let mut enqueue = |ahead: &mut VecDeque<OsString>, target: &Path| {
        links += 1;
        for component in target.components().rev() {
            match component {
                Component::CurDir => {}
                Component::RootDir | Component::Prefix(_) => return false,
                Component::ParentDir | Component::Normal(_) => {
                    ahead.push_front(component.as_os_str().to_owned());
                }
            }
        }
        links <= MAX_LINKS
    };
    if !enqueue(&mut ahead, target) {
        return true;
    }
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            if here.pop().is_none() {
                return true;
            }
            continue;
        }
        here.push(name);
        // Absent or not a link: it leads where its name says.
        if let Ok(target) = fs::read_link(dir.join(here.iter().collect::<PathBuf>())) {
            here.pop();
            // A loop leads nowhere, which is as good as inside.
            if !enqueue(&mut ahead, &target) {
                return target.is_absolute();
            }
        }
    }
    false
}
