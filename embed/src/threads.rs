//! The threads of a pool: an executor that has as many threads as there are guests that compute.
//!
//! A guest that computes keeps the thread that polls it. If there were as many threads as processors, that many guests in a
//! loop would keep all others waiting, and code that could be interrupted for them would be slower. So a guest that is
//! ready always gets a thread, and the system shares the processors out: preemption that costs the code nothing. A guest
//! that waits has no thread.
//!
//! A guest that has computed for [`SHORT`] continues on a thread of lower priority, so that a short call is answered at once
//! beside any number of long ones. Only a privileged thread could take its priority back; so there are two lanes of threads,
//! and who was moved to the second one stays there.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::{Notify, oneshot};

/// How long a guest may compute before it counts as a long one: a fresh guest has its answer in a fraction of it, and one
/// that fills its memory has done a fraction of that.
const SHORT: Duration = Duration::from_millis(10);
/// How often the threads are looked at while guests compute.
const TICK: Duration = Duration::from_millis(5);
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

/// What a future is to its executor.
type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The executor of a pool. Futures that are pending when it is dropped are dropped with whatever would wake them.
pub(crate) struct Threads {
    shared: Arc<Shared>,
    /// Drives timers and sockets for callbacks, and has the threads for file access.
    runtime: Option<Runtime>,
}

struct Shared {
    state: Mutex<State>,
    /// One for each lane: there is work.
    work: [Condvar; 2],
    /// Somebody computes.
    busy: Notify,
    /// The most threads of a lane.
    most: usize,
    runtime: Handle,
}

#[derive(Default)]
struct State {
    lanes: [Lane; 2],
    /// Who is being polled, by the number of the poll.
    running: BTreeMap<u64, Running>,
    polls: u64,
    /// Whether somebody looks at the threads at each [`TICK`].
    watched: bool,
    closed: bool,
}

/// Threads of one priority, and what waits for them.
#[derive(Default)]
struct Lane {
    queue: VecDeque<Arc<Task>>,
    threads: usize,
    idle: usize,
}

struct Running {
    since: Instant,
    /// What the guest had computed before.
    spent: Duration,
    thread: Thread,
    lane: usize,
}

/// A future, and what it has used.
struct Task {
    shared: Arc<Shared>,
    stage: Mutex<Stage>,
}

struct Stage {
    /// Absent while it is polled, and when it has ended.
    work: Option<Work>,
    is_queued: bool,
    is_polled: bool,
    spent: Duration,
}

