//! Where a guest's standard output and standard error go, as they are written.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamError, StreamResult};

/// The most that is captured of one output, in bytes; a guest that writes more gets an error.
const CAPTURE_LIMIT: u64 = 256 << 20;
/// The most that is written at once, in bytes.
const CHUNK: usize = 64 << 10;

/// A function that takes what is written.
type Function = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Where a guest's standard output or standard error goes.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Output {
    /// Nowhere.
    #[default]
    Discard,
    /// To the embedder's own, as it is written.
    Inherit,
    /// Into memory, see [`crate::Session::stdout`]; at most 256 MiB.
    Capture,
    /// To a function, as it is written. The guest stands still while it runs.
    Call(Function),
    /// Into a channel, as it is written. While the channel is full the guest waits, so it never holds more than its
    /// capacity times 64 KiB; once the receiver is gone, the guest gets an error.
    Channel(mpsc::Sender<Vec<u8>>),
}

impl Output {
    /// Output that goes to a function.
    pub fn call(function: impl Fn(&[u8]) + Send + Sync + 'static) -> Self {
        Self::Call(Arc::new(function))
    }
}

/// How many bytes of output an instance may still write, over all its outputs.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: u64,
    left: AtomicU64,
    refused: AtomicU64,
}

impl Budget {
    pub(crate) fn new(limit: Option<u64>) -> Arc<Self> {
        let limit = limit.unwrap_or(u64::MAX);
        Arc::new(Self { limit, left: AtomicU64::new(limit), refused: AtomicU64::new(0) })
    }

    /// Takes this many bytes, all or none.
    pub(crate) fn take(&self, bytes: u64) -> bool {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
            .is_ok();
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// The limit, if it was reached.
    pub(crate) fn overrun(&self) -> Option<u64> {
        (self.refused.load(Ordering::Relaxed) > 0).then_some(self.limit)
    }
}

#[derive(Clone)]
enum Sink {
    Discard,
    Stdout,
    Stderr,
    Capture(Arc<Mutex<Vec<u8>>>),
    Call(Function),
    Channel(mpsc::Sender<Vec<u8>>),
}

/// One of an instance's two outputs.
#[derive(Clone)]
pub(crate) struct Outlet {
    sink: Sink,
    budget: Arc<Budget>,
    /// What a channel had no room for.
    waiting: Option<Bytes>,
}

impl Outlet {
    pub(crate) fn stdout(output: Output, budget: &Arc<Budget>) -> Self {
        Self::new(output, Sink::Stdout, budget)
    }

    pub(crate) fn stderr(output: Output, budget: &Arc<Budget>) -> Self {
        Self::new(output, Sink::Stderr, budget)
    }

    fn new(output: Output, inherited: Sink, budget: &Arc<Budget>) -> Self {
        let sink = match output {
            Output::Discard => Sink::Discard,
            Output::Inherit => inherited,
            Output::Capture => Sink::Capture(Arc::default()),
            Output::Call(function) => Sink::Call(function),
            Output::Channel(sender) => Sink::Channel(sender),
        };
        Self { sink, budget: Arc::clone(budget), waiting: None }
    }

    /// What was captured so far.
    pub(crate) fn captured(&self) -> Vec<u8> {
        match &self.sink {
            Sink::Capture(buffer) => buffer.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            _ => Vec::new(),
        }
    }

    /// How many bytes may be written now.
    fn room(&self) -> u64 {
        let left = self.budget.left.load(Ordering::Relaxed);
        match &self.sink {
            Sink::Capture(buffer) => {
                let held = buffer.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
                left.min(CAPTURE_LIMIT.saturating_sub(held))
            }
            _ => left,
        }
    }

    /// Hands over what waits for room in a channel.
    fn hand_over(&mut self) -> StreamResult<()> {
        let Sink::Channel(sender) = &self.sink else { return Ok(()) };
        if let Some(bytes) = self.waiting.take() {
            match sender.try_send(bytes.to_vec()) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(_)) => self.waiting = Some(bytes),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(StreamError::Closed),
            }
        }
        Ok(())
    }
}

/// As `wasmtime-wasi` tells an error: the guest sees the same `errno` whoever writes.
fn failed(error: std::io::Error) -> StreamError {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        StreamError::Closed
    } else {
        StreamError::LastOperationFailed(error.into())
    }
}

#[async_trait::async_trait]
impl OutputStream for Outlet {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // The guest may write what `check_write` allowed. Ours asks; one that does not is no guest of ours.
        if self.waiting.is_some() || bytes.len() > CHUNK || bytes.len() as u64 > self.room() {
            return Err(StreamError::Trap(wasmtime::Error::msg("more was written than was allowed")));
        }
        if !self.budget.take(bytes.len() as u64) {
            // Another output was allowed the same bytes, and took them first.
            return Err(failed(rustix::io::Errno::NOSPC.into()));
        }
        match &self.sink {
            Sink::Discard => {}
            Sink::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&bytes).and_then(|()| stdout.flush()).map_err(failed)?;
            }
            Sink::Stderr => std::io::stderr().lock().write_all(&bytes).map_err(failed)?,
            Sink::Capture(buffer) => {
                buffer.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes);
            }
            Sink::Call(function) => function(&bytes),
            Sink::Channel(_) => {
                self.waiting = Some(bytes);
                self.hand_over()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.hand_over()?;
        if self.waiting.is_some() {
            return Ok(0);
        }
        let room = self.room();
        if room == 0 {
            self.budget.refused.fetch_add(1, Ordering::Relaxed);
            // The guest sees ENOSPC: wasmtime-wasi looks at the number, and for this kind at nothing else.
            return Err(failed(rustix::io::Errno::NOSPC.into()));
        }
        Ok(usize::try_from(room).unwrap_or(usize::MAX).min(CHUNK))
    }

    /// Without the last `check_write` of the trait's own: what was written may have been all that was allowed.
    async fn blocking_write_and_flush(&mut self, mut bytes: Bytes) -> StreamResult<()> {
        while !bytes.is_empty() {
            let permit = self.write_ready().await?;
            let chunk = bytes.split_to(bytes.len().min(permit));
            self.write(chunk)?;
        }
        // Whoever drops the stream now must not take with it what a channel had no room for.
        while self.waiting.is_some() {
            self.ready().await;
            self.hand_over()?;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Pollable for Outlet {
    async fn ready(&mut self) {
        if let (Sink::Channel(sender), Some(_)) = (&self.sink, &self.waiting) {
            // The place is given back at once: this is the only sender that takes it, or else it waits again.
            let _ = sender.reserve().await;
        }
    }
}

impl IsTerminal for Outlet {
    fn is_terminal(&self) -> bool {
        match self.sink {
            Sink::Stdout => std::io::stdout().lock().is_terminal(),
            Sink::Stderr => std::io::stderr().lock().is_terminal(),
            _ => false,
        }
    }
}

impl StdoutStream for Outlet {
    /// Only WASI 0.3 asks for it, which the worlds do not import.
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}
