//! One limit for all processes of a build: a job server, as GNU make's manual describes it
//! (<https://www.gnu.org/software/make/manual/html_node/POSIX-Jobserver.html>).
//!
//! The pool is a named pipe with one byte for each job. A step holds one while it runs, which is the job that
//! each of its commands has anyway; make, cargo and ninja take further ones from the pipe. make and cargo are
//! given descriptors of the pipe, which every version of them takes; ninja takes only its path.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use crate::error::{Context, Result};

/// The pool of jobs.
#[derive(Debug)]
pub struct Jobs {
    path: PathBuf,
    /// Our own way to the pipe: make may switch its descriptors to another mode.
    pool: File,
    /// What processes that are started inherit.
    inherited: (OwnedFd, OwnedFd),
    _folder: tempfile::TempDir,
}

/// A job that is held until this is dropped.
#[derive(Debug)]
pub struct Job<'a> {
    jobs: &'a Jobs,
    token: [u8; 1],
}

impl Jobs {
    /// A pool of `count` jobs, at least one and at most 4,096; its pipe is made in `folder`.
    ///
    /// # Errors
    /// When no pipe can be made there.
    pub fn new(count: usize, folder: tempfile::TempDir) -> Result<Self> {
        let doing = || "cannot make a job server".to_owned();
        let path = folder.path().join("jobs");
        let open = |flags| rustix::fs::open(&path, flags, Mode::empty()).map_err(std::io::Error::from);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RUSR | Mode::WUSR)
            .map_err(std::io::Error::from)
            .context(doing)?;
        let mut pool = File::from(open(OFlags::RDWR | OFlags::CLOEXEC).context(doing)?);
        pool.write_all(&vec![b'+'; count.clamp(1, MOST)]).context(doing)?;
        let inherited = (open(OFlags::RDONLY).context(doing)?, open(OFlags::WRONLY).context(doing)?);
        Ok(Self { path, pool, inherited, _folder: folder })
    }

    /// Waits for a job.
    ///
    /// # Errors
    /// When the pipe cannot be read.
    pub fn acquire(&self) -> Result<Job<'_>> {
        let mut token = [0];
        (&self.pool).read_exact(&mut token).context(|| "cannot read from the job server".to_owned())?;
        Ok(Job { jobs: self, token })
    }

    /// The environment variables that give make and cargo the pool.
    #[must_use]
    pub fn for_make(&self) -> [(&'static str, String); 2] {
        let (read, write) = (self.inherited.0.as_raw_fd(), self.inherited.1.as_raw_fd());
        // With the blank, the first word is none of single letters, which is how make reads it otherwise.
        let flags = format!(" -j --jobserver-auth={read},{write}");
        [("MAKEFLAGS", flags.clone()), ("CARGO_MAKEFLAGS", flags)]
    }

    /// The environment variable that gives ninja the pool.
    #[must_use]
    pub fn for_ninja(&self) -> (&'static str, String) {
        ("MAKEFLAGS", format!(" -j --jobserver-auth=fifo:{}", self.path.display()))
    }
}

/// The most jobs: what a pipe holds for sure (`PIPE_BUF` of Linux).
const MOST: usize = 4096;

impl Drop for Job<'_> {
    fn drop(&mut self) {
        // A pipe that we hold open takes what was taken from it.
        let _ = (&self.jobs.pool).write_all(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_jobs_are_held_than_there_are() {
        let jobs = Jobs::new(2, tempfile::tempdir().unwrap()).unwrap();
        let (held, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let _job = jobs.acquire().unwrap();
                        most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        held.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((held.into_inner(), most.into_inner()), (0, 2));
    }

    /// Ten targets, each of which writes down how many run beside it.
    #[test]
    fn make_runs_no_more_commands_than_jobs() {
        let folder = tempfile::tempdir().unwrap();
        let targets: Vec<String> = (0..10).map(|number| format!("t{number}")).collect();
        let targets = targets.join(" ");
        let text = format!(
            "all: {targets}\n{targets}:\n\t@touch running.$@; ls running.* | wc -l >>counts; sleep 0.05; rm running.$@\n"
        );
        std::fs::write(folder.path().join("Makefile"), text).unwrap();
        for (count, expected) in [(1, 1), (3, 3)] {
            let jobs = Jobs::new(count, tempfile::tempdir().unwrap()).unwrap();
            let job = jobs.acquire().unwrap();
            let status =
                Command::new("make").current_dir(folder.path()).envs(jobs.for_make()).output().unwrap();
            drop(job);
            assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
            let counts = std::fs::read_to_string(folder.path().join("counts")).unwrap();
            let most = counts.lines().map(|line| line.trim().parse::<usize>().unwrap()).max().unwrap();
            assert!(most <= expected, "{counts}");
            std::fs::remove_file(folder.path().join("counts")).unwrap();
            // All of them are back.
            let all: Vec<_> = (0..count).map(|_| jobs.acquire().unwrap()).collect();
            assert_eq!(all.len(), count);
        }
    }
}
