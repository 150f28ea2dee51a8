//! Directories that an embedder lends to a guest.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use wasmtime_wasi::{FsPerms, WasiCtxBuilder};

use crate::error::{Error, Result};

/// One directory of the embedder that the guest sees under a path of its own.
///
/// Written `HOST::GUEST` or `HOST::GUEST:ro`, where `HOST` is a directory of the embedder and
/// `GUEST` an absolute path in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The directory in the embedder's file system.
    pub embedder_path: PathBuf,
    /// Where the guest sees it: absolute, without a trailing slash, `.` or `..`.
    pub guest_path: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}

const FORM: &str = "a grant is written `HOST::GUEST` or `HOST::GUEST:ro`, such as `./data::/data:ro`";

impl FromStr for Grant {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = |message: String| Error::new(message).hint(FORM);
        let Some((embedder_path, rest)) = text.split_once("::") else {
            return Err(malformed(format!("expected `::` in the grant `{text}`")));
        };
        if embedder_path.is_empty() {
            return Err(malformed(format!("the grant `{text}` names no directory of the embedder")));
        }
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
            return Err(Error::new(format!("the grant `{text}` would hide the guest's root")).hint(hint));
        }
        Ok(Self {
            embedder_path: embedder_path.into(),
            guest_path: format!("/{}", parts.join("/")),
            read_only,
        })
    }
}

impl Grant {
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
            1 => Err(Error::new("1 directory cannot be granted").details(problems)),
            count => Err(Error::new(format!("{count} directories cannot be granted")).details(problems)),
        }
    }

    fn open(&self, wasi: &mut WasiCtxBuilder) -> std::result::Result<(), String> {
        check_directory(&self.embedder_path)?;
        let permissions = if self.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
        let opened = wasi.preopened_dir(&self.embedder_path, &self.guest_path, permissions);
        opened.map(drop).map_err(|error| error.root_cause().to_string())
    }
}

fn check_directory(path: &Path) -> std::result::Result<(), String> {
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err("not a directory".to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("does not exist".to_owned()),
        Err(error) => Err(error.to_string()),
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
    fn says_what_is_wrong() {
        for (text, message) in [
            ("/a:/b", "expected `::` in the grant `/a:/b`"),
            ("::/b", "the grant `::/b` names no directory of the embedder"),
            ("/a::b", "expected an absolute guest path in the grant `/a::b`"),
            ("/a::", "expected an absolute guest path in the grant `/a::`"),
            ("/a::/", "the grant `/a::/` would hide the guest's root"),
            ("/a::/b/../c", "the guest path of the grant `/a::/b/../c` has a `..`"),
            ("/a::/b:r", "expected `ro` or `rw` after the guest path of the grant `/a::/b:r` but found `r`"),
        ] {
            assert_eq!(text.parse::<Grant>().unwrap_err().message(), message);
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
