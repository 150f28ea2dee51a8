//! Stopping a guest from outside: deadlines, cancellation, and the thread that watches over them.
//!
//! A guest that is told where the embedder may reach it (see [`Word`]) is asked to stop by a bit that CPython's
//! evaluation loop looks at anyway, so nothing is slower for it. It then has [`GRACE`] to end the call by itself: an
//! exception unwinds the Python code and the session lives on. What does not end by then is abandoned: dropped where
//! it waits, trapped when it is about to raise the exception once more, and trapped by the engine's epoch where the
//! code was compiled to look at that.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use wasmtime::EngineWeak;

use crate::error::Error as Message;
use crate::failure::{Error, Result};

/// How long a guest that was asked to stop may take to end the call by itself.
pub(crate) const GRACE: Duration = Duration::from_millis(500);
/// How often a guest that was asked to stop is asked again: its own writes to the word may undo ours.
const REMINDER: Duration = Duration::from_millis(20);
/// How long a guest is left alone after it raised the exception. It tells where its code was, and on a machine that has
/// much to do, a reminder would come while it does.
const PAUSE: Duration = Duration::from_millis(100);
/// `_PY_ASYNC_EXCEPTION_BIT` of CPython 3.14, in `Include/internal/pycore_ceval.h`.
const ASYNC_EXCEPTION: u32 = 1 << 3;

/// How far a call has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It may go on.
    Running,
    /// The guest is asked to end it.
    Stopping,
    /// The guest did not.
    Abandoned,
}

/// Why a call was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    TimeLimit,
    Cancelled,
}

/// The word in a guest's memory whose bits its Python looks at (`PyThreadState::eval_breaker`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word(NonNull<AtomicU32>);

// SAFETY: it is only used under the lock of a `Control`, and atomically.
unsafe impl Send for Word {}

impl Word {
    /// Takes the word that the bytes of `place` are, if they can be one.
    ///
    /// # Safety
    /// `place` must lie in the linear memory of an instance, and [`Control::forget_word`] must be called before that
    /// memory is given up.
    pub(crate) unsafe fn of(place: &[u8]) -> Option<Self> {
        let word = NonNull::new(std::ptr::with_exposed_provenance_mut::<AtomicU32>(
            place.as_ptr().expose_provenance(),
        ))?;
        (place.len() == size_of::<u32>() && word.is_aligned()).then_some(Self(word))
    }

    fn interrupt(self) {
        // SAFETY: the memory is there, as the maker of the word has promised; it does not move, since the engines are
        // configured so. The guest's code is no Rust code and reads the word with plain loads; the embedder never
        // reads it, but for the slice that `of` was given.
        unsafe { self.0.as_ref() }.fetch_or(ASYNC_EXCEPTION, Ordering::Relaxed);
    }

    /// Answers a guest that is about to raise an exception, and lent this word for it: it is an interrupt.
    pub(crate) fn answer_interrupt(self) {
        // SAFETY: the memory is there while the guest waits for our answer.
        unsafe { self.0.as_ref() }.store(u32::from_le_bytes(*b"int\0"), Ordering::Relaxed);
    }
}

/// What the embedder and the watcher share about one instance.
pub(crate) struct Control {
    state: Mutex<State>,
    stage: watch::Sender<Stage>,
    /// The engine, if the guest's code looks at its epoch.
    epochs: Option<EngineWeak>,
}

#[derive(Debug, Default)]
struct State {
    word: Option<Word>,
    call: Option<Call>,
    /// Cancelled while there was no call: the next one is stopped.
    cancelled: bool,
}

/// What the guest raises when it was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Raise {
    /// `eryx.Stopped`.
    Stopped,
    /// `KeyboardInterrupt`.
    Interrupt,
}

#[derive(Debug)]
struct Call {
    id: u64,
    /// When its time is over.
    deadline: Option<Instant>,
    /// Why it is stopped, and since when.
    stopped: Option<(Reason, Instant)>,
    /// When the guest last raised the exception that it was asked for.
    raised: Option<Instant>,
    /// Asked for an interrupt, which has not been raised yet.
    interrupted: bool,
}

