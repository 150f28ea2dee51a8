//! Every path we use outside the store's own folders, in one place.
//!
//! ```text
//! <cache>/                  ERYX_CACHE, or eryx-build in the platform's cache directory
//!   CACHEDIR.TAG  v1/       the store (see `store`)
//!   work/<step>-<key>/      where a step runs; kept when it fails
//!   log/<step>-<key>.log    what its commands printed
//!   compiled/               machine code of components, keyed by component and engine
//! <checkout>/
//!   recipes/ sysroot/ runtime/ eryx.lock
//!   dist/                   finished components
//! ```

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The paths of one invocation.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The root of everything cached; safe to delete.
    pub cache: PathBuf,
    /// The checkout that recipes, sysroot sources and the runtime are read from.
    pub checkout: PathBuf,
    /// Where finished components are put.
    pub dist: PathBuf,
}

impl Layout {
    /// Finds the cache from `ERYX_CACHE`, `XDG_CACHE_HOME` or `HOME`, and the checkout from `ERYX_CHECKOUT`
    /// or by walking up from the current directory.
    ///
    /// # Errors
    /// When no checkout is found, or no variable names a cache.
    pub fn discover() -> Result<Self> {
        let here = std::env::current_dir()?;
        let checkout = match path_variable("ERYX_CHECKOUT") {
            Some(path) => path,
            None => here
                .ancestors()
                .find(|folder| folder.join("recipes").is_dir() && folder.join("sysroot").is_dir())
                .ok_or_else(|| {
                    Error::new(format!(
                        "expected `recipes` and `sysroot` in `{}` or above it",
                        here.display()
                    ))
                    .hint("run inside a checkout of eryx-wasm-runtime, or set `ERYX_CHECKOUT` to one")
                })?
                .to_owned(),
        };
        let cache = Self::cache_folder()?;
        check_cache(&cache)?;
        Ok(Self { dist: checkout.join("dist"), cache, checkout })
    }

    /// The root of everything cached; an absolute path.
    ///
    /// # Errors
    /// When no variable names one.
    pub fn cache_folder() -> Result<PathBuf> {
        let cache = path_variable("ERYX_CACHE")
            .or_else(|| path_variable("XDG_CACHE_HOME").map(|folder| folder.join("eryx-build")))
            .or_else(|| path_variable("HOME").map(|folder| folder.join(".cache/eryx-build")))
            .ok_or_else(|| Error::new("no cache directory").hint("set `ERYX_CACHE` to a directory"))?;
        Ok(std::path::absolute(cache)?)
    }

    /// Where a step's commands run.
    #[must_use]
    pub fn work(&self, step: &str) -> PathBuf {
        self.cache.join("work").join(file_name(step))
    }

    /// Where a step's commands are logged.
    #[must_use]
    pub fn log(&self, step: &str) -> PathBuf {
        self.cache.join("log").join(format!("{}.log", file_name(step)))
    }

    /// The folder of compiled machine code.
    #[must_use]
    pub fn compiled(&self) -> PathBuf {
        self.cache.join("compiled")
    }

    /// The folder of recipes.
    #[must_use]
    pub fn recipes(&self) -> PathBuf {
        self.checkout.join("recipes")
    }

    /// The lock file of wheels.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.checkout.join("eryx.lock")
    }
}

/// Refuses a cache whose path the build systems of packages do not take: they run in it, and put it into shell
/// scripts and makefiles.
fn check_cache(cache: &Path) -> Result<()> {
    let allowed = |letter: char| letter.is_alphanumeric() || "/._-+@".contains(letter);
    let text = cache.to_str();
    let problem = match text.map(|text| text.chars().find(|letter| !allowed(*letter))) {
        None => "it is no UTF-8".to_owned(),
        Some(Some(letter)) => format!("it has the character `{}`", letter.escape_debug()),
        Some(None) => return Ok(()),
    };
    Err(Error::new(format!("packages cannot be built in the cache `{}`: {problem}", cache.display()))
        .hint("set `ERYX_CACHE` to a directory whose path has letters, digits and `/._-+@` only"))
}

fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The file in a kept work directory that holds the command that failed.
pub const FAILED: &str = "failed-command.json";

/// A step's name as a file name: what is not a letter, a digit, a dot or a dash becomes a dash.
#[must_use]
pub fn file_name(step: &str) -> String {
    step.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect()
}

/// A path as text; paths that are no UTF-8 are shown with replacement characters.
#[must_use]
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
