//! Serves Python over HTTP, as an example of an embedder with many guests at once:
//! `cargo run --release -p eryx-serve dist/python.wasm [ADDRESS]`.
//!
//! ```console
//! $ curl --data-binary 'print(1 + 1)' -H 'x-time-limit: 500ms' http://127.0.0.1:8080/execute
//! 2
//! ```
//!
//! Each request gets an instance of its own. The answer is sent when the code has ended, so that the status says how it
//! ended:
//!
//! | status | meaning |
//! |---|---|
//! | 200 | what the code printed |
//! | 400 | the code is no UTF-8, or a header is malformed |
//! | 408 | the time limit was reached, or the code did not arrive |
//! | 413 | the code is too long |
//! | 422 | the traceback of what was raised |
//! | 500 | the guest ended otherwise |
//! | 503 | the queue is full: come again later |

mod linger;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eryx_embed::{Cause, Limits, Pool, SessionOptions, parse_duration};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs};
use tokio::sync::Semaphore;

use linger::Lingering;

/// What the service may use.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many guests are alive at once.
    pub slots: u32,
    /// How many requests wait for one beyond that.
    pub queue: usize,
    /// How many connections are open at once. As many more may wait in the system's backlog, if it allows so long a one
    /// (`net.core.somaxconn`).
    pub connections: usize,
    /// The longest code, in bytes.
    pub code: usize,
    /// How long a client may take to send its request, and to close its connection after the last answer; how long a
    /// shutdown waits for answers.
    pub patience: Duration,
    /// What each guest may use.
    pub guest: Limits,
}

impl Default for Bounds {
    fn default() -> Self {
        let guest = Limits {
            timeout: Some(Duration::from_secs(5)),
            max_memory: Some(256 << 20),
            max_output: Some(1 << 20),
            ..Limits::default()
        };
        let patience = Duration::from_secs(10);
        Self { slots: 32, queue: 1024, connections: 2048, code: 1 << 20, patience, guest }
    }
}

struct Service {
    pool: Pool,
    bounds: Bounds,
    /// A place for each request that runs or waits.
    places: Semaphore,
}

/// Listens at an address, with the backlog of [`Bounds::connections`].
///
/// [`TcpListener::bind`] has one of 128. When more clients come at once, Linux remembers them by SYN cookies only, and
/// resets those whose cookie it does not take when they send their request.
///
/// # Errors
/// When the address cannot be had.
pub async fn listen(address: impl ToSocketAddrs, bounds: &Bounds) -> std::io::Result<TcpListener> {
    let backlog = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
    let mut refused = std::io::Error::other("the name has no address");
    for address in tokio::net::lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // So that a service can be started again at once.
        socket.set_reuseaddr(true)?;
        match socket.bind(address).and_then(|()| socket.listen(backlog)) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// Serves until `shutdown` is ready, then answers what has come so far.
///
/// # Errors
/// None at present: what fails is a connection.
pub async fn serve(
    listener: TcpListener,
    pool: Pool,
    bounds: Bounds,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let places = Semaphore::new(bounds.slots as usize + bounds.queue);
    let service = Arc::new(Service { pool, bounds, places });
    let connections = Arc::new(Semaphore::new(bounds.connections));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = async {
            let connection = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, connection)
        };
        let (accepted, connection) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        let Ok((stream, _)) = accepted else {
            // Too many open files, say: it passes.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let service = Arc::clone(&service);
        let answers = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(service.answer(request).await) }
        });
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(bounds.patience)
            .serve_connection(TokioIo::new(Lingering::new(stream, bounds.patience)), answers);
        let served = graceful.watch(served);
        tokio::spawn(async move {
            // A client that goes away ends its connection, and with it its guest.
            let _ = served.await;
            drop(connection);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(bounds.patience, graceful.shutdown()).await;
    Ok(())
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/health") => {
                let places = self.places.available_permits().min(self.bounds.queue);
                let slots = self.pool.free();
                told(StatusCode::OK, format!("{slots} slots are free, and {places} places in the queue\n"))
            }
            (&Method::POST, "/execute") => self.execute(request).await.unwrap_or_else(|response| response),
            (_, "/execute") => told(StatusCode::METHOD_NOT_ALLOWED, "send the code by POST\n"),
            _ => told(StatusCode::NOT_FOUND, "there is only `/execute` and `/health`\n"),
        }
    }

    async fn execute(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Response<Full<Bytes>>> {
        let Ok(_place) = self.places.try_acquire() else {
            let mut full = told(StatusCode::SERVICE_UNAVAILABLE, "the queue is full\n");
            full.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return Err(full);
        };
        let mut limits = self.bounds.guest;
        if let Some(asked) = request.headers().get("x-time-limit") {
            let asked = asked.to_str().map_err(|_| told(StatusCode::BAD_REQUEST, "malformed header\n"))?;
            let asked =
                parse_duration(asked).map_err(|error| told(StatusCode::BAD_REQUEST, error.render()))?;
            limits.timeout = Some(limits.timeout.map_or(asked, |most| most.min(asked)));
        }
        let body = Limited::new(request.into_body(), self.bounds.code).collect();
        let body = tokio::time::timeout(self.bounds.patience, body).await;
        let body = body.map_err(|_| told(StatusCode::REQUEST_TIMEOUT, "the code did not arrive\n"))?;
        let body = body.map_err(|error| told(StatusCode::PAYLOAD_TOO_LARGE, format!("{error}\n")))?;
        let code = String::from_utf8(body.to_bytes().into())
            .map_err(|_| told(StatusCode::BAD_REQUEST, "expected code in UTF-8\n"))?;
        let options = SessionOptions { limits, ..SessionOptions::default() };
        Ok(match self.pool.execute_fresh_with(code, options).await {
            Ok(Ok(printed)) => told(StatusCode::OK, printed),
            Ok(Err(traceback)) => told(StatusCode::UNPROCESSABLE_ENTITY, traceback),
            Err(failure) if failure.cause == Cause::TimeLimit => {
                told(StatusCode::REQUEST_TIMEOUT, failure.error.render())
            }
            Err(failure) => told(StatusCode::INTERNAL_SERVER_ERROR, failure.error.render()),
        })
    }
}

fn told(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
