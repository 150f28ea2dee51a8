//! Files and index pages of this machine: `file:` addresses, and folders of wheels.

use std::path::{Path, PathBuf};

use url::Url;

use super::http::Page;
use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::file_name::FileName;
use crate::index::ProjectFile;
use crate::name::PackageName;
use crate::resolve::project_has;

/// The path that a `file:` address names; nothing for other addresses.
pub(super) fn path_of(url: &str) -> Option<PathBuf> {
    let url = Url::parse(url).ok()?;
    if url.scheme() == "file" { url.to_file_path().ok() } else { None }
}

/// The `file:` address of a path.
pub(super) fn url_of(path: &Path) -> Result<String> {
    let absolute = std::path::absolute(path)?;
    let url = Url::from_file_path(&absolute);
    Ok(url.map_err(|()| Error::new(format!("`{}` has no address", absolute.display())))?.to_string())
}

/// The page of a project in an index that is a folder, as pip reads it; nothing when there is none.
pub(super) fn page(index: &Path, project: &PackageName) -> Result<Option<Page>> {
    let path = index.join(project.as_str()).join("index.html");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Page { text, url: url_of(&path)?, media_type: "text/html".to_owned() })),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error).context(format!("cannot read `{}`", path.display()))),
    }
}

/// The files of a project in a folder, by name.
///
/// # Errors
/// When the folder or one of these files cannot be read.
pub(super) fn files_in(folder: &Path, project: &PackageName) -> Result<Vec<ProjectFile>> {
    let what = || format!("cannot read `{}`", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).context(what)? {
        let entry = entry.context(what)?;
        // A name that is no text is the name of no wheel.
        let Some(file) = entry.file_name().into_string().ok().and_then(|file| FileName::new(file).ok())
        else {
            continue;
        };
        if project_has(project, &file) {
            let url = url_of(&entry.path())?;
            files.push(with_digest(ProjectFile::new(project.clone(), file, url)));
        }
    }
    files.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(files)
}

/// A listed file with the digest of its bytes, if it lies on this machine and the page gives none.
pub(super) fn with_digest(mut file: ProjectFile) -> ProjectFile {
    if file.sha256.is_none()
        && let Some(path) = path_of(&file.url)
        && let Ok((sha256, size)) = Digest::of_file(&path)
    {
        (file.sha256, file.size) = (Some(sha256), Some(size));
    }
    file
}
