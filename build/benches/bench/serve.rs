//! `just bench serve`: how long honest clients of the service wait, alone and beside clients that mean harm.
//!
//! All run on this machine. The clients that mean harm come from another address and have the lowest priority: what is
//! measured is what they cost the service, not what they cost the processors that they share with it here.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;
use eryx_embed::{Embedder, EmbedderOptions, Pool, Pooling, SessionOptions};
use eryx_serve::{Bounds, listen, raise_file_limit, serve};
use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, connect, socket};

use super::middle;
use super::table::Entry;

/// Honest clients at a time, and how long they are measured.
const HONEST: usize = 2;
const TIME: Duration = Duration::from_secs(3);
/// How long clients that mean harm are there before.
const BEFORE: Duration = Duration::from_secs(1);

/// What clients that mean harm do.
#[derive(Clone, Copy)]
enum Harm {
    /// Send code, over and over, and read the answer.
    Run(&'static str),
    /// Send code and do not read the answer.
    Ignore(&'static str),
    /// Send the beginning of a request and nothing more.
    Begin(&'static str),
    /// Send something and go away.
    Leave(&'static str),
}

struct Attack {
    name: &'static str,
    harm: Harm,
    clients: usize,
}

const fn attack(name: &'static str, harm: Harm, clients: usize) -> Attack {
    Attack { name, harm, clients }
}

const UNFINISHED: &str = "POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\nprint(";
const FLOOD: &str = "for i in range(60):\n    try: print('x' * 1_000_000)\n    except OSError: pass";
const ATTACKS: [Attack; 11] = [
    attack("serve: 8 that loop", Harm::Run("while True: pass"), 8),
    attack("serve: 40 that loop", Harm::Run("while True: pass"), 40),
    attack(
        "serve: 8 that loop in C",
        Harm::Run("import collections, itertools\ncollections.deque(itertools.repeat(0), maxlen=0)"),
        8,
    ),
    attack("serve: 8 that take memory", Harm::Run("x = []\nwhile True: x.append(bytes(1 << 20))"), 8),
    attack("serve: 40 that print and do not read", Harm::Ignore(FLOOD), 40),
    attack("serve: 8 with long tracebacks", Harm::Run("raise ValueError('x' * 25_000_000)"), 8),
    attack("serve: 2300 that are silent", Harm::Begin(""), 2300),
    attack("serve: 1056 with unfinished code", Harm::Begin(UNFINISHED), 1056),
    attack(
        "serve: 1056 with unfinished headers",
        Harm::Begin("POST /execute HTTP/1.1\r\nhost: x\r\na: "),
        1056,
    ),
    attack(
        "serve: malformed requests",
        Harm::Leave("POST /execute HTTP/1.1\r\ntransfer-encoding: x\r\n\r\nZZ"),
        4,
    ),
    attack(
        "serve: clients that go away",
        Harm::Leave("POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\nwhile True: pass"),
        4,
    ),
];

/// Adds the entries of a component.
pub fn measure(layout: &Layout, component: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    raise_file_limit();
    let bounds = Bounds::default();
    let options = EmbedderOptions::default().cache(layout.cache.clone()).pooling(Pooling::of(bounds.slots));
    let image = Embedder::with(options)?.load(component)?;
    let pool = Pool::new(&image, move || SessionOptions::default().limits(bounds.guest))?;
    let executor = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let listener = executor.block_on(listen("127.0.0.1:0", &bounds))?;
    let address = listener.local_addr()?;
    let _served = executor.spawn(serve(listener, pool, bounds, std::future::pending()));
    honest(address)?;
    for attack in &ATTACKS {
        // Just before, so that what else the machine does hits both alike.
        let alone = honest(address)?;
        let end = AtomicBool::new(false);
        let value = std::thread::scope(|scope| {
            // Those that only hold connections need no thread each.
            let threads = if let Harm::Begin(_) = attack.harm { 1 } else { attack.clients };
            for _ in 0..threads {
                scope.spawn(|| harm(attack, address, &end));
            }
            std::thread::sleep(BEFORE);
            let value = honest(address);
            end.store(true, Ordering::Relaxed);
            value
        });
        let value = value.map_err(|error| error.context(attack.name))?;
        entries.push(Entry { name: attack.name, value, unit: "s", baseline: Some(alone) });
    }
    executor.shutdown_background();
    Ok(())
}

/// The median of the times of honest requests; any answer but the right one is an error.
fn honest(address: SocketAddr) -> Result<f64> {
    let begun = Instant::now();
    let clients: Vec<Result<Vec<f64>>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..HONEST)
            .map(|_| {
                scope.spawn(move || {
                    let mut times = Vec::new();
                    while begun.elapsed() < TIME {
                        let start = Instant::now();
                        let mut stream = TcpStream::connect(address)?;
                        stream.write_all(request("print(1 + 1)").as_bytes())?;
                        let mut answer = String::new();
                        stream.read_to_string(&mut answer)?;
                        if !(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n2\n")) {
                            return Err(Error::new("an honest client was not served").detail(answer));
                        }
                        times.push(start.elapsed().as_secs_f64());
                    }
                    Ok(times)
                })
            })
            .collect();
        let joined = clients.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined.map(|client| client.unwrap_or_else(|_| Err(Error::new("panicked")))).collect()
    });
    let mut all = Vec::new();
    for times in clients {
        all.extend(times?);
    }
    Ok(middle(all))
}

fn request(code: &str) -> String {
    let length = code.len();
    format!(
        "POST /execute HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{code}"
    )
}

/// Does harm until the end; whatever happens to such clients is right.
fn harm(attack: &Attack, address: SocketAddr, end: &AtomicBool) {
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    match attack.harm {
        Harm::Begin(beginning) => hold(beginning, attack.clients, address, end),
        Harm::Run(code) | Harm::Ignore(code) => {
            while !end.load(Ordering::Relaxed) {
                if let Ok(mut stream) = from_elsewhere(address)
                    && stream.write_all(request(code).as_bytes()).is_ok()
                {
                    if let Harm::Ignore(_) = attack.harm {
                        wait(end);
                    } else {
                        drain(&mut stream, end);
                    }
                }
            }
        }
        Harm::Leave(text) => {
            while !end.load(Ordering::Relaxed) {
                if let Ok(mut stream) = from_elsewhere(address) {
                    let _ = stream.write_all(text.as_bytes());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Keeps so many connections open that are given a beginning, and opens new ones for those that the service closes.
fn hold(beginning: &str, count: usize, address: SocketAddr, end: &AtomicBool) {
    let mut open: Vec<TcpStream> = Vec::new();
    while !end.load(Ordering::Relaxed) {
        open.retain(|stream| {
            let mut stream: &TcpStream = stream;
            matches!(stream.read(&mut [0; 64]), Err(error) if error.kind() == ErrorKind::WouldBlock)
        });
        while open.len() < count && !end.load(Ordering::Relaxed) {
            let Ok(mut stream) = from_elsewhere(address) else { break };
            if stream.write_all(beginning.as_bytes()).is_ok() && stream.set_nonblocking(true).is_ok() {
                open.push(stream);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn drain(stream: &mut TcpStream, end: &AtomicBool) {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(100)));
    let mut scratch = [0; 1 << 16];
    while !end.load(Ordering::Relaxed) {
        match stream.read(&mut scratch) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

fn wait(end: &AtomicBool) {
    while !end.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Connects from another address than honest clients do.
fn from_elsewhere(address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 0))?;
    connect(&socket, &address)?;
    Ok(socket.into())
}
