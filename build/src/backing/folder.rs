//! Results in a directory, as `vendor` writes them for steps that use the network: a mirror of files has no place
//! for crates, which cargo fetches by itself.
//!
//! ```text
//! <directory>/<step>-<key>.json      the record
//! <directory>/<step>-<key>.tar.zst   the tree
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::{Backing, Trouble, checked};
use crate::action::Action;
use crate::digest::Digest;
use crate::error::{Context as _, Error, Result};
use crate::layout::file_name;
use crate::store::{Output, Record, Store};

/// A directory with results.
pub struct Folder {
    path: PathBuf,
    /// The archives of trees that a record named.
    named: std::sync::Mutex<std::collections::BTreeMap<Digest, PathBuf>>,
}

impl Folder {
    /// A directory, which need not have any.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), named: std::sync::Mutex::default() }
    }

    fn stem(&self, step: &str, key: Digest) -> PathBuf {
        self.path.join(format!("{}-{}", file_name(step), key.short()))
    }

    /// Writes what an action made. The archive comes first, and each file is whole or not there.
    ///
    /// # Errors
    /// When the store does not have it, or it cannot be written.
    pub fn write(&self, record: &Record, store: &Store) -> Result<()> {
        let Output::Tree { digest } = record.output else { return Ok(()) };
        let stem = self.stem(&record.step, record.key);
        let doing = || format!("cannot write to `{}`", self.path.display());
        let place = |suffix: &str, fill: &mut dyn FnMut(&mut fs::File) -> Result<()>| -> Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.path).context(doing)?;
            fill(file.as_file_mut())?;
            file.as_file().sync_all().context(doing)?;
            file.persist(stem.with_added_extension(suffix)).map_err(|error| error.error).context(doing)?;
            Ok(())
        };
        place("tar.zst", &mut |file| match store.pack(digest, file)? {
            true => Ok(()),
            false => Err(Error::new(format!("the result of `{}` is not in the store", record.step))),
        })?;
        let text = serde_json::to_vec_pretty(record).map_err(|error| Error::new(error.to_string()))?;
        place("json", &mut |file| std::io::Write::write_all(file, &text).context(doing))
    }
}

impl Backing for Folder {
    fn name(&self) -> String {
        format!("`{}`", self.path.display())
    }

    fn record(&self, action: &Action) -> Result<Option<Record>, Trouble> {
        let stem = self.stem(&action.step, action.key());
        let path = stem.with_added_extension("json");
        let Ok(text) = fs::read(&path) else { return Ok(None) };
        let record: Record = serde_json::from_slice(&text)
            .map_err(|error| Trouble::Wrong(Error::new(format!("`{}`: {error}", path.display()))))?;
        let record = checked(record, action)?;
        if let Output::Tree { digest } = record.output {
            crate::store::held(&self.named).insert(digest, stem.with_added_extension("tar.zst"));
        }
        Ok(Some(record))
    }

    fn tree(&self, digest: Digest, store: &Store) -> Result<bool, Trouble> {
        let Some(path) = crate::store::held(&self.named).get(&digest).cloned() else { return Ok(false) };
        store.import_packed(&path, digest).map_err(Trouble::of_import)?;
        Ok(true)
    }
}
