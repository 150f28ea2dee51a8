//! The embedder, with a small guest that stands for Python (`fixtures/fake_guest.wat`).

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use eryx_embed::{Callback, Cause, Embedder, Image, Limits, Output, SessionOptions};
use tempfile::TempDir;

struct Setup {
    dir: TempDir,
    component: PathBuf,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let component = dir.path().join("fake.wasm");
    fs::write(&component, wat::parse_str(include_str!("fixtures/fake_guest.wat")).unwrap()).unwrap();
    Setup { dir, component }
}

fn image() -> Image {
    let setup = setup();
    Embedder::new(None).unwrap().load(&setup.component).unwrap()
}

fn limits(timeout_ms: Option<u64>, max_memory: Option<u64>) -> SessionOptions {
    let timeout = timeout_ms.map(Duration::from_millis);
    // The guest knows nothing of its embedder's wish to stop it.
    let limits = Limits { timeout, stop_native_code: timeout.is_some(), max_memory, ..Limits::default() };
    SessionOptions { limits, ..SessionOptions::default() }
}

#[test]
fn every_export_answers() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    assert_eq!(session.execute("o hello").unwrap(), Ok("hello".to_owned()));
    assert_eq!(session.execute("e oh no").unwrap(), Err("oh no".to_owned()));
    let snapshot = session.snapshot_state().unwrap().unwrap();
    assert_eq!(snapshot, b"SNAP");
    assert_eq!(session.restore_state(&snapshot).unwrap(), Ok(()));
    assert_eq!(session.restore_state(b"other").unwrap(), Err("no snapshot".to_owned()));
    session.clear_state().unwrap();
    assert_eq!(session.execute("o").unwrap(), Ok(String::new()));
}

#[test]
fn output_is_captured_or_discarded() {
    let image = image();
    let options = SessionOptions { stdout: Output::Capture, ..SessionOptions::default() };
    let mut session = image.session(options).unwrap();
    session.execute("p one ").unwrap().unwrap();
    session.execute("p two").unwrap().unwrap();
    assert_eq!(session.stdout(), b"one two");
    let mut session = image.session(SessionOptions::default()).unwrap();
    session.execute("p one").unwrap().unwrap();
    assert_eq!(session.stdout(), b"");
}

#[test]
fn callbacks_are_in_flight_together_and_answer_in_any_order() {
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let (open, gate) = (Arc::new(Mutex::new(Some(open))), Arc::new(Mutex::new(Some(gate))));
    // `a` waits until `b` has been called: this ends only if both are in flight at once.
    let a = Callback::new("a", "", "{}", move |arguments| {
        let gate = gate.lock().unwrap().take().unwrap();
        async move {
            gate.await.map_err(|error| error.to_string())?;
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(format!("a{arguments}"))
        }
    });
    let b = Callback::new("b", "", "{}", move |arguments| {
        let open = open.lock().unwrap().take().unwrap();
        async move {
            tokio::task::yield_now().await;
            open.send(()).map_err(|()| "nobody waits".to_owned())?;
            Err(format!("b{arguments}"))
        }
    });
    let options = SessionOptions { callbacks: vec![a, b], ..limits(Some(60_000), None) };
    let mut session = image().session(options).unwrap();
    assert_eq!(session.execute("i").unwrap(), Ok("b2a1".to_owned()));
}

#[test]
fn an_unknown_callback_is_an_error_for_the_guest() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    let expected = "there is no callback named `a`there is no callback named `b`";
    assert_eq!(session.execute("i").unwrap(), Ok(expected.to_owned()));
}

#[test]
fn trace_events_arrive() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let options = SessionOptions {
        on_trace: Some(Box::new(move |event| {
            sink.lock().unwrap().push((event.line, event.event, event.context))
        })),
        ..SessionOptions::default()
    };
    image().session(options).unwrap().execute("x").unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(7, "1".to_owned(), "2".to_owned())]);
}

#[test]
fn a_trap_names_the_function_and_ends_the_session() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    let failure = session.execute("t").unwrap_err();
    assert_eq!(failure.cause, Cause::Trap);
    let text = failure.to_string();
    assert!(text.starts_with("the guest trapped: wasm `unreachable` instruction executed\n  at `"), "{text}");
    let failure = session.execute("o").unwrap_err();
    assert_eq!(failure.cause, Cause::Unusable);
    assert_eq!(failure.to_string(), "the session ended with an earlier failure");
}

#[test]
fn deep_recursion_is_told() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    let failure = session.execute("r").unwrap_err();
    assert_eq!(failure.cause, Cause::Stack);
    let text = failure.to_string();
    assert!(text.starts_with("the guest's stack is exhausted\n  at `recurse` in `main-module`, "), "{text}");
}

