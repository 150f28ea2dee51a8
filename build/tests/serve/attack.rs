//! Clients that mean harm: nobody but them gets an error, and what they cost is bounded.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use eryx_embed::Limits;
use eryx_serve::Bounds;

use super::{Served, answer, connect, head, request, reset};

/// What is left of the default's limits when the time is not short: a machine under load must not reach it.
fn patient() -> Limits {
    Limits::untrusted().timeout(Duration::from_secs(60))
}

/// Connects from another address than [`connect`] does.
fn connect_from(last: u8, address: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketAddrV4, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0)).unwrap();
    connect(&socket, &address).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
    stream
}

fn send(mut stream: &TcpStream, code: &str) {
    stream.write_all((head("", code) + code).as_bytes()).unwrap();
}

/// The status of what is sent as it is.
fn raw(address: SocketAddr, text: &str) -> (u16, String) {
    let mut stream = connect(address).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    answer(&mut stream).unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(100), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn loops_in_native_code_end_in_time() {
    let bounds = Bounds { slots: 2, ..Bounds::default() };
    let mut served = Served::start(bounds);
    let address = served.address;
    for code in [
        "import collections, itertools\ncollections.deque(itertools.repeat(0), maxlen=0)",
        "10 ** 10 ** 9",
        "class C:\n    def __del__(self):\n        while True: pass\nc = C()\ndel c",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    ] {
        let clients = [(); 3].map(|()| {
            let code = code.to_owned();
            std::thread::spawn(move || request(address, "x-time-limit: 200ms\r\n", &code))
        });
        for client in clients {
            let (status, body) = client.join().unwrap().unwrap();
            assert_eq!(status, 408, "{code}\n{body}");
        }
    }
    assert_eq!(request(address, "", "print(1)").unwrap(), (200, "1\n".to_owned()));
    served.stop();
}

#[test]
fn no_answer_is_longer_than_the_limit() {
    let bounds = Bounds { slots: 2, guest: patient().max_output(10_000), ..Bounds::default() };
    let mut served = Served::start(bounds);
    for (code, expected) in [
        ("for i in range(60):\n    try: print('x' * 1_000_000)\n    except OSError: pass", 200),
        ("raise ValueError('x' * 25_000_000)", 422),
        ("e = ValueError('x')\nfor i in range(9000): e.add_note('n' * 1000)\nraise e", 422),
        ("def f(n): f(n + 1) if n < 500 else 1 / 0\nf(0)", 422),
        ("import sys\nsys.exit('x' * 1_000_000)", 422),
        ("import sys\nsys.stdout.buffer.raw.write = lambda data: len(data)\nprint('x' * 1_000_000)", 200),
        ("import _eryx_output\n_eryx_output._copies[1] = bytearray(b'x' * 3_000_000)\nprint('y')", 200),
    ] {
        let (status, body) = request(served.address, "", code).unwrap();
        assert_eq!(status, expected, "{code}: {}", body.get(..500).unwrap_or(&body));
        assert!(body.len() < 10_100, "{code}: {}", body.len());
    }
    served.stop();
}

#[test]
fn clients_that_do_not_read_hold_a_bounded_memory() {
    let guest = patient().max_output(4 << 20);
    let bounds = Bounds { slots: 4, memory: 12 << 20, guest, ..Bounds::default() };
    let mut served = Served::start(bounds);
    let silent: Vec<_> = (0..12)
        .map(|_| {
            let stream = connect_from(2, served.address);
            send(&stream, "for i in range(60): print('x' * 65535)");
            stream
        })
        .collect();
    for number in 0..12 {
        let expected = (200, format!("{number}\n"));
        assert_eq!(request(served.address, "", &format!("print({number})")).unwrap(), expected);
    }
    wait_for("they hold slots", || served.pool.free() == 4);
    assert_eq!(request(served.address, "", "print('x' * 4_000_000)").unwrap().1.len(), 4_000_001);
    drop(silent);
    served.stop();
}

#[test]
fn guests_that_loop_leave_slots_and_processors_to_others() {
    let slots = 12;
    let bounds = Bounds { slots, guest: patient(), ..Bounds::default() };
    let mut served = Served::start(bounds);
    let looping: Vec<_> = (0..20)
        .map(|_| {
            let stream = connect_from(2, served.address);
            send(&stream, "while True: pass");
            stream
        })
        .collect();
    // One client has three quarters of the slots.
    wait_for("they do not run", || served.pool.free() == 3);
    for number in 0..20 {
        let expected = (200, format!("{number}\n"));
        assert_eq!(request(served.address, "", &format!("print({number})")).unwrap(), expected);
    }
    assert_eq!(served.pool.free(), 3, "they still loop");
    looping.iter().for_each(reset);
    drop(looping);
    wait_for("they are not stopped", || served.pool.free() == slots as usize);
    served.stop();
}

#[test]
fn who_sends_nothing_makes_room_for_who_sends_a_request() {
    let bounds = Bounds { slots: 2, queue: 4, connections: 16, guest: patient(), ..Bounds::default() };
    let mut served = Served::start(bounds);
    let address = served.address;
    for part in
        ["", "POST /execute HT", "POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nprint("]
    {
        let mut silent = Vec::new();
        for number in 0..60 {
            // At the address of everybody else, too.
            let mut stream =
                if number % 2 == 0 { connect(address).unwrap() } else { connect_from(2, address) };
            // It may have had to go already.
            let _ = stream.write_all(part.as_bytes());
            silent.push(stream);
            if number % 10 == 9 {
                let expected = (200, format!("{number}\n"));
                assert_eq!(request(address, "", &format!("print({number})")).unwrap(), expected, "{part}");
            }
        }
    }
    served.stop();
}

#[test]
fn who_closes_only_one_direction_is_answered() {
    let mut served = Served::start(Bounds { slots: 2, guest: patient(), ..Bounds::default() });
    let mut stream = connect(served.address).unwrap();
    let code = "import time\ntime.sleep(0.3)\nprint('answered')";
    send(&stream, code);
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(answer(&mut stream).unwrap(), (200, "answered\n".to_owned()));
    // Before its code has come it has nothing to be answered.
    let mut stream = connect(served.address).unwrap();
    stream.write_all(head("", code).as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (status, body) = answer(&mut stream).unwrap();
    assert!(status == 0 || status == 400, "{status} {body}");
    served.stop();
}

#[test]
fn requests_that_can_be_understood_in_two_ways_are_refused() {
    let mut served = Served::start(Bounds { slots: 1, guest: patient(), ..Bounds::default() });
    let execute = "POST /execute HTTP/1.1\r\n";
    let chunks = "1\r\n1\r\n0\r\n\r\n";
    for (text, expected) in [
        (format!("{execute}host: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"), 200),
        (format!("{execute}host: x\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\nprint(1)\r\n"), 400),
        (
            format!(
                "{execute}host: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"
            ),
            400,
        ),
        (format!("{execute}host: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n{chunks}"), 400),
        (format!("{execute}host: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n{chunks}"), 400),
        // The encoding counts, and the connection ends with the request.
        (format!("{execute}transfer-encoding: chunked\r\ncontent-length: 3\r\nhost: x\r\n\r\n{chunks}"), 200),
        (format!("{execute}content-length: 3\r\ntransfer-encoding: chunked\r\nhost: x\r\n\r\n{chunks}"), 200),
        (format!("{execute}content-length: 1\r\ncontent-length: 2\r\nhost: x\r\n\r\n12"), 400),
        (format!("{execute}content-length: 1\r\n\r\n1"), 400),
        (format!("{execute}host: x\r\nhost: y\r\ncontent-length: 1\r\n\r\n1"), 400),
        (format!("{execute}host: x\r\n{}content-length: 1\r\n\r\n1", "a: b\r\n".repeat(100)), 431),
        (format!("{execute}host: x\r\na: {}\r\n\r\n", "b".repeat(40_000)), 431),
    ] {
        let (status, body) = raw(served.address, &text);
        assert_eq!(status, expected, "{}\n{body}", text.get(..200).unwrap_or(&text));
    }
    served.stop();
}

#[test]
fn slow_clients_have_so_much_time() {
    let bounds =
        Bounds { slots: 1, guest: patient(), patience: Duration::from_millis(300), ..Bounds::default() };
    let mut served = Served::start(bounds);
    let code = "print(1)";
    for (part, expected) in [("", 0), ("POST /exec", 0), (head("", code).as_str(), 408)] {
        let mut stream = connect(served.address).unwrap();
        stream.write_all(part.as_bytes()).unwrap();
        // It ends though the client has not closed its side.
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        let status: u16 = all.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        assert!(status == expected || status == 408, "{part}: {all}");
    }
    served.stop();
}
