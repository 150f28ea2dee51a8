//! A registry on loopback (Debian's `docker-registry`, which `.ci/setup` installs), and a proxy before it that
//! does what real networks and servers do on bad days.

#![allow(dead_code, reason = "each test program uses what it needs")]

pub mod place;
pub mod tools;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The one user of a registry that wants to know who asks.
pub const USER: &str = "somebody";
pub const PASSWORD: &str = "secret";
const HTPASSWD: &str = "somebody:$2b$04$sEtvMB8AdzaW9MVJObeRceIknPsFOUkT6yk.pi44eMqeZESTz1FCW\n";

/// A running registry; it stops when dropped.
pub struct Server {
    dir: TempDir,
    child: Mutex<Option<Child>>,
    pub address: String,
}

impl Server {
    pub fn start() -> Self {
        Self::with("")
    }

    pub fn with_password() -> Self {
        Self::with("auth: { htpasswd: { realm: test, path: htpasswd } }\n")
    }

    fn with(auth: &str) -> Self {
        // Another test may take the port between its choice and its use: then choose again.
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let config = format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: data }} }}\n\
                 http: {{ addr: \"{address}\" }}\n{auth}"
            );
            fs::write(dir.path().join("config.yml"), config).unwrap();
            fs::write(dir.path().join("htpasswd"), HTPASSWD).unwrap();
            let server = Self { dir, child: Mutex::default(), address };
            if server.up() {
                return server;
            }
        }
        panic!("cannot start `docker-registry`: does `sh .ci/setup` end well?");
    }

    /// Where it keeps everything, with its configuration and log.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Starts it, again if need be, with what it holds.
    pub fn up(&self) -> bool {
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", "config.yml"])
            .current_dir(self.dir.path())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .expect("`docker-registry`, which `sh .ci/setup` installs");
        *self.child.lock().unwrap() = Some(child);
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(20) {
            if TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            if self.child.lock().unwrap().as_mut().unwrap().try_wait().unwrap().is_some() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    pub fn down(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A document of the registry, as any client gets it.
    pub fn get(&self, path: &str) -> String {
        String::from_utf8(self.bytes(path)).unwrap()
    }

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        let (head, body) = exchange(&self.address, &Asked::get(path));
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        body
    }

    /// Puts a manifest under a name, as anybody might who has the password.
    pub fn put_manifest(&self, path: &str, media_type: &str, body: &str) {
        let mut asked = Asked::get(path);
        asked.method = "PUT".to_owned();
        asked.head = format!("content-type: {media_type}\r\ncontent-length: {}\r\n", body.len());
        asked.body = body.as_bytes().to_vec();
        let (head, _) = exchange(&self.address, &asked);
        assert!(head.starts_with("HTTP/1.1 201"), "{path}: {head}");
    }

    pub fn tags(&self, repository: &str) -> Vec<String> {
        let (head, body) = exchange(&self.address, &Asked::get(&format!("/v2/{repository}/tags/list")));
        if head.starts_with("HTTP/1.1 404") {
            return Vec::new();
        }
        let listed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let mut tags: Vec<String> = serde_json::from_value(listed["tags"].clone()).unwrap_or_default();
        tags.sort();
        tags
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

/// A request as it passes the proxy.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub host: String,
    pub authorization: Option<String>,
    head: String,
    body: Vec<u8>,
}

impl Asked {
    fn get(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            host: "registry".to_owned(),
            authorization: None,
            head: ["manifest", "index"]
                .map(|kind| format!("accept: application/vnd.oci.image.{kind}.v1+json\r\n"))
                .concat(),
            body: Vec::new(),
        }
    }

    pub fn body(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

/// What the proxy does with a request.
pub enum Then {
    /// Passes it on, and the answer back.
    Pass,
    /// Answers in place of the registry: status line, more header lines, body.
    Answer(&'static str, String, String),
    /// Passes it on, and only so many bytes of the body back.
    Cut(usize),
    /// Passes it on, and changes the last byte of the body.
    Lie,
    /// Passes it on, and the body back in small pieces, slowly.
    Drip,
    /// Closes the connection.
    HangUp,
    /// Never answers.
    Stall,
}

type Hook = dyn FnMut(&Asked) -> Then + Send;

/// A proxy; it lives as long as the test program.
pub struct Proxy {
    pub address: String,
    hook: Arc<Mutex<Box<Hook>>>,
    pub count: Arc<Mutex<usize>>,
}

impl Proxy {
    pub fn before(server: &Server, hook: impl FnMut(&Asked) -> Then + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let hook: Arc<Mutex<Box<Hook>>> = Arc::new(Mutex::new(Box::new(hook)));
        let count = Arc::new(Mutex::new(0));
        let (behind, hooked, counted) = (server.address.clone(), Arc::clone(&hook), Arc::clone(&count));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behind, hook, count) = (behind.clone(), Arc::clone(&hooked), Arc::clone(&counted));
                std::thread::spawn(move || serve(stream, &behind, &hook, &count));
            }
        });
        Self { address, hook, count }
    }

    pub fn now(&self, hook: impl FnMut(&Asked) -> Then + Send + 'static) {
        *self.hook.lock().unwrap() = Box::new(hook);
    }
}

fn serve(mut stream: TcpStream, behind: &str, hook: &Mutex<Box<Hook>>, count: &Mutex<usize>) -> Option<()> {
    let asked = read_request(&stream)?;
    *count.lock().unwrap() += 1;
    let then = (hook.lock().unwrap())(&asked);
    if let Then::Answer(status, headers, body) = then {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        stream.write_all(answer.as_bytes()).ok()?;
        return Some(());
    }
    match then {
        Then::HangUp => return None,
        Then::Stall => {
            std::thread::sleep(Duration::from_secs(120));
            return None;
        }
        _ => {}
    }
    let (head, mut body) = exchange(behind, &asked);
    stream.write_all(head.as_bytes()).ok()?;
    match then {
        Then::Cut(length) => body.truncate(length),
        Then::Lie => *body.last_mut()? ^= 1,
        Then::Drip => {
            for piece in body.chunks(64) {
                stream.write_all(piece).ok()?;
                std::thread::sleep(Duration::from_millis(200));
            }
            return Some(());
        }
        _ => {}
    }
    stream.write_all(&body).ok()
}

fn read_request(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let mut asked = Asked::get("");
    (asked.method, asked.path) = (words.next()?.to_owned(), words.next()?.to_owned());
    asked.head.clear();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "connection" => continue,
            "host" => {
                value.clone_into(&mut asked.host);
                continue;
            }
            "authorization" => asked.authorization = Some(value.to_owned()),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
        asked.head.push_str(&line);
    }
    asked.body = vec![0; length];
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

/// Head and body of an answer, with the connection closed after it.
fn exchange(address: &str, asked: &Asked) -> (String, Vec<u8>) {
    let attempt = || {
        let mut stream = TcpStream::connect(address).ok()?;
        let head = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{}\r\n",
            asked.method, asked.path, asked.host, asked.head
        );
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&asked.body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let body = answer.split_off(end);
        Some((String::from_utf8_lossy(&answer).into_owned(), body))
    };
    attempt()
        .unwrap_or_else(|| ("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n".to_owned(), Vec::new()))
}
