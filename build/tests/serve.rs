//! The service (`embed/serve`) with many more clients than slots, and with clients that it refuses. The component is the
//! bare interpreter unless `ERYX_E2E_COMPONENT` names another one.
#![cfg(feature = "e2e")]

#[path = "serve/attack.rs"]
mod attack;
mod bundled;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use eryx_build::layout::Layout;
use eryx_embed::{Embedder, EmbedderOptions, Limits, Pool, Pooling, SessionOptions};
use eryx_serve::{Bounds, listen, serve};

fn component() -> PathBuf {
    match std::env::var_os("ERYX_E2E_COMPONENT") {
        Some(path) => std::path::absolute(path).unwrap(),
        None => bundled::bundle::<&str>([]),
    }
}

/// What a client sends before the code.
fn head(headers: &str, code: &str) -> String {
    let length = code.len();
    format!(
        "POST /execute HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    )
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    Ok(stream)
}

/// Closes a connection so that the other side hears of it at once. When it is only closed, the other side cannot know
/// whether somebody still waits for an answer.
fn reset(stream: &TcpStream) {
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
}

/// The status and the body of an answer, which ends with the connection.
fn answer(stream: &mut TcpStream) -> std::io::Result<(u16, String)> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
}

fn request(address: SocketAddr, headers: &str, code: &str) -> std::io::Result<(u16, String)> {
    let mut stream = connect(address)?;
    stream.write_all(head(headers, code).as_bytes())?;
    stream.write_all(code.as_bytes())?;
    answer(&mut stream)
}

/// The memory of this process, in bytes, as far as it is its own: resident pages that are not of files.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

struct Served {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<std::io::Result<()>>>,
    pool: Pool,
    /// One service at a time: the memory is that of the process.
    _alone: MutexGuard<'static, ()>,
}

impl Served {
    fn start(bounds: Bounds) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let options = EmbedderOptions::default()
            .cache(Some(Layout::cache_folder().unwrap()))
            .pooling(Some(Pooling::of(bounds.slots)));
        let image = Embedder::with(options).unwrap().load(&component()).unwrap();
        let pool = Pool::new(&image, move || SessionOptions::default().limits(bounds.guest)).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let served = pool.clone();
        let thread = std::thread::spawn(move || {
            let executor =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            executor.block_on(async {
                let listener = listen("127.0.0.1:0", &bounds).await?;
                told.send(listener.local_addr()?).unwrap();
                serve(listener, served, bounds, async { drop(stopped.await) }).await
            })
        });
        let address = address.recv().unwrap();
        Self { address, stop: Some(stop), thread: Some(thread), pool, _alone: alone }
    }

    fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    /// Two clients whose code runs until they go away: one is served, one waits.
    fn occupy(&self) -> [TcpStream; 2] {
        let code = "while True: pass";
        let busy = [(); 2].map(|()| {
            let mut stream = connect(self.address).unwrap();
            stream.write_all((head("", code) + code).as_bytes()).unwrap();
            stream
        });
        let begun = Instant::now();
        while self.health() != "0 slots are free, and 0 places in the queue\n" {
            assert!(begun.elapsed() < Duration::from_secs(50), "{}", self.health());
            std::thread::sleep(Duration::from_millis(20));
        }
        busy
    }

    fn health(&self) -> String {
        let mut stream = connect(self.address).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        answer(&mut stream).unwrap().1
    }
}

/// A service for one guest at a time, with room for one that waits.
fn narrow() -> Served {
    let guest = Limits::default()
        .timeout(Some(Duration::from_secs(60)))
        .max_memory(Some(192 << 20))
        .max_output(Some(10_000));
    Served::start(Bounds { slots: 1, queue: 1, guest, code: 1000, ..Bounds::default() })
}

#[test]
fn a_thousand_requests_at_once_are_all_answered_in_bounded_memory() {
    const REQUESTS: usize = 1000;
    let slots = 16;
    let guest = Limits::default().timeout(Some(Duration::from_secs(120))).max_memory(Some(256 << 20));
    let mut served = Served::start(Bounds { slots, guest, ..Bounds::default() });
    let address = served.address;
    assert_eq!(request(address, "", "print(1 + 1)").unwrap(), (200, "2\n".to_owned()));
    let before = resident();
    let begun = Instant::now();
    let clients: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let client = std::thread::Builder::new().stack_size(64 << 10);
            let run =
                move || request(address, "", &format!("x = b'x' * 10_000_000\nprint({number} + len(x))"));
            client.spawn(run).unwrap()
        })
        .collect();
    let mut highest = 0;
    for (number, client) in clients.into_iter().enumerate() {
        highest = highest.max(resident());
        let answer = client.join().unwrap().unwrap();
        assert_eq!(answer, (200, format!("{}\n", number + 10_000_000)));
    }
    let more = highest.saturating_sub(before);
    println!(
        "{REQUESTS} requests in {:.1} s; {} MiB more at most",
        begun.elapsed().as_secs_f64(),
        more >> 20
    );
    // Each slot has what a guest writes, or what it keeps of the last one; a thousand connections and clients take some, too.
    // Without a bound it would be 10 GB.
    let allowed = u64::from(slots) * (16 << 20) + (64 << 20);
    assert!(more < allowed, "{} MiB", more >> 20);
    assert_eq!(served.pool.free(), slots as usize);
    served.stop();
}

#[test]
fn requests_have_limits() {
    let mut served = narrow();
    let address = served.address;
    let (status, body) = request(address, "x-time-limit: 100ms\r\n", "while True: pass").unwrap();
    assert_eq!(status, 408, "{body}");
    assert!(body.starts_with("error: the time limit of 100 ms was reached\n"), "{body}");
    assert_eq!(request(address, "x-time-limit: soon\r\n", "pass").unwrap().0, 400);
    assert_eq!(request(address, "", &"#".repeat(1001)).unwrap().0, 413);
    // It is refused long before it has come, and the client gets the answer all the same.
    assert_eq!(request(address, "", &"#".repeat(32 << 20)).unwrap().0, 413);
    let (status, body) = request(address, "", "print('x' * 20_000)").unwrap();
    assert!(status == 422 && body.contains("OSError: [Errno 51]"), "{status} {body}");
    let (status, body) = request(address, "", "x = bytes(300_000_000)").unwrap();
    assert!(status == 422 && body.ends_with("MemoryError\n"), "{status} {body}");
    // Who is being served when the service ends is answered.
    let last =
        std::thread::spawn(move || request(address, "", "import time\ntime.sleep(1)\nprint('served')"));
    std::thread::sleep(Duration::from_millis(500));
    served.stop();
    assert_eq!(last.join().unwrap().unwrap(), (200, "served\n".to_owned()));
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn who_finds_the_queue_full_is_told_so() {
    let mut served = narrow();
    let address = served.address;
    // One runs, one waits, and there is no place for a third, nor for a hundred.
    let busy = served.occupy();
    let more: Vec<_> = (0..100).map(|_| std::thread::spawn(move || request(address, "", "pass"))).collect();
    for client in more {
        assert_eq!(client.join().unwrap().unwrap(), (503, "the queue is full\n".to_owned()));
    }
    // When their clients go away, they end.
    busy.iter().for_each(reset);
    drop(busy);
    let begun = Instant::now();
    while request(address, "", "pass").unwrap().0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(50), "they go on though nobody waits for them");
        std::thread::sleep(Duration::from_millis(20));
    }
    served.stop();
}