#[test]
fn a_guest_that_computes_is_stopped() {
    let mut session = image().session(limits(Some(1500), None)).unwrap();
    assert_eq!(session.execute("o quick").unwrap(), Ok("quick".to_owned()));
    let failure = session.execute("l").unwrap_err();
    assert_eq!(failure.cause, Cause::TimeLimit);
    assert_eq!(failure.to_string(), "the time limit of 1.5 s was reached");
}

#[test]
fn a_guest_that_waits_is_stopped() {
    let never = |name: &str| Callback::new(name, "", "{}", |_| std::future::pending());
    let options = SessionOptions { callbacks: vec![never("a"), never("b")], ..limits(Some(1500), None) };
    let failure = image().session(options).unwrap().execute("i").unwrap_err();
    assert_eq!(failure.cause, Cause::TimeLimit);
}

#[test]
fn one_session_over_its_time_does_not_stop_another() {
    let image = Arc::new(image());
    let other = Arc::clone(&image);
    // While the patient session is in a call, another one of the same engine runs out of time.
    let a = Callback::new("a", "", "{}", move |_| {
        let other = Arc::clone(&other);
        let ended = std::thread::spawn(move || {
            let failure = other.session(limits(Some(1500), None)).unwrap().execute("l").unwrap_err();
            format!("{:?} ", failure.cause)
        })
        .join();
        async move { ended.map_err(|_| "panicked ".to_owned()) }
    });
    let b = Callback::new("b", "", "{}", |_| async { Ok("still here".to_owned()) });
    let options = SessionOptions { callbacks: vec![a, b], ..limits(Some(600_000), None) };
    let answer = image.session(options).unwrap().execute("i").unwrap();
    assert_eq!(answer, Ok("TimeLimit still here".to_owned()));
}

#[test]
fn memory_is_refused_beyond_the_limit() {
    let image = image();
    let mut session = image.session(limits(None, Some(8 << 20))).unwrap();
    assert_eq!(session.execute("M").unwrap(), Err("MemoryError".to_owned()));
    assert!(session.memory_used() <= 8 << 20);
    assert_eq!(session.memory_refused(), Some((8 << 20, (8 << 20) + (4 << 16))));
    let mut session = image.session(limits(None, Some(8 << 20))).unwrap();
    let failure = session.execute("m").unwrap_err();
    assert_eq!(failure.cause, Cause::MemoryLimit);
    assert_eq!(failure.to_string(), "the memory limit of 8 MiB was reached\n  the guest asked for 8.3 MiB");
    let failure = image.session(limits(None, Some(1 << 16))).err().unwrap();
    assert_eq!(failure.cause, Cause::MemoryLimit);
}

#[test]
fn compiled_code_is_reused_and_verified() {
    let setup = setup();
    let cache = setup.dir.path().join("cache");
    let answer = || {
        let image = Embedder::new(Some(&cache)).unwrap().load(&setup.component).unwrap();
        image.session(SessionOptions::default()).unwrap().execute("o ok").unwrap()
    };
    let files = || {
        let mut files: Vec<_> = fs::read_dir(cache.join("compiled"))
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path(), entry.metadata().unwrap().modified().unwrap())
            })
            .collect();
        files.sort();
        files
    };
    assert_eq!(answer(), Ok("ok".to_owned()));
    let first = files();
    assert_eq!(first.len(), 2);
    assert_eq!(answer(), Ok("ok".to_owned()));
    assert_eq!(files(), first, "the second process wrote nothing");
    let code = first.iter().find(|(path, _)| path.extension().is_some()).unwrap().0.clone();
    let mut bytes = fs::read(&code).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&code, &bytes).unwrap();
    assert_eq!(answer(), Ok("ok".to_owned()), "damaged code is not run");
    bytes[middle] ^= 1;
    assert_eq!(fs::read(&code).unwrap(), bytes, "it was compiled anew");
}

#[test]
fn what_is_no_component_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.wasm");
    let embedder = Embedder::new(None).unwrap();
    fs::write(&path, wat::parse_str("(module)").unwrap()).unwrap();
    let text = embedder.load(&path).err().unwrap().to_string();
    assert_eq!(text, format!("`{}` is not a component\n  it is a core module", path.display()));
    fs::write(&path, "text").unwrap();
    let text = embedder.load(&path).err().unwrap().to_string();
    assert_eq!(text, format!("`{}` is not a component", path.display()));
    fs::write(&path, wat::parse_str("(component)").unwrap()).unwrap();
    let failure = embedder.load(&path).unwrap().session(SessionOptions::default()).err().unwrap();
    assert_eq!(failure.cause, Cause::Unusable);
    assert!(failure.to_string().contains("no export `clear-state` found"), "{failure}");
}
