//! A fresh instance for each execution.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::runtime::Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::control::Canceller;
use crate::error::{Error, Result};
use crate::failure::Failure;
use crate::image::Image;
use crate::session::{Session, SessionOptions, blocking};

/// What `execute` answers: what the code printed, or its traceback.
type Answer = Result<String, String>;

/// Gives each execution an instance of its own, which starts as the component's image has it and is dropped afterwards.
///
/// As many may be alive at once as the embedder's [`crate::Pooling`] has slots; further ones wait for a place. Clones
/// share the places.
///
/// The `_async` methods do not run guests on the executor that calls them: a guest that computes would hold up
/// everything else there. They run on as many threads of the pool's own as there are processors; guests that wait for
/// callbacks take none.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    image: Image,
    options: Box<dyn Fn() -> SessionOptions + Send + Sync>,
    places: Arc<Semaphore>,
    threads: OnceLock<Threads>,
}

/// The executor of the `_async` methods.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        // A plain drop would wait for guests, and panics on an executor's thread.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
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
            threads: OnceLock::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// How many more instances could be alive now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.shared.places.available_permits()
    }

    /// Runs Python code in an instance of its own. Blocks, on the calling thread.
    ///
    /// # Errors
    /// When the guest stops without an answer, or is stopped.
    pub fn execute_fresh(&self, code: &str) -> Result<Answer, Failure> {
        blocking(async {
            let mut session = self.start(self.shared.place().await?, (self.shared.options)(), true).await?;
            session.execute_async(code).await
        })?
    }

    /// Runs Python code in an instance of its own, on the pool's threads. When the future is dropped, the code is
    /// stopped.
    ///
    /// # Errors
    /// When the guest stops without an answer, or is stopped.
    pub async fn execute_fresh_async(&self, code: impl Into<String>) -> Result<Answer, Failure> {
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
    ) -> Result<Answer, Failure> {
        let place = self.shared.place().await?;
        let (code, pool) = (code.into(), self.clone());
        let running = Arc::new(Running::default());
        let stop = StopOnDrop(Arc::clone(&running));
        let answer = self.shared.threads()?.spawn(async move {
            let mut session = pool.start(place, options, false).await?;
            running.begin(&session);
            session.execute_async(&code).await
        });
        let answer = answer.await;
        drop(stop);
        answer.unwrap_or_else(|error| {
            Err(Failure::unusable(Error::new(format!("the guest's thread: {error}"))))
        })
    }

    /// Makes an instance that is kept, with options of its own; it takes a place until it is dropped. Blocks.
    ///
    /// # Errors
    /// When the start fails or reaches a limit.
    pub fn session(&self, options: SessionOptions) -> Result<Session, Failure> {
        blocking(async { self.start(self.shared.place().await?, options, true).await })?
    }

    async fn start(
        &self,
        place: OwnedSemaphorePermit,
        options: SessionOptions,
        blocks: bool,
    ) -> Result<Session, Failure> {
        Ok(Session::start(&self.shared.image, options, blocks).await?.occupying(place))
    }
}

impl Shared {
    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|_| Failure::unusable(Error::new("the pool is closed")))
    }

    fn threads(&self) -> Result<&Runtime, Failure> {
        if self.threads.get().is_none() {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("eryx-guest")
                .enable_all()
                .build()
                .map_err(|error| {
                    Failure::unusable(Error::from(error).context("cannot start threads for guests"))
                })?;
            // Another thread may have been faster: then ours end again.
            let _ = self.threads.set(Threads(Some(runtime)));
        }
        let threads = self.threads.get().and_then(|threads| threads.0.as_ref());
        threads.ok_or_else(|| Failure::unusable(Error::new("the pool's threads have ended")))
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
