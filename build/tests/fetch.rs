//! Fetching, against a server in the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use eryx_build::digest::Digest;
use eryx_build::fetch::{FetchOptions, Fetcher, Origin, Pin};
use eryx_build::file_name::FileName;

const BYTES: &[u8] = b"the right bytes";

/// Serves fixed behaviours by path and counts the requests of each.
struct Server {
    base: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = Arc::clone(&seen);
        // The thread ends with the test process; each connection has one of its own.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { base, seen }
    }

    fn url(&self, path: &str) -> Origin {
        Origin::Url(format!("{}{path}", self.base))
    }

    fn count(&self, path: &str) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| *seen == path).count()
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        line.clear();
    }
    let Some(path) = first.split(' ').nth(1).map(str::to_owned) else { return };
    let earlier = {
        let mut seen = seen.lock().unwrap();
        seen.push(path.clone());
        seen.iter().filter(|other| **other == path).count() - 1
    };
    let ok = |length: usize, body: &[u8]| {
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").into_bytes();
        answer.extend_from_slice(body);
        answer
    };
    let status = |text: &str| {
        format!("HTTP/1.1 {text}\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope").into_bytes()
    };
    let answer = match path.as_str() {
        "/good" => ok(BYTES.len(), BYTES),
        "/wrong" => ok(BYTES.len(), b"the wrong bytes"),
        "/long" => ok(BYTES.len() + 5, b"the right bytes+more"),
        "/truncated" => ok(BYTES.len(), &BYTES[..5]),
        "/unavailable" => status("503 Service Unavailable"),
        "/twice-unavailable" if earlier < 2 => status("503 Service Unavailable"),
        "/twice-unavailable" => ok(BYTES.len(), BYTES),
        "/once-truncated" if earlier == 0 => ok(BYTES.len(), &BYTES[..5]),
        "/once-truncated" => ok(BYTES.len(), BYTES),
        "/chunked" => {
            let mut answer =
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n".to_vec();
            answer.extend(format!("{:x}\r\n", BYTES.len()).into_bytes());
            answer.extend_from_slice(BYTES);
            answer.extend_from_slice(b"\r\n0\r\n\r\n");
            answer
        }
        "/moved" => {
            b"HTTP/1.1 302 Found\r\nlocation: /good\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                .to_vec()
        }
        _ => status("404 Not Found"),
    };
    stream.write_all(&answer).unwrap();
}

fn pin(origins: Vec<Origin>) -> Pin {
    let file = FileName::new("x-1.tar.gz").unwrap();
    Pin { file, sha256: Digest::of(BYTES), size: Some(BYTES.len() as u64), origins }
}

fn fetch(options: FetchOptions, pin: &Pin) -> Result<Vec<u8>, String> {
    let mut sink = Vec::new();
    match Fetcher::new(options).download(pin, &mut sink, &|_, _| ()) {
        Ok(()) => Ok(sink),
        Err(error) => {
            assert!(sink.is_empty(), "bytes reached the caller before an error");
            Err(error.to_string())
        }
    }
}

#[test]
fn a_wrong_origin_never_poisons() {
    let server = Server::start();
    for bad in ["/missing", "/wrong", "/long"] {
        let pin = pin(vec![server.url(bad), server.url("/good")]);
        assert_eq!(fetch(FetchOptions::default(), &pin).as_deref(), Ok(BYTES), "{bad}");
        assert_eq!(server.count(bad), 1, "{bad}: asking again cannot help");
    }
    assert_eq!(server.count("/good"), 3);
}

#[test]
fn passing_failures_are_tried_again() {
    let server = Server::start();
    for (path, requests) in
        [("/twice-unavailable", 3), ("/once-truncated", 2), ("/chunked", 1), ("/moved", 1)]
    {
        assert_eq!(
            fetch(FetchOptions::default(), &pin(vec![server.url(path)])).as_deref(),
            Ok(BYTES),
            "{path}"
        );
        assert_eq!(server.count(path), requests, "{path}");
    }
}

