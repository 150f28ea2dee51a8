//! Directories that an embedder lends to a guest.

#[cfg(target_os = "linux")]
use std::path::Component;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::error::Error as Message;
use crate::failure::{Error, Result};
use crate::setters::setters;

/// One directory of the embedder that the guest sees under a path of its own.
///
/// Written `HOST::GUEST` or `HOST::GUEST:ro`, where `HOST` is a directory of the embedder and `GUEST` an absolute path in
/// the guest; without `::GUEST`, the guest sees it under its own absolute path.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Grant {
    /// The directory in the embedder's file system. None of its components may be a symbolic link: guests may make links
    /// in what they can write, and lead a later grant elsewhere by them.
    pub embedder_path: PathBuf,
    /// Where the guest sees it: absolute, without a trailing slash, `.` or `..`.
    pub guest_path: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}

const FORM: &str =
    "a grant is written `HOST`, `HOST:ro`, `HOST::GUEST` or `HOST::GUEST:ro`, such as `./data::/data:ro`";

impl FromStr for Grant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = |message: String| Error::Malformed(Message::new(message).hint(FORM));
        if text.is_empty() || text.starts_with(':') {
            return Err(malformed(format!("the grant `{text}` names no directory of the embedder")));
        }
        let own;
        let (embedder_path, rest) = match text.split_once("::") {
            Some(parts) => parts,
            None => {
                let (path, mode) = match text.rsplit_once(':') {
                    Some((path, mode @ ("ro" | "rw"))) => (path, mode),
                    _ => (text, "rw"),
                };
                if path.contains(':') {
                    return Err(malformed(format!("expected `::` in the grant `{text}`")));
                }
                let guest = own_path(path).filter(|guest| !guest.contains(':'));
                let message =
                    || format!("the directory of the grant `{text}` has no path that a guest can have");
                own = format!("{}:{mode}", guest.ok_or_else(|| malformed(message()))?);
                (path, own.as_str())
            }
        };
        let (guest, read_only) = match rest.split_once(':') {
            None => (rest, false),
            Some((guest, "ro")) => (guest, true),
            Some((guest, "rw")) => (guest, false),
            Some((_, mode)) => {
                return Err(malformed(format!(
                    "expected `ro` or `rw` after the guest path of the grant `{text}` but found `{mode}`"
                )));
            }
        };
        if !guest.starts_with('/') {
            return Err(malformed(format!("expected an absolute guest path in the grant `{text}`")));
        }
        let parts: Vec<_> = guest.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if parts.contains(&"..") {
            return Err(malformed(format!("the guest path of the grant `{text}` has a `..`")));
        }
        if parts.is_empty() {
            let hint =
                "the root is the component's own file tree: choose a directory below it, such as `/data`";
            let message = Message::new(format!("the grant `{text}` would hide the guest's root"));
            return Err(Error::Malformed(message.hint(hint)));
        }
        Ok(Self {
            embedder_path: embedder_path.into(),
            guest_path: format!("/{}", parts.join("/")),
            read_only,
        })
    }
}

/// The absolute path of a directory, without `.` and `..`; none that a guest could not have.
fn own_path(path: &str) -> Option<String> {
    let path = std::path::absolute(path).ok()?;
    let path = if path.components().any(|part| part == std::path::Component::ParentDir) {
        path.canonicalize().ok()?
    } else {
        path
    };
    path.to_str().map(str::to_owned)
}

setters!(Grant { read_only: bool });

impl Grant {
    /// Lends `embedder_path` under `guest_path`, which is absolute, for reading and writing.
    ///
    /// # Errors
    /// When the path in the guest is none for a grant.
    pub fn new(embedder_path: impl Into<PathBuf>, guest_path: &str) -> Result<Self> {
        let mut grant: Self = format!(".::{guest_path}").parse()?;
        grant.embedder_path = embedder_path.into();
        Ok(grant)
    }

    /// Opens all grants for an instance.
    ///
    /// # Errors
    /// One error with every directory that cannot be granted and why.
    pub(super) fn open_all(grants: &[Self], wasi: &mut WasiCtxBuilder) -> Result<()> {
        let mut problems = Vec::new();
        for (index, grant) in grants.iter().enumerate() {
            if grants.iter().take(index).any(|earlier| earlier.guest_path == grant.guest_path) {
                problems.push(format!("`{}` is granted twice", grant.guest_path));
            } else if let Err(problem) = grant.open(wasi) {
                problems.push(format!("`{}`: {problem}", grant.embedder_path.display()));
            }
        }
        match problems.len() {
            0 => Ok(()),
            1 => Err(Error::Grants(Message::new("1 directory cannot be granted").details(problems))),
            count => {
                let message = Message::new(format!("{count} directories cannot be granted"));
                Err(Error::Grants(message.details(problems)))
            }
        }
    }

    fn open(&self, wasi: &mut WasiCtxBuilder) -> std::result::Result<(), String> {
        let directory = resolve(&self.embedder_path)?;
        let permissions = if self.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        let opened = wasi.preopened_dir(directory.path(), &self.guest_path, permissions);
        opened.map(drop).map_err(|error| error.root_cause().to_string())
    }
}

