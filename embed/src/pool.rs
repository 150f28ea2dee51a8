//! A fresh instance for each execution.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::control::Canceller;
use crate::error::Error as Message;
use crate::failure::{Error, Result};
use crate::image::Image;
use crate::session::{Session, SessionOptions, blocking};
use crate::threads::Threads;

/// Gives each execution an instance of its own, which starts as the component's image has it and is dropped afterwards.
///
/// As many may be alive at once as the embedder's [`crate::Pooling`] has slots; further ones wait for a place. Clones
/// share the places.
///
/// The `_async` methods do not run guests on the executor that calls them: a guest that computes would hold up
/// everything else there. Each guest that computes has one of the pool's own threads, so that none has to wait until
/// another one ends; one that computes for more than 10 ms continues on a thread of lower priority. Guests that wait for
/// callbacks take none.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    image: Image,
    options: Box<dyn Fn() -> SessionOptions + Send + Sync>,
    places: Arc<Semaphore>,
    /// How many places there are.
    most: usize,
    /// The executor of the `_async` methods.
    threads: OnceLock<Threads>,
}

impl Pool {
    /// Makes a pool; `options` gives the limits, grants, callbacks and so on of each instance.
    ///
    /// The component is compiled if need be, so that the first execution does not have to wait for it.
    ///
    /// # Errors
    /// When the component does not fit the world.
    pub fn new(image: &Image, options: impl Fn() -> SessionOptions + Send + Sync + 'static) -> Result<Self> {
        image.pre(options().limits.stop_native_code)?;
        // Without slots, address space is the limit; no pool of slots is larger than this.
        let places = image.slots().unwrap_or(1 << 14) as usize;
        let shared = Shared {
            image: image.clone(),
            options: Box::new(options),
            places: Arc::new(Semaphore::new(places)),
            most: places,
            threads: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How many more instances could be alive now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.shared.places.available_permits()
    }

    /// Runs Python code in a fresh instance; gives what it printed. Blocks, on the calling thread.
    ///
    /// # Errors
    /// [`Error::Raised`] when the code raises; others when the guest stops without an answer, or is stopped.
    pub fn execute_fresh(&self, code: &str) -> Result<String> {
        blocking(async {
            let mut session = self.start(self.shared.place().await?, (self.shared.options)(), true).await?;
            session.execute_async(code).await
        })?
    }

    /// Runs Python code in a fresh instance, on the pool's threads; gives what it printed. When the future is dropped,
    /// the code is stopped.
    ///
    /// # Errors
    /// [`Error::Raised`] when the code raises; others when the guest stops without an answer, or is stopped.
    pub async fn execute_fresh_async(&self, code: impl Into<String>) -> Result<String> {
        self.execute_fresh_with(code, (self.shared.options)()).await
    }

    /// As [`Pool::execute_fresh_async`], with other options than the pool's.
    ///
    /// # Errors
    /// As [`Pool::execute_fresh_async`].
    pub async fn execute_fresh_with(
        &self,
        code: impl Into<String>,
        options: SessionOptions,
    ) -> Result<String> {
        let place = self.shared.place().await?;
        let (code, pool) = (code.into(), self.clone());
        let running = Arc::new(Running::default());
        let stop = StopOnDrop(Arc::clone(&running));
        let answer = self.shared.threads()?.run(async move {
            let mut session = pool.start(place, options, false).await?;
            running.begin(&session);
            session.execute_async(&code).await
        });
        let answer = answer.await;
        drop(stop);
        answer.unwrap_or_else(|_| Err(Error::Thread(Message::new("the thread of the call panicked"))))
    }

    /// Makes an instance that is kept, with options of its own; it takes a place until it is dropped. Blocks.
    ///
    /// # Errors
    /// When the start fails or reaches a limit.
    pub fn session(&self, options: SessionOptions) -> Result<Session> {
        blocking(async { self.start(self.shared.place().await?, options, true).await })?
    }

    async fn start(
        &self,
        place: OwnedSemaphorePermit,
        options: SessionOptions,
        blocks: bool,
    ) -> Result<Session> {
        Ok(Session::start(&self.shared.image, options, blocks).await?.occupying(place))
    }
}

impl Shared {
    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| Error::Thread(Message::new("the pool is closed")))
    }

    fn threads(&self) -> Result<&Threads> {
        if let Some(threads) = self.threads.get() {
            return Ok(threads);
        }
        let threads = Threads::new(self.most).map_err(|error| {
            Error::Thread(Message::from(error).context("cannot start threads for guests"))
        })?;
        // Another caller may have been faster: then ours end again.
        Ok(self.threads.get_or_init(|| threads))
    }
}

/// An execution on the pool's threads, as whoever waits for it sees it.
#[derive(Default)]
struct Running(Mutex<State>);

#[derive(Default)]
struct State {
    canceller: Option<Canceller>,
    stopped: bool,
}

impl Running {
    fn begin(&self, session: &Session) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let canceller = session.canceller();
        if state.stopped {
            // It only fails without a thread to do it, and then the deadline does not work either.
            let _ = canceller.cancel();
        }
        state.canceller = Some(canceller);
    }

    fn stop(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        if let Some(canceller) = &state.canceller {
            let _ = canceller.cancel();
        }
    }
}

/// Stops an execution when nobody waits for it any more; one that has ended is beyond that.
struct StopOnDrop(Arc<Running>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
