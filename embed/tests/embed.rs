//! The embedder, with a small guest that stands for Python (`fixtures/fake_guest.wat`).

mod fake;

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eryx_embed::{
    Callback, Compiling, Embedder, EmbedderOptions, Error, Limits, OnCompile, Output, Pool, Pooling,
    SessionOptions, Stacks,
};
use fake::{image, one_slot, setup};

fn limits(timeout_ms: Option<u64>, max_memory: Option<u64>) -> SessionOptions {
    let timeout = timeout_ms.map(Duration::from_millis);
    // The guest knows nothing of its embedder's wish to stop it.
    let limits =
        Limits::default().timeout(timeout).stop_native_code(timeout.is_some()).max_memory(max_memory);
    SessionOptions::default().limits(limits)
}

#[test]
fn every_export_answers() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    assert_eq!(session.execute("o hello"), Ok("hello".to_owned()));
    assert_eq!(session.execute("e oh no"), Err(Error::Raised("oh no".to_owned())));
    let snapshot = session.snapshot_state().unwrap();
    assert_eq!(snapshot, b"SNAP");
    assert_eq!(session.restore_state(&snapshot), Ok(()));
    assert_eq!(session.restore_state(b"other"), Err(Error::Refused("no snapshot".to_owned())));
    session.clear_state().unwrap();
    assert_eq!(session.execute("o"), Ok(String::new()));
}

#[test]
fn output_is_captured_or_discarded() {
    let image = image();
    let options = SessionOptions::default().stdout(Output::Capture);
    let mut session = image.session(options).unwrap();
    session.execute("p one ").unwrap();
    session.execute("p two").unwrap();
    assert_eq!(session.stdout(), b"one two");
    let mut session = image.session(SessionOptions::default()).unwrap();
    session.execute("p one").unwrap();
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
    let options = limits(Some(60_000), None).callbacks(vec![a, b]);
    let mut session = image().session(options).unwrap();
    assert_eq!(session.execute("i"), Ok("b2a1".to_owned()));
}

#[test]
fn an_unknown_callback_is_an_error_for_the_guest() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    let expected = "there is no callback named `a`there is no callback named `b`";
    assert_eq!(session.execute("i"), Ok(expected.to_owned()));
}

#[test]
fn trace_events_arrive() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let options = SessionOptions::default()
        .on_trace(move |event| sink.lock().unwrap().push((event.line, event.event, event.context)));
    image().session(options).unwrap().execute("x").unwrap();
    assert_eq!(*seen.lock().unwrap(), [(7, "1".to_owned(), "2".to_owned())]);
}

#[test]
fn a_trap_names_the_function_and_ends_the_session() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    let failure = session.execute("t").unwrap_err();
    assert!(matches!(failure.cause(), Error::Trap { .. }), "{failure}");
    let text = failure.to_string();
    assert!(text.starts_with("the guest trapped: wasm `unreachable` instruction executed\n  at `"), "{text}");
    let failure = session.execute("o").unwrap_err();
    assert!(matches!(failure.cause(), Error::Ended), "{failure}");
    assert_eq!(failure.to_string(), "the session ended with an earlier failure");
}

#[test]
fn deep_recursion_is_told() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    let failure = session.execute("r").unwrap_err();
    assert!(matches!(failure.cause(), Error::Stack { .. }), "{failure}");
    let text = failure.to_string();
    assert!(text.starts_with("the guest's stack is exhausted\n  at `recurse` in `main-module`, "), "{text}");
}

#[test]
fn a_guest_that_computes_is_stopped() {
    let mut session = image().session(limits(Some(1500), None)).unwrap();
    assert_eq!(session.execute("o quick"), Ok("quick".to_owned()));
    let failure = session.execute("l").unwrap_err();
    assert!(matches!(failure.cause(), Error::TimeLimit { .. }), "{failure}");
    assert_eq!(failure.to_string(), "the time limit of 1.5 s was reached");
}

