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
//! | 400 | the code is no UTF-8, or the request is malformed |
//! | 408 | the time limit was reached, or the code did not arrive |
//! | 413 | the code is too long |
//! | 422 | the traceback of what was raised |
//! | 500 | the guest ended otherwise |
//! | 503 | the queue is full, or there is no room for the code: come again later |
//!
//! The code is nobody's own: [`Bounds`] limits what a guest may use, and what a client may. Whoever is slow or silent makes
//! room for others when there is none left; a client has no more than three quarters of the slots; a client that closes its
//! direction of the connection still gets its answer.

mod clients;
mod connection;
mod execute;
mod turns;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use eryx_embed::{Limits, Pool};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpSocket, TcpStream, ToSocketAddrs};

use clients::{Client, Clients, Ticket};
use connection::Connection;
use execute::Service;
use turns::Turns;

/// The most headers of a request, and the most that hyper reads ahead, in bytes.
const HEADERS: usize = 64;
const BUFFER: usize = 16 << 10;

/// What the service may use.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How many guests are alive at once.
    pub slots: u32,
    /// How many requests wait for one beyond that.
    pub queue: usize,
    /// How many connections are open at once, at least one more than requests that are served or wait. When there are
    /// more, the one is closed that has waited longest for its client. As many more may be in the system's backlog, if it
    /// allows so long a one (`net.core.somaxconn`).
    pub connections: usize,
    /// The longest code, in bytes.
    pub code: usize,
    /// The most bytes of all requests and answers that are held at once.
    pub memory: usize,
    /// How long a client may take to send its request, to take 64 KiB of the answer, to send another request, and to close
    /// its connection after the last answer; how long a shutdown waits for answers.
    pub patience: Duration,
    /// What each guest may use.
    pub guest: Limits,
}

impl Default for Bounds {
    /// Bounds for code of anybody: [`Limits::untrusted`], in which every loop is stopped. That costs about a fifth of the
    /// guests' speed; with [`Limits::stop_native_code`] off, a loop in native code has its slot for good.
    fn default() -> Self {
        Self {
            slots: 32,
            queue: 1024,
            connections: 2048,
            code: 1 << 20,
            memory: 256 << 20,
            patience: Duration::from_secs(10),
            guest: Limits::untrusted(),
        }
    }
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

/// Lets this process open as many files as the system allows it: each connection is one.
pub fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // With less, connections make room for others earlier.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
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
    let slots = bounds.slots as usize;
    let turns = Turns::new(slots, bounds.queue);
    let clients = Clients::new(bounds.connections.max(slots + bounds.queue + 1), bounds.memory);
    let service = Arc::new(Service { pool, bounds, turns });
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut shutdown => break,
        };
        match accepted {
            Ok((stream, address)) => {
                // Without a ticket, all connections are at work for their clients: this one is closed.
                if let Some(ticket) = clients.admit(Client::of(address.ip())) {
                    tokio::spawn(connect(stream, ticket, Arc::clone(&service), graceful.watcher()));
                }
            }
            // Too many open files, say: it passes when somebody goes.
            Err(_) => {
                if !clients.make_room() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                tokio::task::yield_now().await;
            }
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(bounds.patience, graceful.shutdown()).await;
    Ok(())
}

/// Serves a connection to its end.
async fn connect(stream: TcpStream, ticket: Ticket, service: Arc<Service>, watcher: Watcher) {
    let (stream, ticket) = (Arc::new(stream), Arc::new(ticket));
    let patience = service.bounds.patience;
    let connection = Connection::new(Arc::clone(&stream), patience);
    let lost = Arc::clone(&ticket);
    let answers = service_fn(move |request| {
        let (service, ticket, stream) = (Arc::clone(&service), Arc::clone(&ticket), Arc::clone(&stream));
        async move { Ok::<_, Infallible>(service.answer(request, &ticket, &stream).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .half_close(true)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(connection), answers);
    tokio::select! {
        // A client that goes away ends its connection, and with it its guest.
        _ = watcher.watch(served) => {}
        () = lost.lost() => {}
    }
}
