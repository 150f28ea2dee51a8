//! Build commands as process groups, so that what a command has started ends with it.
//!
//! A signal that ends the tool ends all groups first: nothing keeps writing to a work directory that the next
//! build clears.

use std::collections::HashSet;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// How long a group has after `SIGTERM` before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// The groups that run.
struct Groups {
    leaders: HashSet<Pid>,
    /// Set by the first signal: no further command starts, and none ends for those that wait for it.
    cancelled: bool,
}

static GROUPS: LazyLock<Mutex<Groups>> =
    LazyLock::new(|| Mutex::new(Groups { leaders: HashSet::new(), cancelled: false }));

fn groups() -> MutexGuard<'static, Groups> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The groups of a build that is not being ended. In one that is, this never returns: the signal ends the process, and
/// what its commands came to is of no interest any more.
fn running() -> MutexGuard<'static, Groups> {
    loop {
        let groups = groups();
        if !groups.cancelled {
            return groups;
        }
        drop(groups);
        std::thread::park();
    }
}

/// A command that runs as the leader of its own process group.
pub(super) struct Group {
    pub(super) process: Child,
    leader: Option<Pid>,
}

/// Starts a command in its own process group.
///
/// # Errors
/// When it cannot be started.
pub(super) fn start(command: &mut Command) -> io::Result<Group> {
    watch();
    // Held until the group is known: a signal in between would miss it.
    let mut groups = running();
    let process = command.process_group(0).spawn()?;
    let leader = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    groups.leaders.extend(leader);
    Ok(Group { process, leader })
}

impl Group {
    /// Waits for the command itself, and ends what it has left behind.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.process.wait();
        if let Some(leader) = self.leader.take() {
            running().leaders.remove(&leader);
            // A group without members has no such process, which is the rule.
            let _ = kill_process_group(leader, Signal::KILL);
        }
        status
    }
}

/// Listens for the signals that end a build, once.
fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        // Without the thread a signal ends the tool alone, as it does by default.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                end_all();
                let _ = signal_hook::low_level::emulate_default_handler(signal);
            }
        });
    });
}

/// Ends all groups: asks first, and kills after [`GRACE`].
fn end_all() {
    let leaders = {
        let mut groups = groups();
        groups.cancelled = true;
        groups.leaders.clone()
    };
    for leader in &leaders {
        let _ = kill_process_group(*leader, Signal::TERM);
    }
    let until = Instant::now() + GRACE;
    let alive = |leader: &&Pid| test_kill_process_group(**leader).is_ok();
    while leaders.iter().any(|leader| alive(&leader)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    for leader in leaders.iter().filter(alive) {
        let _ = kill_process_group(*leader, Signal::KILL);
    }
}
