//! The embedder, with a small guest that stands for Python (`fixtures/fake_guest.wat`).

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eryx_embed::{
    Callback, Cause, Compiling, Embedder, EmbedderOptions, Image, Limits, OnCompile, Output, Pool, Pooling,
    SessionOptions, Stacks,
};
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
fn a_guest_that_can_be_asked_ends_the_call_itself() {
    let limits = Limits { timeout: Some(Duration::from_millis(100)), ..Limits::default() };
    let mut session = image().session(SessionOptions { limits, ..SessionOptions::default() }).unwrap();
    let failure = session.execute("w").unwrap_err();
    assert_eq!(failure.cause, Cause::TimeLimit);
    assert_eq!(failure.to_string(), "the time limit of 100 ms was reached\n  stopped");
    assert!(session.is_usable());
    assert_eq!(session.execute("o next").unwrap(), Ok("next".to_owned()));
}

#[test]
fn a_guest_that_does_not_listen_is_stopped_by_its_engine() {
    let mut session = image().session(limits(Some(100), None)).unwrap();
    let start = Instant::now();
    let failure = session.execute("W").unwrap_err();
    assert_eq!(failure.cause, Cause::TimeLimit);
    assert!(!session.is_usable());
    assert!(start.elapsed() > Duration::from_millis(500), "it had its time of grace");
}

#[test]
fn calls_are_cancelled_from_another_thread() {
    let never = |name: &str| Callback::new(name, "", "{}", |_| std::future::pending());
    let callbacks = || vec![never("a"), never("b")];
    // One that listens, one that waits, and one that computes and can be interrupted.
    for (code, stop_native_code, usable) in [("w", false, true), ("i", false, false), ("l", true, false)] {
        let limits = Limits { stop_native_code, ..Limits::default() };
        let options = SessionOptions { limits, callbacks: callbacks(), ..SessionOptions::default() };
        let mut session = image().session(options).unwrap();
        let canceller = session.canceller();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            canceller.cancel().unwrap();
        });
        let failure = session.execute(code).unwrap_err();
        assert_eq!(failure.cause, Cause::Cancelled, "{code}");
        assert!(failure.to_string().starts_with("the call was cancelled"), "{failure}");
        assert_eq!(session.is_usable(), usable, "{code}");
        other.join().unwrap();
    }
}

#[test]
fn output_is_bounded_and_goes_where_it_should() {
    let image = image();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let options = SessionOptions {
        stdout: Output::call(move |bytes| sink.lock().unwrap().push(bytes.to_vec())),
        limits: Limits { max_output: Some(10), ..Limits::default() },
        ..SessionOptions::default()
    };
    let mut session = image.session(options).unwrap();
    session.execute("p 123456").unwrap().unwrap();
    assert_eq!(*seen.lock().unwrap(), [b"123456"], "as it is written");
    assert_eq!(session.output_refused(), None);
    // The guest does not look at errors.
    session.execute("p 123456").unwrap().unwrap();
    assert_eq!(seen.lock().unwrap().concat(), b"1234561234");
    assert_eq!(session.output_refused(), Some(10));

    // A channel of one piece: the guest waits until it is read.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let options = SessionOptions { stdout: Output::Channel(sender), ..SessionOptions::default() };
    let mut session = image.session(options).unwrap();
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        while let Some(piece) = receiver.blocking_recv() {
            std::thread::sleep(Duration::from_millis(5));
            all.extend(piece);
        }
        all
    });
    for number in 0..20 {
        session.execute(&format!("p {number} ")).unwrap().unwrap();
    }
    drop(session);
    let expected: String = (0..20).map(|number| format!("{number} ")).collect();
    assert_eq!(reader.join().unwrap(), expected.into_bytes());
}

/// An embedder with one slot, so that each instance gets that of the one before.
fn one_slot() -> Image {
    let setup = setup();
    let options = EmbedderOptions { pooling: Some(Pooling::of(1)), ..EmbedderOptions::default() };
    Embedder::with(options).unwrap().load_bytes("fake", fs::read(setup.component).unwrap()).unwrap()
}

#[test]
fn a_slot_carries_nothing_over() {
    let image = one_slot();
    let never = |name: &str| Callback::new(name, "", "{}", |_| std::future::pending());
    for round in ["f o", "f t", "f r", "f l", "f m", "f M", "f i", "f w", "f W"] {
        let limits = Limits {
            timeout: Some(Duration::from_millis(100)),
            stop_native_code: true,
            max_memory: Some(8 << 20),
            ..Limits::default()
        };
        let options =
            SessionOptions { callbacks: vec![never("a"), never("b")], limits, ..SessionOptions::default() };
        let mut session = image.session(options).unwrap();
        assert_eq!(session.execute("S").unwrap(), Ok("clean".to_owned()), "before {round}");
        drop(session);
        let options =
            SessionOptions { callbacks: vec![never("a"), never("b")], limits, ..SessionOptions::default() };
        let mut session = image.session(options).unwrap();
        let _ = session.execute(round);
        if session.is_usable() {
            assert_eq!(session.execute("S").unwrap(), Ok("dirty".to_owned()), "after {round}");
        }
        drop(session);
        let mut session = image.session(limits_only(limits)).unwrap();
        assert_eq!(session.execute("S").unwrap(), Ok("clean".to_owned()), "after {round}");
    }
}