impl Control {
    pub(crate) fn new(epochs: Option<EngineWeak>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), stage: watch::Sender::new(Stage::Running), epochs })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call that ends with the guard. `limit` is the time that it may take.
    ///
    /// # Errors
    /// [`Error::Cancelled`] when it was cancelled before: then nothing of it shall happen.
    pub(crate) fn begin(self: &Arc<Self>, limit: Option<Duration>) -> Result<CallGuard> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        // A limit beyond what the clock can tell is none that matters.
        let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        {
            let mut state = self.lock();
            if std::mem::take(&mut state.cancelled) {
                return Err(Error::Cancelled { traceback: String::new() });
            }
            // Under the lock: a cancellation that finds the call finds its stage, too.
            self.stage.send_replace(Stage::Running);
            state.call = Some(Call { id, deadline, stopped: None, raised: None, interrupted: false });
        }
        let guard = CallGuard { control: Arc::clone(self), id };
        if let Some(deadline) = deadline {
            WATCHER.add(deadline, id, self)?;
        }
        Ok(guard)
    }

    /// Stops the call under way, or else the next one.
    pub(crate) fn cancel(self: &Arc<Self>) -> Result<()> {
        let now = Instant::now();
        let id = {
            let mut state = self.lock();
            match &mut state.call {
                None => {
                    state.cancelled = true;
                    return Ok(());
                }
                Some(call) => {
                    call.stopped.get_or_insert((Reason::Cancelled, now));
                    call.id
                }
            }
        };
        match self.remind(id, now) {
            Some(next) => WATCHER.add(next, id, self),
            None => Ok(()),
        }
    }

    /// Has the guest raise `KeyboardInterrupt` in the call under way, once; nothing when there is none.
    pub(crate) fn interrupt(self: &Arc<Self>) -> Result<()> {
        let now = Instant::now();
        let id = {
            let mut state = self.lock();
            let Some(call) = &mut state.call else { return Ok(()) };
            call.interrupted = true;
            call.id
        };
        match self.look_after(id, now) {
            Some(next) => WATCHER.add(next, id, self),
            None => Ok(()),
        }
    }

    /// Sees to a call whose time is over, or that is to be interrupted; when to do so again.
    fn look_after(&self, call: u64, now: Instant) -> Option<Instant> {
        let state = self.lock();
        let current = state.call.as_ref().filter(|current| current.id == call)?;
        let deadline = current.deadline;
        if current.stopped.is_some() || deadline.is_some_and(|deadline| now >= deadline) {
            drop(state);
            return self.remind(call, now);
        }
        if !current.interrupted {
            return deadline;
        }
        // Who waits goes on at once, and has to find it.
        if let Some(word) = state.word {
            word.interrupt();
        }
        self.go_to(Stage::Stopping);
        let again = now + REMINDER;
        Some(deadline.map_or(again, |deadline| again.min(deadline)))
    }

    /// Asks the guest to end a call, and gives it up when it is over its time of grace; when to do so again.
    fn remind(&self, call: u64, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let current = state.call.as_mut().filter(|current| current.id == call)?;
        let (_, since) = *current.stopped.get_or_insert((Reason::TimeLimit, now));
        let paused = current.raised.is_some_and(|raised| now.saturating_duration_since(raised) < PAUSE);
        // Who cannot be asked cannot answer either.
        let over = now.saturating_duration_since(since) >= GRACE || state.word.is_none();
        if let Some(word) = state.word
            && (over || !paused)
        {
            word.interrupt();
        }
        self.go_to(if over { Stage::Abandoned } else { Stage::Stopping });
        if over && let Some(engine) = self.epochs.as_ref().and_then(EngineWeak::upgrade) {
            engine.increment_epoch();
        }
        Some(now + REMINDER)
    }

    fn go_to(&self, stage: Stage) {
        self.stage.send_if_modified(|current| std::mem::replace(current, stage) != stage);
    }

    /// Takes note that the guest raises the exception that it was asked for; tells which it is.
    pub(crate) fn raised(&self, now: Instant) -> Raise {
        let mut state = self.lock();
        let Some(call) = &mut state.call else { return Raise::Stopped };
        if std::mem::take(&mut call.interrupted) && call.stopped.is_none() {
            // The code may go on.
            self.go_to(Stage::Running);
            return Raise::Interrupt;
        }
        call.raised = Some(now);
        Raise::Stopped
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Waits until the call under way is at `stage` or beyond.
    pub(crate) async fn reached(&self, stage: Stage) {
        let mut stages = self.stage.subscribe();
        // The sender lives as long as `self`, so the only outcome is that the stage was reached.
        let _ = stages.wait_for(|current| *current >= stage).await;
    }

    /// Waits until the guest is asked to stop. One that cannot be asked waits on, and is dropped where it waits.
    pub(crate) async fn asked(&self) {
        self.reached(Stage::Stopping).await;
        if self.stage() == Stage::Abandoned {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the word that the guest has told.
    pub(crate) fn tell_word(&self, word: Word) {
        self.lock().word = Some(word);
    }

    /// Must be called before the instance's memory is given up.
    pub(crate) fn forget_word(&self) {
        self.lock().word = None;
    }
}

/// A call under way; it is over when this is dropped.
pub(crate) struct CallGuard {
    control: Arc<Control>,
    id: u64,
}

impl CallGuard {
    /// Why the call is stopped, if it is.
    pub(crate) fn reason(&self) -> Option<Reason> {
        let state = self.control.lock();
        state.call.as_ref().and_then(|call| call.stopped).map(|(reason, _)| reason)
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.control.lock().call = None;
        WATCHER.remove(self.id);
    }
}

/// The one thread of the process that looks after all deadlines.
struct Watcher {
    queue: Mutex<Queue>,
    earlier: Condvar,
}

struct Queue {
    due: BTreeMap<(Instant, u64), Arc<Control>>,
    /// Under which time a call stands in `due`.
    times: BTreeMap<u64, Instant>,
    /// When the thread looks next, if it is going to; it may be early.
    wakes: Option<Instant>,
    started: bool,
}

static WATCHER: Watcher = Watcher {
    queue: Mutex::new(Queue { due: BTreeMap::new(), times: BTreeMap::new(), wakes: None, started: false }),
    earlier: Condvar::new(),
};

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a call looked at, at `at`, or earlier if that was asked for before.
    fn add(&'static self, at: Instant, id: u64, control: &Arc<Control>) -> Result<()> {
        let mut queue = self.lock();
        if !queue.started {
            std::thread::Builder::new().name("eryx-watcher".to_owned()).spawn(|| self.watch()).map_err(
                |error| {
                    let message = Message::from(error);
                    Error::Thread(message.context("cannot start the thread that watches time limits"))
                },
            )?;
            queue.started = true;
        }
        if queue.times.get(&id).is_some_and(|earlier| *earlier <= at) {
            return Ok(());
        }
        if let Some(later) = queue.times.insert(id, at) {
            queue.due.remove(&(later, id));
        }
        queue.due.insert((at, id), Arc::clone(control));
        // The thread may sleep on towards an earlier time, where it will find this one, too.
        if queue.wakes.is_none_or(|wakes| at < wakes) {
            queue.wakes = Some(at);
            self.earlier.notify_one();
        }
        Ok(())
    }

    fn remove(&self, id: u64) {
        let mut queue = self.lock();
        if let Some(at) = queue.times.remove(&id) {
            queue.due.remove(&(at, id));
        }
    }

    fn watch(&self) {
        let mut queue = self.lock();
        loop {
            let now = Instant::now();
            while let Some(entry) = queue.due.first_entry().filter(|entry| entry.key().0 <= now) {
                let ((_, id), control) = entry.remove_entry();
                // The control's own lock is never waited for under ours.
                drop(queue);
                let next = control.look_after(id, now);
                queue = self.lock();
                // A call that has ended meanwhile is no longer among the times.
                match next {
                    Some(next) if queue.times.contains_key(&id) => {
                        queue.times.insert(id, next);
                        queue.due.insert((next, id), control);
                    }
                    _ => {
                        queue.times.remove(&id);
                    }
                }
            }
            queue.wakes = queue.due.first_key_value().map(|((at, _), _)| *at);
            queue = match queue.wakes {
                None => self.earlier.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let wait = at.saturating_duration_since(now);
                    self.earlier.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// The first of two futures to be ready; the other one is dropped.
pub(crate) async fn race<A, B>(
    first: impl Future<Output = A>,
    second: impl Future<Output = B>,
) -> Raced<A, B> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    std::future::poll_fn(|context| {
        if let Poll::Ready(value) = first.as_mut().poll(context) {
            return Poll::Ready(Raced::First(value));
        }
        second.as_mut().poll(context).map(Raced::Second)
    })
    .await
}

/// What [`race`] gives.
pub(crate) enum Raced<A, B> {
    First(A),
    Second(B),
}

/// Stops what a session does, from any thread.
#[derive(Clone)]
pub struct Canceller(pub(crate) Arc<Control>);

impl Canceller {
    /// Stops the call under way, or else the next one, which then does not begin. It ends with [`Error::Cancelled`]
    /// whatever its code makes of it; Python code is stopped by an exception and leaves the session usable, native code
    /// only as [`crate::Limits::stop_native_code`] says.
    ///
    /// # Errors
    /// When the thread cannot be started that sees to it.
    pub fn cancel(&self) -> Result<()> {
        self.0.cancel()
    }

    /// Raises `KeyboardInterrupt` in the code of the call under way, as Ctrl-C does in `python3`: the code may catch it and
    /// go on. Without a call nothing happens, nor while native code runs that does not return to Python.
    ///
    /// # Errors
    /// When the thread cannot be started that sees to it.
    pub fn interrupt(&self) -> Result<()> {
        self.0.interrupt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_four_aligned_bytes() {
        let memory = [0_u64; 2];
        let bytes: Vec<&[u8]> = {
            // SAFETY: the bytes of an array of integers.
            let all = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), 16) };
            vec![&all[..4], &all[1..5], &all[4..7], &all[4..8], &all[..0]]
        };
        // SAFETY: nobody writes through these.
        let found: Vec<bool> = bytes.iter().map(|place| unsafe { Word::of(place) }.is_some()).collect();
        assert_eq!(found, [true, false, false, true, false]);
    }

    /// A guest's word, and the control that was told of it.
    fn reachable() -> (&'static AtomicU32, Arc<Control>) {
        let memory: &'static AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
        let control = Control::new(None);
        // SAFETY: the memory is never given up.
        let bytes = unsafe { std::slice::from_raw_parts(memory.as_ptr().cast::<u8>(), 4) };
        // SAFETY: as above.
        control.tell_word(unsafe { Word::of(bytes) }.unwrap());
        (memory, control)
    }

    #[test]
    fn a_guest_that_can_be_asked_is_asked_again_and_then_abandoned() {
        let (memory, control) = reachable();
        let call = control.begin(Some(Duration::from_millis(1))).unwrap();
        let wait_for = |wanted: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !wanted() {
                assert!(start.elapsed() < Duration::from_secs(20));
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        wait_for(&|| memory.load(Ordering::Relaxed) == ASYNC_EXCEPTION);
        assert_eq!(call.reason(), Some(Reason::TimeLimit));
        memory.store(0, Ordering::Relaxed);
        wait_for(&|| memory.load(Ordering::Relaxed) == ASYNC_EXCEPTION);
        wait_for(&|| control.stage() == Stage::Abandoned);
        drop(call);
        memory.store(0, Ordering::Relaxed);
        std::thread::sleep(3 * REMINDER);
        assert_eq!(memory.load(Ordering::Relaxed), 0, "a call that is over is left alone");
        let call = control.begin(Some(Duration::from_secs(3600))).unwrap();
        assert_eq!((control.stage(), call.reason()), (Stage::Running, None));
        Canceller(Arc::clone(&control)).cancel().unwrap();
        assert_eq!((control.stage(), call.reason()), (Stage::Stopping, Some(Reason::Cancelled)));
        control.forget_word();
        memory.store(0, Ordering::Relaxed);
        wait_for(&|| control.stage() == Stage::Abandoned);
        assert_eq!(memory.load(Ordering::Relaxed), 0, "a word that is forgotten is not written to");
    }

    #[test]
    fn a_guest_that_has_raised_the_exception_has_time_to_tell_of_it() {
        let (memory, control) = reachable();
        let call = control.begin(None).unwrap();
        let start = Instant::now();
        let interrupted = |after: Duration| {
            control.remind(call.id, start + after);
            memory.swap(0, Ordering::Relaxed) == ASYNC_EXCEPTION
        };
        assert!(interrupted(Duration::ZERO));
        assert!(interrupted(REMINDER), "it may not have seen the first one");
        control.raised(start + REMINDER);
        assert!(!interrupted(2 * REMINDER));
        assert!(interrupted(REMINDER + PAUSE), "it may have caught the exception");
        control.raised(start + GRACE);
        assert!(interrupted(GRACE), "its time is over");
        assert_eq!(control.stage(), Stage::Abandoned);
    }

    #[test]
    fn an_interrupt_is_raised_once_and_stops_nothing() {
        let (memory, control) = reachable();
        Canceller(Arc::clone(&control)).interrupt().unwrap();
        assert_eq!(memory.load(Ordering::Relaxed), 0, "there is no call");
        let hour = Duration::from_secs(3600);
        for limit in [None, Some(hour)] {
            let call = control.begin(limit).unwrap();
            let start = Instant::now();
            Canceller(Arc::clone(&control)).interrupt().unwrap();
            assert_eq!(memory.swap(0, Ordering::Relaxed), ASYNC_EXCEPTION);
            assert_eq!(control.stage(), Stage::Stopping);
            assert_eq!(control.raised(start), Raise::Interrupt);
            assert_eq!((control.stage(), call.reason()), (Stage::Running, None));
            memory.store(0, Ordering::Relaxed);
            let next = control.look_after(call.id, start + REMINDER);
            assert_eq!((next.is_some(), memory.load(Ordering::Relaxed)), (limit.is_some(), 0));
            assert_eq!(control.raised(start), Raise::Stopped, "it was not asked again");
        }
        let call = control.begin(Some(hour)).unwrap();
        Canceller(Arc::clone(&control)).interrupt().unwrap();
        control.look_after(call.id, Instant::now() + hour);
        assert_eq!(call.reason(), Some(Reason::TimeLimit), "its time is over all the same");
        assert_eq!(control.raised(Instant::now()), Raise::Stopped);
    }

    #[test]
    fn a_cancellation_before_the_call_stops_it() {
        let control = Control::new(None);
        control.cancel().unwrap();
        control.cancel().unwrap();
        let cancelled = Error::Cancelled { traceback: String::new() };
        assert_eq!(control.begin(None).err(), Some(cancelled));
        assert_eq!(control.begin(None).unwrap().reason(), None, "it stops one call");
    }
}