#[test]
fn all_failures_are_in_one_error() {
    let server = Server::start();
    let refused = {
        // A port that was free a moment ago refuses.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/x", listener.local_addr().unwrap())
    };
    let mut origins: Vec<Origin> =
        ["/missing", "/wrong", "/long", "/truncated", "/unavailable"].map(|path| server.url(path)).into();
    origins.push(Origin::Url(refused.clone()));
    let empty = tempfile::tempdir().unwrap();
    let options = FetchOptions { mirror: Some(empty.path().to_owned()), ..FetchOptions::default() };
    let error = fetch(options, &pin(origins)).unwrap_err();
    let error = error
        .replace(&server.base, "SERVER")
        .replace(&refused, "REFUSED")
        .replace(&empty.path().display().to_string(), "MIRROR");
    let golden = format!(
        "cannot fetch `x-1.tar.gz`
  sha256 {}
  mirror `MIRROR/x-1.tar.gz`: no such file or directory (os error 2)
  `SERVER/missing`: status 404 not found
  `SERVER/wrong`: wrong bytes: their sha256 is {}
  `SERVER/long`: wrong size: expected 15 bytes but found more
  `SERVER/truncated`: broke off after 5 bytes: peer disconnected (3 tries)
  `SERVER/unavailable`: status 503 service unavailable (3 tries)
  `REFUSED`: connection refused (os error 111) (3 tries)
hint: an origin has other bytes than are pinned: compare with a copy that you trust
hint: check the network and the proxy settings (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`)
hint: a copy from elsewhere can be given: `--mirror DIR` with a file `x-1.tar.gz`",
        Digest::of(BYTES),
        Digest::of(b"the wrong bytes")
    );
    assert_eq!(error, golden);
}

#[test]
fn offline_asks_nobody_but_the_mirror() {
    let server = Server::start();
    let pin = pin(vec![server.url("/good")]);
    let offline = |mirror: Option<PathBuf>| FetchOptions { offline: true, mirror, ..FetchOptions::default() };
    let error = fetch(offline(None), &pin).unwrap_err();
    assert_eq!(
        error,
        format!(
            "`x-1.tar.gz` is not in the store, and offline forbids fetching it\n  sha256 {}\nhint: run `eryx-build fetch` with the network first",
            pin.sha256
        )
    );
    let mirror = tempfile::tempdir().unwrap();
    std::fs::write(mirror.path().join("x-1.tar.gz"), BYTES).unwrap();
    assert_eq!(fetch(offline(Some(mirror.path().to_owned())), &pin).as_deref(), Ok(BYTES));
    assert_eq!(server.count("/good"), 0);
}

#[test]
fn a_wrong_file_in_the_mirror_is_passed_over() {
    let server = Server::start();
    let mirror = tempfile::tempdir().unwrap();
    std::fs::write(mirror.path().join("x-1.tar.gz"), b"the wrong bytes").unwrap();
    let options = FetchOptions { mirror: Some(mirror.path().to_owned()), ..FetchOptions::default() };
    assert_eq!(fetch(options, &pin(vec![server.url("/good")])).as_deref(), Ok(BYTES));
}

#[test]
fn a_failing_sink_is_no_failure_of_the_origin() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let server = Server::start();
    let pin = pin(vec![server.url("/good"), server.url("/good")]);
    let error = Fetcher::new(FetchOptions::default()).download(&pin, &mut Full, &|_, _| ()).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `x-1.tar.gz`: no storage space");
    assert_eq!(server.count("/good"), 1);
}

#[test]
fn progress_counts_up_to_the_length() {
    let server = Server::start();
    let last = AtomicUsize::new(0);
    let mut sink = Vec::new();
    let progress = |done: u64, total: Option<u64>| {
        assert_eq!(total, Some(BYTES.len() as u64));
        last.store(usize::try_from(done).unwrap(), Ordering::Relaxed);
    };
    Fetcher::new(FetchOptions::default())
        .download(&pin(vec![server.url("/good")]), &mut sink, &progress)
        .unwrap();
    assert_eq!(last.into_inner(), BYTES.len());
}

#[test]
fn one_fetcher_serves_many_threads() {
    let server = Server::start();
    let fetcher = Fetcher::new(FetchOptions::default());
    std::thread::scope(|scope| {
        let fetch = || {
            let mut sink = Vec::new();
            fetcher.download(&pin(vec![server.url("/good")]), &mut sink, &|_, _| ()).map(|()| sink)
        };
        let running: Vec<_> = (0..4).map(|_| scope.spawn(fetch)).collect();
        for thread in running {
            let mut bytes = Vec::new();
            thread.join().unwrap().unwrap().as_slice().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, BYTES);
        }
    });
}
