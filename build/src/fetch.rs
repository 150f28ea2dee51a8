//! Gets the bytes of a pin from any origin that yields them.
//!
//! A pin is a file name and a SHA-256; where the bytes come from never matters. Every origin is streamed into
//! a temporary file and checked before one byte reaches the caller, so an origin that is missing, broken or
//! lying costs only the time until the next one is tried. No registry is named here: projects are found
//! through pip's configuration, Debian pool files through apt's and crates through cargo's.

mod clients;
pub(crate) mod http;
mod local;
mod simple;
mod sources;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tempfile::NamedTempFile;

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::file_name::FileName;
use crate::index::Project;
use crate::invocation::verb;
use crate::name::PackageName;

use self::clients::PipSources;

/// A place that may have the bytes of a pin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A file of a project on the indexes that pip is configured for (the simple repository API, PEP 503 and
    /// PEP 691).
    Pypi {
        /// The project, in any spelling.
        project: String,
        /// The file name as the index lists it.
        file: String,
    },
    /// A file of the archives that apt is configured for, or of the base addresses in `ERYX_DEBIAN_MIRROR`.
    Debian {
        /// The path below an archive's base address, such as `pool/main/z/zlib/zlib_1.3.1.orig.tar.gz`.
        path: String,
    },
    /// A crate of the registry that cargo is configured for.
    Crate {
        /// The crate's name.
        name: String,
        /// The crate's exact version.
        version: String,
    },
    /// An `http` or `https` address.
    Url(String),
}

/// A file that is known by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The file name; used to find it in a mirror and in messages.
    pub file: FileName,
    /// The digest of the bytes.
    pub sha256: Digest,
    /// The number of bytes, where it is known.
    pub size: Option<u64>,
    /// Where to look, in this order.
    pub origins: Vec<Origin>,
}

/// How to fetch.
#[derive(Clone, Debug, Default)]
pub struct FetchOptions {
    /// Make no network request; only the mirror is looked at.
    pub offline: bool,
    /// A directory of files by name that is looked at before any origin.
    pub mirror: Option<PathBuf>,
    /// Where temporary files go; the system's directory for them when absent.
    pub scratch: Option<PathBuf>,
    /// Folders whose files belong to the projects of pip's indexes, as pip's `--find-links` has it.
    pub find_links: Vec<PathBuf>,
}

/// Fetches pins and asks package indexes; one value serves all threads and remembers what it has asked.
pub struct Fetcher {
    options: FetchOptions,
    agent: ureq::Agent,
    pip_sources: OnceLock<Result<PipSources>>,
    debian_archives: OnceLock<Result<Vec<String>>>,
    projects: Mutex<BTreeMap<PackageName, Option<Arc<Project>>>>,
    /// Files that were downloaded whole only to read their metadata: the download that follows is free.
    kept: Mutex<BTreeMap<Digest, Arc<NamedTempFile>>>,
    /// Files of the user's by what they hold.
    given: Mutex<BTreeMap<Digest, PathBuf>>,
}

/// Why an attempt failed: the origin's fault, so that the next one is tried, or ours, so that none is.
enum Failure {
    Origin(String),
    Local(Error),
}

impl Fetcher {
    /// A fetcher; nothing is asked until something is fetched.
    #[must_use]
    pub fn new(options: FetchOptions) -> Self {
        Self {
            options,
            agent: http::agent(),
            pip_sources: OnceLock::new(),
            debian_archives: OnceLock::new(),
            projects: Mutex::default(),
            kept: Mutex::default(),
            given: Mutex::default(),
        }
    }

    /// Names a file of this machine that had these bytes; it is looked at before any origin, and checked like one.
    pub fn give(&self, sha256: Digest, path: PathBuf) {
        lock(&self.given).insert(sha256, path);
    }

    /// Whether network requests are forbidden.
    #[must_use]
    pub fn offline(&self) -> bool {
        self.options.offline
    }

