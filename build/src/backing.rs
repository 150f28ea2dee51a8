//! Other places that may have what a build would make: another store, a directory, a registry.
//!
//! A build asks them when its own store does not know, takes nothing on trust that can be checked, and goes on
//! without them when they fail: that is a warning, never an error.

mod folder;
mod other;
mod remote;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::action::Action;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::Pin;
use crate::store::{Output, Record, Store, held};

pub use folder::Folder;
pub use other::OtherStore;
pub use remote::{Keys, Mode, Remote};

/// What went wrong with another place.
#[derive(Debug)]
pub enum Trouble {
    /// It cannot be asked; nor will it be again.
    Gone(Error),
    /// What it said is wrong; it may be right another time.
    Wrong(Error),
    /// This machine cannot keep what it gives. The build ends.
    Local(Error),
}

impl Trouble {
    /// A failure to take in what was given.
    fn of_import(error: Error) -> Self {
        if error.is_of_storage() { Self::Local(error) } else { Self::Wrong(error) }
    }
}

/// A place that may have results.
pub trait Backing: Send + Sync {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// What it says that an action made. The record has been checked to be of this action.
    ///
    /// # Errors
    /// When it cannot be asked, or says something wrong.
    fn record(&self, action: &Action) -> Result<Option<Record>, Trouble>;

    /// Puts a tree into the store; says whether it has it. The store checks what it gets.
    ///
    /// # Errors
    /// When it cannot be asked, or gives something else.
    fn tree(&self, digest: Digest, store: &Store) -> Result<bool, Trouble>;

    /// The file of a pin, if it has that. It has been checked.
    fn blob(&self, _pin: &Pin) -> Option<PathBuf> {
        None
    }

    /// Is told what is known here, made just now or before.
    ///
    /// # Errors
    /// When it wanted to keep it and could not.
    fn offer(&self, _record: &Record, _store: &Store) -> Result<(), Trouble> {
        Ok(())
    }
}

/// All that a build may ask, in order.
#[derive(Default)]
pub struct Backings<'a> {
    all: Vec<Backed<'a>>,
    /// Trees that nobody had although somebody said so: what is said to give one is made here.
    missing: Mutex<BTreeSet<Digest>>,
}

struct Backed<'a> {
    place: Box<dyn Backing + 'a>,
    gone: AtomicBool,
    /// It could not keep something; so it is offered nothing more.
    full: AtomicBool,
}

impl<'a> Backings<'a> {
    /// Adds a place, to be asked after those before it.
    pub fn push(&mut self, place: impl Backing + 'a) {
        self.all.push(Backed {
            place: Box::new(place),
            gone: AtomicBool::new(false),
            full: AtomicBool::new(false),
        });
    }

    /// Whether there is nobody to ask.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Asks one after the other until one has it.
    fn first<T>(
        &self,
        what: &str,
        warn: &dyn Fn(String),
        ask: impl Fn(&dyn Backing) -> Result<Option<T>, Trouble>,
    ) -> Result<Option<T>> {
        for one in self.all.iter().filter(|one| !one.gone.load(Ordering::Relaxed)) {
            match ask(&*one.place) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(Trouble::Local(error)) => return Err(error),
                Err(Trouble::Gone(error)) => {
                    if !one.gone.swap(true, Ordering::Relaxed) {
                        warn(format!("going on without {}: {}", one.place.name(), one_line(&error)));
                    }
                }
                Err(Trouble::Wrong(error)) => {
                    warn(format!("{} gives a wrong {what}: {}", one.place.name(), one_line(&error)));
                }
            }
        }
        Ok(None)
    }

    /// What anybody says that an action made.
    ///
    /// # Errors
    /// When this machine cannot keep it.
    pub fn record(&self, action: &Action, warn: &dyn Fn(String)) -> Result<Option<Record>> {
        let what = format!("record of `{}`", action.step);
        let record = self.first(&what, warn, |place| place.record(action))?;
        Ok(record.filter(|record| match record.output {
            Output::Tree { digest } => !held(&self.missing).contains(&digest),
            _ => false,
        }))
    }

    /// Gets a tree into the store from whoever has it; says whether it is there now.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn tree(&self, digest: Digest, step: &str, store: &Store, warn: &dyn Fn(String)) -> Result<bool> {
        let ask = |place: &dyn Backing| Ok(place.tree(digest, store)?.then_some(()));
        let found = self.first(&format!("result of `{step}`"), warn, ask)?.is_some();
        if !found {
            held(&self.missing).insert(digest);
        }
        Ok(found)
    }

    /// The file of a pin, if anybody has that.
    pub fn blob(&self, pin: &Pin) -> Option<PathBuf> {
        self.all.iter().find_map(|one| one.place.blob(pin))
    }

    /// Tells everybody what is known here.
    pub fn offer(&self, record: &Record, store: &Store, warn: &dyn Fn(String)) {
        for one in &self.all {
            if one.gone.load(Ordering::Relaxed) || one.full.load(Ordering::Relaxed) {
                continue;
            }
            if let Err(Trouble::Gone(error) | Trouble::Wrong(error) | Trouble::Local(error)) =
                one.place.offer(record, store)
                && !one.full.swap(true, Ordering::Relaxed)
            {
                warn(format!("{} keeps nothing more: {}", one.place.name(), one_line(&error)));
            }
        }
    }
}

/// A record of this very action: key and all that the key is made of.
fn checked(record: Record, action: &Action) -> Result<Record, Trouble> {
    if record.key == action.key() && record.preimage == action.preimage() {
        return Ok(record);
    }
    Err(Trouble::Wrong(Error::new(format!("expected action `{}` but found `{}`", action.key(), record.key))))
}

/// An error as one line, for a warning.
pub(crate) fn one_line(error: &Error) -> String {
    error.to_string().split("\nhint: ").next().unwrap_or_default().replace("\n  ", ": ")
}
