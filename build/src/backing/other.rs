//! Another store on this machine, less the steps that are to be made anew.

use std::path::PathBuf;

use super::{Backing, Trouble, checked};
use crate::action::Action;
use crate::digest::Digest;
use crate::fetch::Pin;
use crate::store::{Record, Store};

/// Another store.
pub struct OtherStore<'a> {
    store: &'a Store,
    /// Whether a step's result may be taken from it.
    lends: Box<dyn Fn(&str) -> bool + Send + Sync + 'a>,
}

impl<'a> OtherStore<'a> {
    /// A store that lends the results of some steps and all files of pins.
    pub fn new(store: &'a Store, lends: impl Fn(&str) -> bool + Send + Sync + 'a) -> Self {
        Self { store, lends: Box::new(lends) }
    }
}

impl Backing for OtherStore<'_> {
    fn name(&self) -> String {
        format!("the store `{}`", self.store.root().display())
    }

    fn record(&self, action: &Action) -> Result<Option<Record>, Trouble> {
        if !(self.lends)(&action.step) {
            return Ok(None);
        }
        let record = self.store.record(action.key()).map_err(Trouble::Gone)?;
        record.map(|record| checked(record, action)).transpose()
    }

    fn tree(&self, digest: Digest, store: &Store) -> Result<bool, Trouble> {
        let Some(from) = self.store.tree(digest).map_err(Trouble::Gone)? else { return Ok(false) };
        store.import_copy(&from, digest).map_err(Trouble::of_import)?;
        Ok(true)
    }

    fn blob(&self, pin: &Pin) -> Option<PathBuf> {
        self.store.blob(pin.sha256).ok().flatten()
    }
}
