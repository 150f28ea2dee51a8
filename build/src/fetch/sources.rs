//! What all the indexes and folders have of a project that pip is configured for.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::clients::{self, PipSources};
use super::http::{self, Page};
use super::{Fetcher, local, simple};
use crate::error::{Context, Error, Result};
use crate::file_name::FileName;
use crate::index::{Project, ProjectFile};
use crate::name::PackageName;
use crate::resolve::project_has;

impl Fetcher {
    /// The files of a project in all that pip is configured for; offline, in what of it lies on this machine.
    pub(super) fn ask_sources(&self, name: &PackageName) -> Result<Option<Project>> {
        let mut listed = Vec::new();
        for folder in &self.options.find_links {
            listed.extend(local::files_in(folder, name)?);
        }
        let mut found = !listed.is_empty();
        let sources = match self.pip_sources.get_or_init(clients::pip_sources).clone() {
            Ok(sources) => sources,
            // Without the network pip's indexes are of use only where they are folders.
            Err(_) if self.options.offline || found => PipSources::default(),
            Err(error) => return Err(error),
        };
        for link in &sources.links {
            listed.extend(self.ask_link(name, link)?);
        }
        found |= !listed.is_empty();
        for index in &sources.indexes {
            if let Some(page) = self.ask_index(name, index)? {
                found = true;
                let read = simple::parse(name, &page);
                listed.extend(
                    read.context(|| format!("cannot read the index page `{}`", http::redact(&page.url)))?,
                );
            }
        }
        let mut files: BTreeMap<FileName, ProjectFile> = BTreeMap::new();
        for file in listed {
            // As pip does, indexes are merged; of equal names the first one wins.
            files.entry(file.file.clone()).or_insert_with(|| local::with_digest(file));
        }
        Ok(found.then(|| Project { name: name.clone(), files: files.into_values().collect() }))
    }

    /// The files of a project among the links of pip's configuration: a folder, or a page for all projects.
    fn ask_link(&self, name: &PackageName, link: &str) -> Result<Vec<ProjectFile>> {
        let path = if link.contains("://") { local::path_of(link) } else { Some(PathBuf::from(link)) };
        if let Some(folder) = path.as_ref().filter(|path| path.is_dir()) {
            return local::files_in(folder, name);
        }
        let page = match path {
            Some(path) => match std::fs::read_to_string(&path) {
                Ok(text) => Page { text, url: local::url_of(&path)?, media_type: "text/html".to_owned() },
                // pip, too, only warns of what is not there.
                Err(_) => return Ok(Vec::new()),
            },
            None if self.options.offline => return Ok(Vec::new()),
            None => match self.ask_page(name, link)? {
                Some(page) => page,
                None => return Ok(Vec::new()),
            },
        };
        let files = simple::parse(name, &page)
            .context(|| format!("cannot read the page `{}`", http::redact(&page.url)))?;
        Ok(files.into_iter().filter(|file| project_has(name, &file.file)).collect())
    }

    fn ask_index(&self, name: &PackageName, index: &str) -> Result<Option<Page>> {
        if let Some(folder) = local::path_of(index) {
            return local::page(&folder, name);
        }
        if self.options.offline {
            return Ok(None);
        }
        self.ask_page(name, &format!("{}/{name}/", index.trim_end_matches('/')))
    }

    fn ask_page(&self, name: &PackageName, url: &str) -> Result<Option<Page>> {
        match http::get_text(&self.agent, url, simple::ACCEPT) {
            Ok(page) => Ok(Some(page)),
            Err(refusal) if refusal.missing => Ok(None),
            Err(refusal) => Err(Error::new(format!("cannot look up `{name}` on pip's index"))
                .detail(format!("`{}`: {}", http::redact(url), refusal.why))
                .hint(http::NETWORK_HINT)),
        }
    }
}