/// A directory that was found, and stays the same one whatever becomes of its path.
struct Found {
    #[cfg(not(target_os = "linux"))]
    path: PathBuf,
    #[cfg(target_os = "linux")]
    directory: std::os::fd::OwnedFd,
}

impl Found {
    #[cfg(target_os = "linux")]
    fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        format!("/proc/self/fd/{}", self.directory.as_raw_fd()).into()
    }

    #[cfg(not(target_os = "linux"))]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

/// Finds a directory without following symbolic links: a guest that could write to one on the way has made them perhaps.
#[cfg(target_os = "linux")]
fn resolve(path: &Path) -> std::result::Result<Found, String> {
    use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
    let mut way = PathBuf::new();
    let mut directory = None;
    // A path may be empty, or begin where we are.
    for component in std::iter::once(Component::CurDir).chain(path.components()) {
        way.push(component);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match &directory {
            None => openat(CWD, component.as_os_str(), flags, Mode::empty()),
            Some(parent) => openat(parent, component.as_os_str(), flags, Mode::empty()),
        };
        let opened = opened.map_err(|error| match error {
            rustix::io::Errno::NOENT => "does not exist".to_owned(),
            rustix::io::Errno::NOTDIR => "not a directory".to_owned(),
            error => error.to_string(),
        })?;
        let kind = fstat(&opened).map(|stat| FileType::from_raw_mode(stat.st_mode));
        match kind.map_err(|error| error.to_string())? {
            FileType::Directory => directory = Some(opened),
            FileType::Symlink => return Err(link(&way, path)),
            _ => return Err("not a directory".to_owned()),
        }
    }
    directory.map(|directory| Found { directory }).ok_or_else(|| "does not exist".to_owned())
}

#[cfg(not(target_os = "linux"))]
fn resolve(path: &Path) -> std::result::Result<Found, String> {
    for way in path.ancestors().filter(|way| !way.as_os_str().is_empty()) {
        match way.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if metadata.is_symlink() => return Err(link(way, path)),
            Ok(_) => return Err("not a directory".to_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err("does not exist".to_owned());
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(Found { path: path.to_owned() })
}

/// What is said of a symbolic link on the way to a directory.
fn link(link: &Path, path: &Path) -> String {
    let link = link.strip_prefix(".").unwrap_or(link).display();
    match path.canonicalize() {
        Ok(target) => format!(
            "`{link}` is a symbolic link, which a guest may have made; grant `{}` if that is meant",
            target.display()
        ),
        Err(_) => format!("`{link}` is a symbolic link, which a guest may have made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_normalises() {
        let grant: Grant = "some dir::/data//x/./y/:ro".parse().unwrap();
        let expected =
            Grant { embedder_path: "some dir".into(), guest_path: "/data/x/y".to_owned(), read_only: true };
        assert_eq!(grant, expected);
        assert!(!".::/d".parse::<Grant>().unwrap().read_only);
        assert!(!".::/d:rw".parse::<Grant>().unwrap().read_only);
    }

    #[test]
    fn alone_a_directory_has_its_own_path() {
        let here = std::env::current_dir().unwrap();
        for (text, guest, read_only) in [
            (".", here.clone(), false),
            ("./a/../src:ro", here.join("src"), true),
            ("src/", here.join("src"), false),
            ("/nonexistent/x:rw", "/nonexistent/x".into(), false),
        ] {
            let text = text.replace("a/../", "src/../");
            let grant: Grant = text.parse().unwrap();
            assert_eq!(
                (grant.guest_path.as_str(), grant.read_only),
                (guest.to_str().unwrap(), read_only),
                "{text}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, message) in [
            ("/a:/b", "expected `::` in the grant `/a:/b`"),
            ("a:ro:rw", "expected `::` in the grant `a:ro:rw`"),
            ("", "the grant `` names no directory of the embedder"),
            ("/", "the grant `/` would hide the guest's root"),
            (
                "../nonexistent/..",
                "the directory of the grant `../nonexistent/..` has no path that a guest can have",
            ),
            ("::/b", "the grant `::/b` names no directory of the embedder"),
            ("/a::b", "expected an absolute guest path in the grant `/a::b`"),
            ("/a::", "expected an absolute guest path in the grant `/a::`"),
            ("/a::/", "the grant `/a::/` would hide the guest's root"),
            ("/a::/b/../c", "the guest path of the grant `/a::/b/../c` has a `..`"),
            ("/a::/b:r", "expected `ro` or `rw` after the guest path of the grant `/a::/b:r` but found `r`"),
        ] {
            let error = text.parse::<Grant>().unwrap_err().to_string();
            assert_eq!(error.lines().next(), Some(message));
        }
    }

    #[test]
    fn every_bad_directory_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let grants: Vec<Grant> =
            ["/nonexistent-1::/a".to_owned(), format!("{}::/b", file.path().display()), ".::/a".to_owned()]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
        let error = Grant::open_all(&grants, &mut WasiCtxBuilder::new()).unwrap_err();
        let expected = format!(
            "3 directories cannot be granted\n  `/nonexistent-1`: does not exist\n  `{}`: not a directory\n  `/a` is granted twice",
            file.path().display()
        );
        assert_eq!(error.to_string(), expected);
    }
}