    /// Writes the bytes of `pin` to `sink`, which receives nothing until their digest and size are checked.
    ///
    /// `progress` is told the number of bytes that have arrived and, where known, of all; it starts again from
    /// zero when another origin is tried.
    ///
    /// # Errors
    /// When no origin has the bytes (the error lists each with its own failure), or on a local failure such as
    /// a full disk.
    pub fn download(
        &self,
        pin: &Pin,
        sink: &mut dyn Write,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<()> {
        let kept = lock(&self.kept).get(&pin.sha256).cloned();
        let mut file = match kept {
            Some(file) => file.reopen().context(|| "cannot reopen a temporary file".to_owned())?,
            None => self.obtain(pin, progress)?.into_file(),
        };
        let copied = file.seek(SeekFrom::Start(0)).and_then(|_| std::io::copy(&mut file, sink));
        copied.context(|| format!("cannot write `{}`", pin.file))?;
        Ok(())
    }

    /// Downloads `pin` and keeps it until the fetcher is dropped, so that a later download of it is free.
    pub(crate) fn keep(&self, pin: &Pin) -> Result<File> {
        let kept = lock(&self.kept).get(&pin.sha256).cloned();
        let file = match kept {
            Some(file) => file,
            None => {
                let file = Arc::new(self.obtain(pin, &|_, _| ())?.into_temp());
                lock(&self.kept).insert(pin.sha256, Arc::clone(&file));
                file
            }
        };
        file.reopen().context(|| "cannot reopen a temporary file".to_owned())
    }

    /// The files of a project on pip's indexes, or nothing when none of them has it.
    ///
    /// # Errors
    /// Offline, or when an index cannot be asked or answers with something else than a list of files.
    pub fn project(&self, name: &PackageName) -> Result<Option<Arc<Project>>> {
        if let Some(known) = lock(&self.projects).get(name) {
            return Ok(known.clone());
        }
        let found = self.ask_sources(name)?.map(Arc::new);
        if found.is_none() && self.options.offline {
            return Err(Error::new(format!("cannot look up `{name}` on pip's index: offline")).hint(
                "run the same command without `--offline` once; what it finds is kept in the lock file",
            ));
        }
        lock(&self.projects).insert(name.clone(), found.clone());
        Ok(found)
    }

    /// The text at an address.
    pub(crate) fn text(&self, url: &str) -> Result<String> {
        if let Some(path) = local::path_of(url) {
            return std::fs::read_to_string(&path).context(|| format!("cannot read `{}`", path.display()));
        }
        if self.options.offline {
            return Err(Error::new(format!("cannot get `{}`: offline", http::redact(url))));
        }
        match http::get_text(&self.agent, url, "*/*") {
            Ok(page) => Ok(page.text),
            Err(refusal) => Err(Error::new(format!("cannot get `{}`", http::redact(url)))
                .detail(refusal.why)
                .hint(http::NETWORK_HINT)),
        }
    }

    /// Where this machine may have the file of a pin, with what the path is of.
    fn paths(&self, pin: &Pin) -> Vec<(&'static str, PathBuf)> {
        let given = lock(&self.given).get(&pin.sha256).cloned().map(|path| ("", path));
        let mirror = self.options.mirror.as_ref().map(|mirror| ("mirror ", mirror.join(&pin.file)));
        let links = self.options.find_links.iter().map(|folder| ("", folder.join(&pin.file)));
        given.into_iter().chain(mirror).chain(links.filter(|(_, path)| path.exists())).collect()
    }

    /// Whether a file can probably be had without the network.
    #[must_use]
    pub fn has_at_hand(&self, pin: &Pin) -> bool {
        let listed = |origin: &Origin| match origin {
            Origin::Pypi { project, file } => self.pypi_urls(project, file).unwrap_or_default(),
            _ => Vec::new(),
        };
        let mut urls = pin.origins.iter().flat_map(listed);
        self.paths(pin).iter().any(|(_, path)| path.exists())
            || urls.any(|url| local::path_of(&url).is_some())
    }

    fn obtain(&self, pin: &Pin, progress: &dyn Fn(u64, Option<u64>)) -> Result<Staged> {
        let mut failures = Vec::new();
        for (what, path) in self.paths(pin) {
            match self.take_from_path(pin, &path, progress) {
                Ok(staged) => return Ok(staged),
                Err(Failure::Local(error)) => return Err(error),
                Err(Failure::Origin(why)) => failures.push(format!("{what}`{}`: {why}", path.display())),
            }
        }
        for origin in &pin.origins {
            match self.take_from_origin(pin, origin, progress, &mut failures) {
                Ok(Some(staged)) => return Ok(staged),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
        }
        if self.options.offline {
            return Err(Error::new(format!(
                "`{}` is not in the store, and offline forbids fetching it",
                pin.file
            ))
            .detail(format!("sha256 {}", pin.sha256))
            .details(failures)
            .hint(format!("run {} with the network first", verb("fetch"))));
        }
        if pin.origins.is_empty() {
            failures.push("the pin names no origin".to_owned());
        }
        let (wrong, unreached): (Vec<&String>, Vec<&String>) =
            failures.iter().partition(|why| why.contains(WRONG_BYTES));
        let mut error =
            Error::new(format!("cannot fetch `{}`", pin.file)).detail(format!("sha256 {}", pin.sha256));
        if !wrong.is_empty() {
            error =
                error.hint("an origin has other bytes than are pinned: compare with a copy that you trust");
        }
        if !unreached.is_empty() {
            error = error.hint(http::NETWORK_HINT);
        }
        Err(error
            .details(failures)
            .hint(format!("a copy from elsewhere can be given: `--mirror DIR` with a file `{}`", pin.file)))
    }

    fn take_from_origin(
        &self,
        pin: &Pin,
        origin: &Origin,
        progress: &dyn Fn(u64, Option<u64>),
        failures: &mut Vec<String>,
    ) -> Result<Option<Staged>> {
        if self.options.offline {
            // What pip is configured for may lie on this machine.
            let Origin::Pypi { project, file } = origin else { return Ok(None) };
            for url in self.pypi_urls(project, file).unwrap_or_default() {
                if let Some(path) = local::path_of(&url) {
                    let attempt = self.take_from_path(pin, &path, progress);
                    return sort_failure(attempt, &format!("`{}`", path.display()), failures);
                }
            }
            return Ok(None);
        }
        let urls = match origin {
            Origin::Crate { name, version } => {
                let attempt = match clients::crate_file(name, version) {
                    Ok(path) => self.take_from_path(pin, &path, progress),
                    Err(error) => Err(Failure::Origin(error.to_string())),
                };
                return sort_failure(attempt, &format!("crate `{name}` {version}"), failures);
            }
            Origin::Url(url) => Ok(vec![url.clone()]),
            Origin::Debian { path } => self.debian_urls(path),
            Origin::Pypi { project, file } => self.pypi_urls(project, file),
        };
        let urls = match urls {
            Ok(urls) => urls,
            Err(error) => {
                failures.push(error.to_string());
                return Ok(None);
            }
        };
        for url in urls {
            let attempt = self.take_from_url(pin, &url, progress);
            if let Some(staged) = sort_failure(attempt, &format!("`{}`", http::redact(&url)), failures)? {
                return Ok(Some(staged));
            }
        }
        Ok(None)
    }

    fn debian_urls(&self, path: &str) -> Result<Vec<String>> {
        let bases = self.debian_archives.get_or_init(clients::debian_archives).clone()?;
        Ok(bases.iter().map(|base| format!("{}/{path}", base.trim_end_matches('/'))).collect())
    }

    fn pypi_urls(&self, project: &str, file: &str) -> Result<Vec<String>> {
        let name = PackageName::new(project)?;
        let found = self.project(&name)?;
        let found = found.ok_or_else(|| Error::new(format!("pip's index: no project `{name}`")))?;
        match found.files.iter().find(|listed| listed.file == file) {
            Some(listed) => Ok(vec![listed.url.clone()]),
            None => Err(Error::new(format!("pip's index: project `{name}` has no file `{file}`"))),
        }
    }

    fn take_from_path(
        &self,
        pin: &Pin,
        path: &Path,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Staged, Failure> {
        let mut file = File::open(path).map_err(|error| Failure::Origin(Error::from(error).to_string()))?;
        let mut staged = self.stage()?;
        staged.fill(&mut file, pin, progress, pin.size)?;
        staged.check(pin)?;
        Ok(staged)
    }

    fn take_from_url(
        &self,
        pin: &Pin,
        url: &str,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Staged, Failure> {
        if let Some(path) = local::path_of(url) {
            return self.take_from_path(pin, &path, progress);
        }
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (why, again) = match self.try_url(pin, url, progress) {
                Ok(staged) => match staged.check(pin) {
                    Ok(()) => return Ok(staged),
                    // Whole but wrong bytes: asking again would only cost time.
                    Err(failure) => return Err(failure),
                },
                Err((Failure::Origin(why), again)) => (why, again),
                Err((local, _)) => return Err(local),
            };
            if !again {
                return Err(Failure::Origin(why));
            }
            if attempt == http::TRIES {
                return Err(Failure::Origin(format!("{why} ({attempt} tries)")));
            }
            std::thread::sleep(http::pause(attempt));
        }
    }

    /// One request; the flag of a failure says whether another try may help.
    fn try_url(
        &self,
        pin: &Pin,
        url: &str,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<Staged, (Failure, bool)> {
        let (mut body, length) = http::open(&self.agent, url)
            .map_err(|refusal| (Failure::Origin(refusal.why), refusal.transient))?;
        let mut staged = self.stage().map_err(|failure| (failure, false))?;
        staged.fill(&mut body, pin, progress, length.or(pin.size)).map_err(|failure| (failure, true))?;
        match length {
            Some(length) if staged.length != length => {
                let why = format!("truncated: {} of {length} bytes arrived", staged.length);
                Err((Failure::Origin(why), true))
            }
            _ => Ok(staged),
        }
    }

    fn stage(&self) -> Result<Staged, Failure> {
        let directory = self.options.scratch.clone().unwrap_or_else(std::env::temp_dir);
        let file = NamedTempFile::new_in(&directory)
            .context(|| format!("cannot make a temporary file in `{}`", directory.display()))
            .map_err(Failure::Local)?;
        Ok(Staged { file, hasher: Hasher::new(), length: 0, overrun: false })
    }
}

/// What begins the reason why a whole file is refused.
const WRONG_BYTES: &str = "wrong bytes";

/// A temporary file being filled, with the digest of what it holds.
struct Staged {
    file: NamedTempFile,
    hasher: Hasher,
    length: u64,
    overrun: bool,
}

impl Staged {
    fn fill(
        &mut self,
        from: &mut dyn Read,
        pin: &Pin,
        progress: &dyn Fn(u64, Option<u64>),
        expected: Option<u64>,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; 1 << 16];
        progress(0, expected);
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let error = Error::from(error);
                    return Err(Failure::Origin(format!("broke off after {} bytes: {error}", self.length)));
                }
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            self.hasher.update(bytes);
            self.length += count as u64;
            if pin.size.is_some_and(|size| self.length > size) {
                // More than was pinned can only be wrong: do not fill the disk with it.
                self.overrun = true;
                return Ok(());
            }
            self.file.write_all(bytes).map_err(|error| {
                Failure::Local(
                    Error::from(error).context(format!("cannot write `{}`", self.file.path().display())),
                )
            })?;
            progress(self.length, expected);
        }
    }

    fn check(&self, pin: &Pin) -> Result<(), Failure> {
        if let Some(size) = pin.size.filter(|size| self.overrun || *size != self.length) {
            let more = if self.overrun { "more" } else { &format!("{}", self.length) };
            return Err(Failure::Origin(format!("wrong size: expected {size} bytes but found {more}")));
        }
        let (found, _) = self.hasher.clone().finish();
        if found != pin.sha256 {
            return Err(Failure::Origin(format!("{WRONG_BYTES}: their sha256 is {found}")));
        }
        Ok(())
    }

    fn into_file(self) -> File {
        self.file.into_file()
    }

    fn into_temp(self) -> NamedTempFile {
        self.file
    }
}

fn sort_failure(
    attempt: Result<Staged, Failure>,
    place: &str,
    failures: &mut Vec<String>,
) -> Result<Option<Staged>> {
    match attempt {
        Ok(staged) => Ok(Some(staged)),
        Err(Failure::Local(error)) => Err(error),
        Err(Failure::Origin(why)) => {
            failures.push(format!("{place}: {why}"));
            Ok(None)
        }
    }
}

/// Locks even when another thread panicked: what these mutexes guard is whole between any two calls.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
