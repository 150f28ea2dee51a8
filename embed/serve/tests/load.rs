//! The service with many more clients than slots. The component is `dist/python.wasm` unless `ERYX_E2E_COMPONENT` names
//! another one.
#![cfg(feature = "e2e")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use eryx_embed::{Embedder, EmbedderOptions, Limits, Pool, Pooling, SessionOptions};
use eryx_serve::{Bounds, serve};

fn component() -> PathBuf {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/python.wasm");
    let path = std::env::var_os("ERYX_E2E_COMPONENT").map_or_else(built, PathBuf::from);
    assert!(path.exists(), "`{}` is not there: `just bundle` makes it", path.display());
    path
}

/// A request; its status and the body of its answer.
fn request(address: SocketAddr, headers: &str, code: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(300)))?;
    let length = code.len();
    write!(
        stream,
        "POST /execute HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{code}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Ok((status, body))
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
}

impl Served {
    fn start(bounds: Bounds) -> Self {
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).to_owned();
        let options = EmbedderOptions {
            cache: Some(cache),
            pooling: Some(Pooling::of(bounds.slots)),
            ..EmbedderOptions::default()
        };
        let image = Embedder::with(options).unwrap().load(&component()).unwrap();
        let guest = bounds.guest;
        let pool =
            Pool::new(&image, move || SessionOptions { limits: guest, ..SessionOptions::default() }).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let served = pool.clone();
        let thread = std::thread::spawn(move || {
            let executor =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            executor.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
                told.send(listener.local_addr()?).unwrap();
                serve(listener, served, bounds, async { drop(stopped.await) }).await
            })
        });
        Self { address: address.recv().unwrap(), stop: Some(stop), thread: Some(thread), pool }
    }

    fn stop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

#[test]
fn a_thousand_requests_at_once_are_all_answered_in_bounded_memory() {
    const REQUESTS: usize = 1000;
    let slots = 16;
    let guest =
        Limits { timeout: Some(Duration::from_secs(120)), max_memory: Some(256 << 20), ..Limits::default() };
    let mut served = Served::start(Bounds { slots, guest, ..Bounds::default() });
    let address = served.address;
    assert_eq!(request(address, "", "print(1 + 1)").unwrap(), (200, "2\n".to_owned()));
    let before = resident();
    let begun = Instant::now();
    let clients: Vec<_> = (0..REQUESTS)
        .map(|number| {
            let client = std::thread::Builder::new().stack_size(64 << 10);
            let run =
                move || request(address, "", &format!("x = bytes(10_000_000)\nprint({number} + len(x))"));
            client.spawn(run).unwrap()
        })
        .collect();
    let mut highest = 0;
    for (number, client) in clients.into_iter().enumerate() {
        highest = highest.max(resident());
        let answer = client.join().unwrap().unwrap();
        assert_eq!(answer, (200, format!("{}\n", number + 10_000_000)));
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{REQUESTS} requests in {seconds:.1} s; {} MiB more at most",
        highest.saturating_sub(before) >> 20
    );
    // What the slots may keep, what the guests that run write, and what a thousand connections and clients take.
    let allowed = u64::from(slots) * ((16 + 32) << 20) + (128 << 20);
    assert!(highest.saturating_sub(before) < allowed, "{} MiB", highest.saturating_sub(before) >> 20);
    assert_eq!(served.pool.free(), slots as usize);
    served.stop();
}

#[test]
fn requests_have_limits_and_the_queue_is_bounded() {
    let guest = Limits {
        timeout: Some(Duration::from_secs(60)),
        max_memory: Some(192 << 20),
        max_output: Some(10_000),
        ..Limits::default()
    };
    let mut served = Served::start(Bounds { slots: 1, queue: 1, guest, code: 1000, ..Bounds::default() });
    let address = served.address;
    let (status, body) = request(address, "x-time-limit: 100ms\r\n", "while True: pass").unwrap();
    assert_eq!(status, 408, "{body}");
    assert!(body.starts_with("error: the time limit of 100 ms was reached\n"), "{body}");
    assert_eq!(request(address, "x-time-limit: soon\r\n", "pass").unwrap().0, 400);
    assert_eq!(request(address, "", &"#".repeat(1001)).unwrap().0, 413);
    let (status, body) = request(address, "", "print('x' * 20_000)").unwrap();
    assert!(status == 422 && body.contains("OSError: [Errno 51]"), "{status} {body}");
    let (status, body) = request(address, "", "x = bytes(300_000_000)").unwrap();
    assert!(status == 422 && body.ends_with("MemoryError\n"), "{status} {body}");
    // One runs, one waits, and there is no place for a third. When their clients go away, they end.
    let go_away = || {
        let mut stream = TcpStream::connect(address).unwrap();
        let code = "while True: pass";
        write!(stream, "POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{code}", code.len())
            .unwrap();
        stream
    };
    let first = go_away();
    let second = go_away();
    let begun = Instant::now();
    while request(address, "", "pass").unwrap().0 != 503 {
        assert!(begun.elapsed() < Duration::from_secs(50));
        std::thread::sleep(Duration::from_millis(20));
    }
    drop((first, second));
    while request(address, "", "pass").unwrap().0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(50), "they go on though nobody waits for them");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Who is being served when the service ends is answered.
    let last =
        std::thread::spawn(move || request(address, "", "import time\ntime.sleep(1)\nprint('served')"));
    std::thread::sleep(Duration::from_millis(500));
    served.stop();
    assert_eq!(last.join().unwrap().unwrap(), (200, "served\n".to_owned()));
    assert!(TcpStream::connect(address).is_err());
}