impl Threads {
    /// An executor with at most `most` threads of either priority; they start when they are needed.
    ///
    /// # Errors
    /// When the thread cannot be started that drives timers.
    pub(crate) fn new(most: usize) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("eryx-timers")
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: [Condvar::new(), Condvar::new()],
            busy: Notify::new(),
            most: most.max(1),
            runtime: runtime.handle().clone(),
        });
        let watched = Arc::clone(&shared);
        runtime.spawn(async move { watched.watch().await });
        Ok(Self { shared, runtime: Some(runtime) })
    }

    /// Runs a future; what it gives, or what it panicked with.
    pub(crate) fn run<R: Send + 'static>(
        &self,
        future: impl Future<Output = R> + Send + 'static,
    ) -> oneshot::Receiver<R> {
        let (sender, receiver) = oneshot::channel();
        let work = Box::pin(async move {
            // Nobody waits any more when it cannot be sent.
            let _ = sender.send(future.await);
        });
        let stage = Stage { work: Some(work), is_queued: false, is_polled: false, spent: Duration::ZERO };
        Arc::new(Task { shared: Arc::clone(&self.shared), stage: Mutex::new(stage) }).wake();
        receiver
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let queued = {
            let mut state = self.shared.lock();
            state.closed = true;
            std::mem::take(&mut state.lanes).map(|lane| lane.queue)
        };
        self.shared.work.iter().for_each(Condvar::notify_all);
        drop(queued);
        // A plain drop would wait for its threads, and panics on an executor's thread.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Task {
    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls it once, on `thread`, which is this one; `lane` is its lane, and the result the one that it has afterwards.
    fn poll(self: Arc<Self>, thread: Thread, lane: usize) -> usize {
        let (work, spent) = {
            let mut stage = self.lock();
            (stage.is_queued, stage.is_polled) = (false, true);
            (stage.work.take(), stage.spent)
        };
        let Some(mut work) = work else { return lane };
        let since = Instant::now();
        let poll = self.shared.begin(Running { since, spent, thread, lane });
        let waker = Waker::from(Arc::clone(&self));
        let polled: Result<_, Box<dyn Any + Send>> =
            catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut Context::from_waker(&waker))));
        let ended = !matches!(polled, Ok(std::task::Poll::Pending));
        let rest = if ended {
            // Dropping an instance takes a while: it counts.
            drop(work);
            None
        } else {
            Some(work)
        };
        let lane = self.shared.end(poll, lane);
        let mut stage = self.lock();
        stage.work = rest;
        stage.is_polled = false;
        stage.spent += since.elapsed();
        // It was woken meanwhile.
        if stage.is_queued && !ended {
            let long = stage.spent >= SHORT;
            drop(stage);
            self.shared.push(Arc::clone(&self), long);
        }
        lane
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let long = {
            let mut stage = self.lock();
            if stage.is_queued {
                return;
            }
            stage.is_queued = true;
            if stage.is_polled {
                return;
            }
            stage.spent >= SHORT
        };
        let shared = Arc::clone(&self.shared);
        shared.push(self, long);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, task: Arc<Task>, long: bool) {
        let lane = usize::from(long);
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return;
        }
        state.lanes[lane].queue.push_back(task);
        self.attend(&mut state, lane);
    }

    /// Sees to it that somebody takes what waits in a lane.
    fn attend(self: &Arc<Self>, state: &mut State, lane: usize) {
        let Lane { queue, threads, idle } = &mut state.lanes[lane];
        if queue.len() <= *idle {
            self.work[lane].notify_one();
        } else if *threads < self.most {
            let shared = Arc::clone(self);
            let name = ["eryx-guest", "eryx-guest-long"][lane].to_owned();
            let started = std::thread::Builder::new().name(name).spawn(move || shared.serve(lane));
            *threads += usize::from(started.is_ok());
            if started.is_err() {
                // The next tick tries again.
                self.have_watched(state);
            }
        }
    }

    /// The life of a thread.
    fn serve(&self, mut lane: usize) {
        let _entered = self.runtime.enter();
        let thread = Thread::current();
        if lane == 1 {
            thread.yield_to_others();
        }
        let mut state = self.lock();
        while !state.closed {
            if let Some(task) = state.lanes[lane].queue.pop_front() {
                drop(state);
                lane = task.poll(thread, lane);
                state = self.lock();
                continue;
            }
            state.lanes[lane].idle += 1;
            let (woken, timeout) =
                self.work[lane].wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            // A pool that was closed has lost count, and needs none.
            state.lanes[lane].idle = state.lanes[lane].idle.saturating_sub(1);
            if timeout.timed_out() && state.lanes[lane].queue.is_empty() {
                break;
            }
        }
        state.lanes[lane].threads = state.lanes[lane].threads.saturating_sub(1);
    }

    /// Takes note of a poll; the number that it has.
    fn begin(&self, running: Running) -> u64 {
        let mut state = self.lock();
        state.polls += 1;
        let poll = state.polls;
        state.running.insert(poll, running);
        self.have_watched(&mut state);
        poll
    }

    fn have_watched(&self, state: &mut State) {
        if !state.watched {
            state.watched = true;
            self.busy.notify_one();
        }
    }

    /// The lane that the thread has afterwards.
    fn end(&self, poll: u64, lane: usize) -> usize {
        self.lock().running.remove(&poll).map_or(lane, |running| running.lane)
    }

    /// Moves threads whose guests compute for long into the second lane.
    async fn watch(self: Arc<Self>) {
        loop {
            self.busy.notified().await;
            while self.look(Instant::now()) {
                tokio::time::sleep(TICK).await;
            }
        }
    }

    /// Whether there is something to look at.
    fn look(self: &Arc<Self>, now: Instant) -> bool {
        let mut state = self.lock();
        let State { lanes, running, .. } = &mut *state;
        for running in running.values_mut().filter(|running| running.lane == 0) {
            if now.saturating_duration_since(running.since) + running.spent >= SHORT {
                running.thread.yield_to_others();
                running.lane = 1;
                lanes[0].threads = lanes[0].threads.saturating_sub(1);
                lanes[1].threads += 1;
            }
        }
        for lane in 0..state.lanes.len() {
            if state.lanes[lane].queue.len() > state.lanes[lane].idle {
                self.attend(&mut state, lane);
            }
        }
        let waits = state.lanes.iter().any(|lane| !lane.queue.is_empty());
        state.watched = !state.closed && (waits || !state.running.is_empty());
        state.watched
    }
}

/// A thread, as the system knows it.
#[derive(Clone, Copy)]
struct Thread {
    #[cfg(target_os = "linux")]
    id: rustix::process::Pid,
}

impl Thread {
    #[cfg(target_os = "linux")]
    fn current() -> Self {
        Self { id: rustix::thread::gettid() }
    }

    /// Lets threads of ordinary priority come first. Where it cannot, long guests cost short ones more.
    #[cfg(target_os = "linux")]
    fn yield_to_others(self) {
        /// Each step is about a fourth less of the processor: this is a tenth of an ordinary thread's share.
        const LOWER: i32 = 10;
        // On Linux a priority is that of a thread.
        let own = rustix::process::getpriority_process(Some(self.id)).unwrap_or(0);
        let _ = rustix::process::setpriority_process(Some(self.id), own.saturating_add(LOWER).min(19));
    }

    /// Elsewhere a priority is that of the whole process.
    #[cfg(not(target_os = "linux"))]
    fn current() -> Self {
        Self {}
    }

    #[cfg(not(target_os = "linux"))]
    fn yield_to_others(self) {}
}
