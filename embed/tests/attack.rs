//! What a hostile guest, or a hostile user of the machine, cannot do to an embedder.

mod fake;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use eryx_embed::{Callback, Embedder, Error, Grant, Limits, Output, Pool, SessionOptions};
use fake::{image, setup, slots};

fn with(limits: Limits) -> SessionOptions {
    SessionOptions::default().limits(limits)
}

#[test]
fn limits_for_untrusted_code_leave_nothing_out() {
    let limits = Limits::untrusted();
    assert!(limits.stop_native_code);
    assert!(limits.timeout.is_some() && limits.max_memory.is_some() && limits.max_table.is_some());
    assert!(limits.max_output.is_some() && limits.max_transfer.is_some());
    // They stop the loop that nothing else does.
    let limits = limits.timeout(Duration::from_millis(100));
    let mut session = image().session(with(limits)).unwrap();
    assert!(matches!(session.execute("l"), Err(Error::TimeLimit { .. })));
}

#[test]
fn guests_that_loop_do_not_keep_others_waiting() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let loops = 2 * processors + 2;
    let image = slots(u32::try_from(loops).unwrap() + 1);
    let limits = Limits::untrusted().timeout(Duration::from_secs(60));
    let pool = Pool::new(&image, move || with(limits)).unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let looping: Vec<_> = (0..loops)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.execute_fresh_async("l").await.map(drop) })
            })
            .collect();
        while pool.free() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // With one thread for each processor, none of these would be answered before the time limit of the others.
        for _ in 0..20 {
            assert_eq!(pool.execute_fresh_async("o ok").await, Ok("ok".to_owned()));
        }
        assert_eq!(pool.free(), 1, "the others still loop");
        looping.iter().for_each(tokio::task::JoinHandle::abort);
        let begun = Instant::now();
        while pool.free() <= loops {
            assert!(begun.elapsed() < Duration::from_secs(30), "they are not stopped");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

#[test]
fn a_panic_in_a_callback_ends_one_call() {
    let image = slots(2);
    let pool = Pool::new(&image, || {
        let panics =
            |name: &str| Callback::new(name, "", "{}", |_| async { panic!("a callback's own fault") });
        SessionOptions::default().callbacks(vec![panics("a"), panics("b")])
    })
    .unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        for _ in 0..5 {
            assert!(matches!(pool.execute_fresh_async("i").await, Err(Error::Thread(_))));
        }
        assert_eq!(pool.execute_fresh_async("o ok").await, Ok("ok".to_owned()));
        assert_eq!(pool.free(), 2);
    });
}

#[test]
fn the_limit_of_output_holds_for_answers() {
    let limits = Limits::default().max_output(1000);
    let mut session = image().session(with(limits)).unwrap();
    let long = "\u{e9}".repeat(5000);
    let note = "\n[cut here: the limit of output was reached]\n";
    let expected = "\u{e9}".repeat(500) + note;
    assert_eq!(session.execute(&format!("o {long}")), Ok(expected.clone()));
    assert_eq!(session.execute(&format!("e {long}")), Err(Error::Raised(expected)));
    assert_eq!(session.execute("o short"), Ok("short".to_owned()));
    // A character is not cut into.
    let answer = session.execute(&format!("o .{long}")).unwrap();
    assert_eq!(answer, format!(".{}{note}", "\u{e9}".repeat(499)));
}

#[test]
fn what_is_passed_at_once_is_bounded() {
    let limits = Limits::default().max_transfer(10).max_output(10);
    let mut session = image().session(with(limits)).unwrap();
    assert_eq!(session.execute("o short"), Ok("short".to_owned()));
    assert_eq!(session.execute(&format!("o {}", "x".repeat(100_000))), Err(Error::TransferLimit));
    assert!(!session.is_usable());
    // The arguments of both callbacks are one byte: together they are more than one.
    let later = |name: &str| {
        Callback::new(name, "", "{}", |arguments| async move {
            tokio::task::yield_now().await;
            Ok(arguments)
        })
    };
    let options =
        |most: u64| with(Limits::default().max_transfer(most)).callbacks(vec![later("a"), later("b")]);
    let refused = "the arguments of the callbacks under way are larger than 1 bytes";
    let answer = image().session(options(1)).unwrap().execute("i").unwrap();
    assert!(answer == format!("{refused}1") || answer == format!("1{refused}"), "{answer}");
    assert_eq!(image().session(options(2)).unwrap().execute("i").map(|answer| answer.len()), Ok(2));
}

#[test]
fn trace_events_count_as_output() {
    let seen = Arc::new(AtomicUsize::new(0));
    let sink = Arc::clone(&seen);
    let options = with(Limits::default().max_output(5)).stdout(Output::Capture).on_trace(move |_| {
        sink.fetch_add(1, Ordering::Relaxed);
    });
    let mut session = image().session(options).unwrap();
    // Each has two bytes.
    for _ in 0..5 {
        session.execute("x").unwrap();
    }
    assert_eq!((seen.load(Ordering::Relaxed), session.output_refused()), (2, Some(5)));
    session.execute("p 123").unwrap();
    assert_eq!(session.stdout(), b"1", "what is left is for all");
}