#[test]
fn a_guest_that_waits_is_stopped() {
    let never = |name: &str| Callback::new(name, "", "{}", |_| std::future::pending());
    let options = limits(Some(1500), None).callbacks(vec![never("a"), never("b")]);
    let failure = image().session(options).unwrap().execute("i").unwrap_err();
    assert!(matches!(failure.cause(), Error::TimeLimit { .. }), "{failure}");
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
            format!("{failure}; ")
        })
        .join();
        async move { ended.map_err(|_| "panicked ".to_owned()) }
    });
    let b = Callback::new("b", "", "{}", |_| async { Ok("still here".to_owned()) });
    let options = limits(Some(600_000), None).callbacks(vec![a, b]);
    let answer = image.session(options).unwrap().execute("i");
    assert_eq!(answer, Ok("the time limit of 1.5 s was reached; still here".to_owned()));
}

#[test]
fn a_guest_that_can_be_asked_ends_the_call_itself() {
    let limits = Limits::default().timeout(Some(Duration::from_millis(100)));
    let mut session = image().session(SessionOptions::default().limits(limits)).unwrap();
    let failure = session.execute("w").unwrap_err();
    assert!(matches!(failure.cause(), Error::TimeLimit { .. }), "{failure}");
    assert_eq!(failure.to_string(), "the time limit of 100 ms was reached\n  stopped");
    assert!(session.is_usable());
    assert_eq!(session.execute("o next"), Ok("next".to_owned()));
}

#[test]
fn a_guest_that_does_not_listen_is_stopped_by_its_engine() {
    let mut session = image().session(limits(Some(100), None)).unwrap();
    let start = Instant::now();
    let failure = session.execute("W").unwrap_err();
    assert!(matches!(failure.cause(), Error::TimeLimit { .. }), "{failure}");
    assert!(!session.is_usable());
    assert!(start.elapsed() > Duration::from_millis(500), "it had its time of grace");
}

#[test]
fn calls_are_cancelled_from_another_thread() {
    let never = |name: &str| Callback::new(name, "", "{}", |_| std::future::pending());
    let callbacks = || vec![never("a"), never("b")];
    // One that listens, one that waits, and one that computes and can be interrupted.
    for (code, stop_native_code, usable) in [("w", false, true), ("i", false, false), ("l", true, false)] {
        let limits = Limits::default().stop_native_code(stop_native_code);
        let options = SessionOptions::default().limits(limits).callbacks(callbacks());
        let mut session = image().session(options).unwrap();
        let canceller = session.canceller();
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            canceller.cancel().unwrap();
        });
        let failure = session.execute(code).unwrap_err();
        assert!(matches!(failure.cause(), Error::Cancelled { .. }), "{code}");
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
    let options = SessionOptions::default()
        .stdout(Output::call(move |bytes| sink.lock().unwrap().push(bytes.to_vec())))
        .limits(Limits::default().max_output(Some(10)));
    let mut session = image.session(options).unwrap();
    session.execute("p 123456").unwrap();
    assert_eq!(*seen.lock().unwrap(), [b"123456"], "as it is written");
    assert_eq!(session.output_refused(), None);
    // The guest does not look at errors.
    session.execute("p 123456").unwrap();
    assert_eq!(seen.lock().unwrap().concat(), b"1234561234");
    assert_eq!(session.output_refused(), Some(10));

    // A channel of one piece: the guest waits until it is read.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let options = SessionOptions::default().stdout(Output::Channel(sender));
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
        session.execute(&format!("p {number} ")).unwrap();
    }
    drop(session);
    let expected: String = (0..20).map(|number| format!("{number} ")).collect();
    assert_eq!(reader.join().unwrap(), expected.into_bytes());
}

#[test]
fn a_slot_carries_nothing_over() {
    let image = one_slot();
    let never = |name: &str| Callback::new(name, "", "{}", |_| std::future::pending());
    for round in ["f o", "f t", "f r", "f l", "f m", "f M", "f i", "f w", "f W"] {
        let limits = Limits::default()
            .timeout(Some(Duration::from_millis(100)))
            .stop_native_code(true)
            .max_memory(Some(8 << 20));
        let options = SessionOptions::default().callbacks(vec![never("a"), never("b")]).limits(limits);
        let mut session = image.session(options).unwrap();
        assert_eq!(session.execute("S"), Ok("clean".to_owned()), "before {round}");
        drop(session);
        let options = SessionOptions::default().callbacks(vec![never("a"), never("b")]).limits(limits);
        let mut session = image.session(options).unwrap();
        let _ = session.execute(round);
        if session.is_usable() {
            assert_eq!(session.execute("S"), Ok("dirty".to_owned()), "after {round}");
        }
        drop(session);
        let mut session = image.session(limits_only(limits)).unwrap();
        assert_eq!(session.execute("S"), Ok("clean".to_owned()), "after {round}");
    }
}

