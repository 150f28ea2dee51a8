//! The only module that starts build commands.
//!
//! A command gets an environment built up from nothing, writes what it prints to the step's log, and when
//! it fails says which command it was, its status, its last lines, and where the whole log is.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};

mod group;

/// How many lines of a failed command's output are shown.
const TAIL_LINES: usize = 25;

/// How many processes this run has started; a pure cache hit starts none.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Counts a process that is about to be started; for the clients of registries, which are no build commands.
pub fn count_process() {
    STARTED.fetch_add(1, Ordering::Relaxed);
}

/// The number of processes started so far.
#[must_use]
pub fn processes_started() -> u64 {
    STARTED.load(Ordering::Relaxed)
}

/// The log file that a step's commands append to.
#[derive(Debug, Clone)]
pub struct Log {
    path: PathBuf,
    failed: Option<PathBuf>,
}

/// A command that failed, as it is kept for `shell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The command line, quoted for a shell.
    pub command: String,
    /// Where it ran.
    pub cwd: PathBuf,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
}

impl Log {
    /// Starts an empty log.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn create(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).context(|| format!("cannot create `{}`", folder.display()))?;
        }
        File::create(path).context(|| format!("cannot create log `{}`", path.display()))?;
        Ok(Self { path: path.to_owned(), failed: None })
    }

    /// Also keeps the command that fails, as [`Failed`] in a file.
    #[must_use]
    pub fn keeping(self, failed: PathBuf) -> Self {
        Self { failed: Some(failed), ..self }
    }

    /// Where the log is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what is begun; the log to append to, and where it ends then, in bytes.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&self, what: &str) -> Result<(File, u64)> {
        let log = OpenOptions::new().append(true).open(&self.path);
        let mut log = log.context(|| format!("cannot write log `{}`", self.path.display()))?;
        writeln!(log, "$ {what}")?;
        let offset = log.seek(SeekFrom::End(0))?;
        Ok((log, offset))
    }

    /// What is there from an offset in bytes on; what is no UTF-8 is replaced.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn since(&self, from: u64) -> Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An error that shows the last lines from an offset in bytes on, and where the others are.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn failure(&self, message: impl Into<String>, from: u64) -> Result<Error> {
        let error = Error::new(message).details(self.tail(from)?);
        Ok(error.detail(format!("full log: `{}`", self.path.display())))
    }

    /// The last lines from an offset in bytes on.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn tail(&self, from: u64) -> Result<Vec<String>> {
        let size = std::fs::metadata(&self.path)?.len();
        let text = self.since(from.max(size.saturating_sub(64 << 10)))?;
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        Ok(lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec())
    }
}

/// A command to run, with its whole environment.
#[derive(Debug, Clone)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: BTreeMap<OsString, OsString>,
    cwd: PathBuf,
    log: Log,
}

impl Cmd {
    /// A command that runs in `cwd` with an empty environment.
    pub fn new(program: impl AsRef<OsStr>, cwd: &Path, log: &Log) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: cwd.to_owned(),
            log: log.clone(),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.insert(name.as_ref().to_owned(), value.as_ref().to_owned());
        self
    }

    /// Sets environment variables.
    #[must_use]
    pub fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        for (name, value) in pairs {
            self = self.env(name, value);
        }
        self
    }

    /// Runs in another folder.
    #[must_use]
    pub fn cwd(mut self, cwd: &Path) -> Self {
        cwd.clone_into(&mut self.cwd);
        self
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// When it cannot be started or its status is not 0; the error holds command, status and last lines.
    pub fn run(self) -> Result<()> {
        self.execute(false).map(drop)
    }

    /// Runs the command and returns what it wrote to standard output, which is logged as well.
    ///
    /// # Errors
    /// As [`Cmd::run`]; also when the output is no UTF-8.
    pub fn output(self) -> Result<String> {
        let bytes = self.execute(true)?;
        String::from_utf8(bytes).map_err(|_| Error::new("a command printed something that is no UTF-8"))
    }

    fn execute(self, capture: bool) -> Result<Vec<u8>> {
        let shown = self.shown();
        let (mut log, offset) = self.log.begin(&format!("cd {}\n$ {shown}", self.cwd.display()))?;
        let stdout = if capture { Stdio::piped() } else { log.try_clone()?.into() };
        count_process();
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.cwd)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(log.try_clone()?);
        let mut child =
            group::start(&mut command).context(|| format!("cannot start `{}`", self.program.display()))?;
        let mut captured = Vec::new();
        if let Some(mut stdout) = child.process.stdout.take() {
            stdout.read_to_end(&mut captured)?;
            log.write_all(&captured)?;
        }
        let status = child.wait()?;
        if status.success() {
            return Ok(captured);
        }
        self.keep(&shown)?;
        Err(self.log.failure(format!("`{}` exited with {status}", abbreviated(&shown)), offset)?)
    }

    fn keep(&self, shown: &str) -> Result<()> {
        let Some(path) = &self.log.failed else { return Ok(()) };
        let text = |text: &OsString| text.to_string_lossy().into_owned();
        let env = self.env.iter().map(|(name, value)| (text(name), text(value))).collect();
        let failed = Failed { command: shown.to_owned(), cwd: self.cwd.clone(), env };
        let bytes = serde_json::to_vec_pretty(&failed).map_err(|error| Error::new(error.to_string()))?;
        std::fs::write(path, bytes).context(|| format!("cannot write `{}`", path.display()))
    }

    fn shown(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .map(|word| quoted(&word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A long command line is cut in the message; the log has it whole.
fn abbreviated(command: &str) -> String {
    const LIMIT: usize = 300;
    match command.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, Log) {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::create(&folder.path().join("x.log")).unwrap();
        (folder, log)
    }

    #[test]
    fn a_failure_tells_command_status_and_last_lines() {
        let (folder, log) = log();
        let error = Cmd::new("/bin/sh", folder.path(), &log)
            .args(["-c", "for i in $(seq 100); do echo line $i; done; exit 3"])
            .run()
            .unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("`/bin/sh -c 'for i in $(seq 100)"), "{text}");
        assert!(text.contains("exited with exit status: 3"), "{text}");
        assert!(
            text.contains("line 100") && text.contains("line 76") && !text.contains("line 75\n"),
            "{text}"
        );
    }

    #[test]
    fn the_environment_is_empty_but_for_what_was_set() {
        let (folder, log) = log();
        let output = Cmd::new("/usr/bin/env", folder.path(), &log).env("ONLY", "this").output().unwrap();
        assert_eq!(output, "ONLY=this\n");
        let logged = std::fs::read_to_string(log.path()).unwrap();
        assert!(logged.ends_with("$ /usr/bin/env\nONLY=this\n"), "{logged}");
    }

    #[test]
    fn a_command_that_failed_is_kept() {
        let (folder, log) = log();
        let kept = folder.path().join("failed.json");
        let log = log.keeping(kept.clone());
        Cmd::new("/bin/true", folder.path(), &log).run().unwrap();
        assert!(!kept.exists());
        Cmd::new("/bin/sh", folder.path(), &log).args(["-c", "exit 3"]).env("A", "b c").run().unwrap_err();
        let failed: Failed = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
        let env = BTreeMap::from([("A".to_owned(), "b c".to_owned())]);
        let command = "/bin/sh -c 'exit 3'".to_owned();
        assert_eq!(failed, Failed { command, cwd: folder.path().to_owned(), env });
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let (folder, log) = log();
        let error = Cmd::new("/no/such/program", folder.path(), &log).run().unwrap_err();
        assert!(error.message().starts_with("cannot start `/no/such/program`: "), "{error}");
    }
}
