//! No result tells where it was made: equal inputs would give another result in another place.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use memchr::memmem;

use crate::error::{Context, Error, Result};
use crate::files::files_below;

/// How many files are told of.
const TOLD: usize = 10;

/// Refuses a result whose files or links hold the path of the directory it was made in.
///
/// # Errors
/// Names the files.
pub fn refuse(result: &Path, made_in: &Path) -> Result<()> {
    let path = memmem::Finder::new(made_in.as_os_str().as_bytes());
    let mut found = Vec::new();
    for file in files_below(result)? {
        let whole = result.join(&file);
        let doing = || format!("cannot read `{}`", whole.display());
        let holds = if whole.is_symlink() {
            path.find(fs::read_link(&whole).context(doing)?.as_os_str().as_bytes()).is_some()
        } else {
            path.find(&fs::read(&whole).context(doing)?).is_some()
        };
        if holds {
            found.push(format!("`{}`", file.display()));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    Err(Error::new("the result holds the path of the directory it was made in")
        .details(found)
        .hint("build for another prefix, and install with `DESTDIR` or its like; map paths in debugging information"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_links_that_tell_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        fs::create_dir_all(out.join("lib")).unwrap();
        fs::write(out.join("lib/plain"), b"\0nothing").unwrap();
        std::os::unix::fs::symlink("plain", out.join("lib/link")).unwrap();
        refuse(&out, folder.path()).unwrap();
        fs::write(out.join("lib/x.pc"), format!("prefix={}/out\n", folder.path().display())).unwrap();
        std::os::unix::fs::symlink(out.join("lib/plain"), out.join("a")).unwrap();
        let error = refuse(&out, folder.path()).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "the result holds the path of the directory it was made in\n  `a`\n  `lib/x.pc`\nhint: "
            ),
            "{error}"
        );
    }
}