fn limits_only(limits: Limits) -> SessionOptions {
    SessionOptions::default().limits(limits)
}

#[test]
fn a_pool_gives_each_execution_an_instance() {
    let pool = Pool::new(&one_slot(), SessionOptions::default).unwrap();
    assert_eq!(pool.free(), 1);
    for _ in 0..3 {
        assert_eq!(pool.execute_fresh("f S"), Ok("dirty".to_owned()));
        assert_eq!(pool.execute_fresh("S"), Ok("clean".to_owned()));
    }
    let held = pool.session(SessionOptions::default()).unwrap();
    assert_eq!(pool.free(), 0);
    // All the others wait for the one place.
    let waiting: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || pool.execute_fresh("o ok"))
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
    let options = EmbedderOptions::default().pooling(Some(Pooling::of(64)));
    let image = Embedder::with(options).unwrap().load(&setup.component).unwrap();
    let later = |name: &str| {
        Callback::new(name, "", "{}", |arguments| async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(arguments)
        })
    };
    let pool = Pool::new(&image, move || {
        SessionOptions::default()
            .callbacks(vec![later("a"), later("b")])
            .limits(Limits::default().timeout(Some(Duration::from_secs(60))).stop_native_code(true))
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
        assert_eq!(pool.execute_fresh("o ok"), Ok("ok".to_owned()));
    });

    async fn wait(pool: Pool) -> String {
        pool.execute_fresh_async("i").await.unwrap()
    }
}

#[test]
fn stacks_of_any_size_end_in_an_error() {
    let setup = setup();
    for bytes in [0, 128 << 10, 1 << 20, 64 << 20] {
        let options = EmbedderOptions::default().stacks(Stacks::of(bytes));
        let image = Embedder::with(options).unwrap().load(&setup.component).unwrap();
        let mut session = image.session(SessionOptions::default()).unwrap();
        assert!(matches!(session.execute("r"), Err(Error::Stack { .. })), "{bytes}");
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
        let options = EmbedderOptions::default().trust_native_code_beside(trust).on_compile(Some(on_compile));
        Embedder::with(options).unwrap()
    };
    let folder = embedder(false).load(&setup.component).unwrap().compile_beside().unwrap();
    assert_eq!(folder, setup.dir.path().join("fake.wasm.native"));
    assert_eq!(*compiled.lock().unwrap(), 2);
    let run = |trust| {
        let image = embedder(trust).load(&setup.component).unwrap();
        for stop_native_code in [false, true] {
            let limits = Limits::default().stop_native_code(stop_native_code);
            let mut session = image.session(limits_only(limits)).unwrap();
            assert_eq!(session.execute("o ok"), Ok("ok".to_owned()));
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
    assert_eq!(session.execute("M"), Err(Error::Raised("MemoryError".to_owned())));
    assert!(session.memory_used() <= 8 << 20);
    assert_eq!(session.memory_refused(), Some((8 << 20, (8 << 20) + (4 << 16))));
    let mut session = image.session(limits(None, Some(8 << 20))).unwrap();
    let failure = session.execute("m").unwrap_err();
    assert!(matches!(failure.cause(), Error::MemoryLimit { .. }), "{failure}");
    assert_eq!(failure.to_string(), "the memory limit of 8 MiB was reached\n  the guest asked for 8.3 MiB");
    let failure = image.session(limits(None, Some(1 << 16))).err().unwrap();
    assert!(matches!(failure.cause(), Error::MemoryLimit { .. }), "{failure}");
}

#[test]
fn compiled_code_is_reused_and_verified() {
    let setup = setup();
    let cache = setup.dir.path().join("cache");
    let answer = || {
        let image = Embedder::new(Some(&cache)).unwrap().load(&setup.component).unwrap();
        image.session(SessionOptions::default()).unwrap().execute("o ok")
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
    assert!(matches!(failure.cause(), Error::Component(_)), "{failure}");
    assert!(failure.to_string().contains("no export `clear-state` found"), "{failure}");
}