#[test]
fn a_cancellation_is_never_lost() {
    let mut session = image().session(SessionOptions::default()).unwrap();
    let canceller = session.canceller();
    // Before: the call does not begin, and the session is as it was.
    for _ in 0..3 {
        canceller.cancel().unwrap();
        let before = session.execute("t");
        assert!(matches!(before, Err(Error::Cancelled { .. })), "{before:?}");
        assert_eq!(session.execute("o next"), Ok("next".to_owned()));
    }
    for cancelled in [
        session.canceller().cancel().map(|()| session.snapshot_state().map(drop)).unwrap(),
        session.canceller().cancel().map(|()| session.restore_state(b"SNAP")).unwrap(),
        session.canceller().cancel().map(|()| session.clear_state()).unwrap(),
    ] {
        assert!(matches!(cancelled, Err(Error::Cancelled { .. })), "{cancelled:?}");
    }
    // During: whatever the guest answers.
    let slot: Arc<Mutex<Option<eryx_embed::Canceller>>> = Arc::default();
    let inner = Arc::clone(&slot);
    let a = Callback::new("a", "", "{}", move |_| {
        let canceller = inner.lock().unwrap().clone();
        async move {
            canceller.unwrap().cancel().unwrap();
            Ok("a".to_owned())
        }
    });
    let b = Callback::new("b", "", "{}", |_| async { Ok("b".to_owned()) });
    let mut session = image().session(SessionOptions::default().callbacks(vec![a, b])).unwrap();
    *slot.lock().unwrap() = Some(session.canceller());
    let during = session.execute("i");
    assert!(matches!(during, Err(Error::Cancelled { .. })), "{during:?}");
}

#[test]
fn who_ends_after_its_time_has_no_answer() {
    let limits = Limits::default().timeout(Duration::from_millis(100));
    let mut session = image().session(with(limits)).unwrap();
    // It ends well, when it has seen that it should end.
    let late = session.execute("g");
    assert!(matches!(&late, Err(Error::TimeLimit { traceback, .. }) if traceback.is_empty()), "{late:?}");
    assert!(session.is_usable());
    assert_eq!(session.execute("o next"), Ok("next".to_owned()));
}

#[cfg(unix)]
#[test]
fn directories_of_compiled_code_are_closed_to_others() {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let setup = setup();
    let cache = setup.dir.path().join("cache");
    let run = || {
        Embedder::new(Some(&cache))
            .and_then(|embedder| embedder.load(&setup.component)?.prepare(false).map(drop))
    };
    run().unwrap();
    let compiled = cache.join("compiled");
    assert_eq!(fs::metadata(&compiled).unwrap().mode() & 0o777, 0o700);
    for mode in [0o720, 0o702, 0o777, 0o1777] {
        fs::set_permissions(&compiled, Permissions::from_mode(mode)).unwrap();
        let refused = run().unwrap_err();
        assert!(matches!(refused, Error::Cache(_)), "{refused}");
        let text = refused.to_string();
        assert!(text.contains("others may write to it\nhint: "), "{text}");
    }
    fs::set_permissions(&compiled, Permissions::from_mode(0o700)).unwrap();
    run().unwrap();
    // A file that others may write is not used, nor is a link: the code is compiled anew.
    let code = fs::read_dir(&compiled).unwrap().map(|entry| entry.unwrap().path());
    let code = code.into_iter().find(|path| path.extension().is_some_and(|end| end == "cwasm")).unwrap();
    let inode = || fs::symlink_metadata(&code).unwrap().ino();
    let before = inode();
    run().unwrap();
    assert_eq!(inode(), before, "it is taken as it is");
    fs::set_permissions(&code, Permissions::from_mode(0o622)).unwrap();
    run().unwrap();
    assert_ne!(inode(), before);
    let elsewhere = setup.dir.path().join("elsewhere");
    fs::rename(&code, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &code).unwrap();
    run().unwrap();
    assert!(fs::symlink_metadata(&code).unwrap().is_file());
    // What belongs to somebody else can only be made by root.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&compiled, Some(12_345), None).unwrap();
        let text = run().unwrap_err().to_string();
        assert!(text.contains("it belongs to another user"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_grant_follows_no_link() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for folder in ["in/real/deep", "out/deep"] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    // What a guest with `in` could have made.
    symlink("../out", root.join("in/sub")).unwrap();
    symlink("real", root.join("in/alias")).unwrap();
    symlink("nowhere", root.join("in/broken")).unwrap();
    let image = image();
    let start = |path: &str| {
        let grant = Grant::new(root.join(path), "/d").unwrap();
        image.session(SessionOptions::default().grants(vec![grant])).map(drop)
    };
    for good in ["in", "in/real", "in/real/deep", "in/./real/../real", "out"] {
        assert_eq!(start(good), Ok(()), "{good}");
    }
    for (bad, link, target) in [
        ("in/sub", "in/sub", "out"),
        ("in/sub/", "in/sub", "out"),
        ("in/sub/deep", "in/sub", "out/deep"),
        ("in/alias", "in/alias", "in/real"),
        ("in/real/../sub/deep", "in/real/../sub", "out/deep"),
    ] {
        let text = start(bad).unwrap_err().to_string();
        let (link, target) = (root.join(link), root.join(target));
        let expected = format!(
            "`{}` is a symbolic link, which a guest may have made; grant `{}` if that is meant",
            link.display(),
            target.display()
        );
        assert!(text.contains(&expected), "{bad}: {text}");
    }
    assert!(start("in/broken").unwrap_err().to_string().contains("is a symbolic link"));
    assert!(start("in/none").unwrap_err().to_string().contains("does not exist"));
}