fn limits_only(limits: Limits) -> SessionOptions {
    SessionOptions { limits, ..SessionOptions::default() }
}

#[test]
fn a_pool_gives_each_execution_an_instance() {
    let pool = Pool::new(&one_slot(), SessionOptions::default).unwrap();
    assert_eq!(pool.free(), 1);
    for _ in 0..3 {
        assert_eq!(pool.execute_fresh("f S").unwrap(), Ok("dirty".to_owned()));
        assert_eq!(pool.execute_fresh("S").unwrap(), Ok("clean".to_owned()));
    }
    let held = pool.session(SessionOptions::default()).unwrap();
    assert_eq!(pool.free(), 0);
    // All the others wait for the one place.
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || pool.execute_fresh("o ok").unwrap())
        })
        .collect();
    drop(held);
    for thread in waiting {
        assert_eq!(thread.join().unwrap(), Ok("ok".to_owned()));
    }
    assert_eq!(pool.free(), 1);
}

#[test]
fn an_executor_is_not_held_up_by_guests() {
    let setup = setup();
    let options = EmbedderOptions { pooling: Some(Pooling::of(64)), ..EmbedderOptions::default() };
    let image = Embedder::with(options).unwrap().load(&setup.component).unwrap();
    let later = |name: &str| {
        Callback::new(name, "", "{}", |arguments| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(arguments)
        })
    };
    let pool = Pool::new(&image, move || SessionOptions {
        callbacks: vec![later("a"), later("b")],
        limits: Limits {
            timeout: Some(Duration::from_secs(60)),
            stop_native_code: true,
            ..Limits::default()
        },
        ..SessionOptions::default()
    })
    .unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let begun = Instant::now();
        // 64 that wait take no thread each.
        let waiting: Vec<_> = (0..64).map(|_| tokio::spawn(wait(pool.clone()))).collect();
        for task in waiting {
            let answer = task.await.unwrap();
            assert!(answer == "12" || answer == "21", "{answer}");
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        // One that computes for ever is stopped when nobody waits for it any more.
        let computing = tokio::spawn({
            let pool = pool.clone();
            async move { pool.execute_fresh_async("l").await.map(drop) }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(pool.free(), 63);
        computing.abort();
        let begun = Instant::now();
        while pool.free() < 64 {
            assert!(begun.elapsed() < Duration::from_secs(20), "it goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The blocking form does not panic here either.
        assert_eq!(pool.execute_fresh("o ok").unwrap(), Ok("ok".to_owned()));
    });

    async fn wait(pool: Pool) -> String {
        pool.execute_fresh_async("i").await.unwrap().unwrap()
    }
}

#[test]
fn stacks_of_any_size_end_in_an_error() {
    let setup = setup();
    for bytes in [0, 128 << 10, 1 << 20, 64 << 20] {
        let options = EmbedderOptions { stacks: Stacks::of(bytes), ..EmbedderOptions::default() };
        let image = Embedder::with(options).unwrap().load(&setup.component).unwrap();
        let mut session = image.session(SessionOptions::default()).unwrap();
        assert_eq!(session.execute("r").unwrap_err().cause, Cause::Stack, "{bytes}");
    }
}

#[test]
fn native_code_is_taken_from_beside_a_component_when_it_is_trusted() {
    let setup = setup();
    let compiled = Arc::new(Mutex::new(0));
    let embedder = |trust| {
        let compiled = Arc::clone(&compiled);
        let on_compile: OnCompile = Arc::new(move |event| {
            if let Compiling::Begun(..) = event {
                *compiled.lock().unwrap() += 1;
            }
        });
        let options = EmbedderOptions {
            trust_native_code_beside: trust,
            on_compile: Some(on_compile),
            ..EmbedderOptions::default()
        };
        Embedder::with(options).unwrap()
    };
    let folder = embedder(false).load(&setup.component).unwrap().compile_beside().unwrap();
    assert_eq!(folder, setup.dir.path().join("fake.wasm.native"));
    assert_eq!(*compiled.lock().unwrap(), 2);
    let run = |trust| {
        let image = embedder(trust).load(&setup.component).unwrap();
        for stop_native_code in [false, true] {
            let limits = Limits { stop_native_code, ..Limits::default() };
            let mut session = image.session(limits_only(limits)).unwrap();
            assert_eq!(session.execute("o ok").unwrap(), Ok("ok".to_owned()));
        }
    };
    run(true);
    assert_eq!(*compiled.lock().unwrap(), 2);
    run(false);
    assert_eq!(*compiled.lock().unwrap(), 4, "only who trusts it takes it");
    // Others must not be able to write it.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        run(true);
        assert_eq!(*compiled.lock().unwrap(), 6);
    }
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
