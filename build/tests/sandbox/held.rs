//! What attacks did not do to the embedder: many traps, dropped futures, calls under way, and links that change.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use eryx_embed::{Callback, Error, Grant, Limits, Pool, SessionOptions};

use super::{image, ok, pooled};

#[test]
fn traps_use_up_no_slot() {
    let pool = Pool::new(&pooled(4), SessionOptions::default).unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        let trapping: Vec<_> = (0..300)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move { pool.execute_fresh_async("import os\nos.abort()").await })
            })
            .collect();
        for one in trapping {
            let failure = one.await.unwrap().unwrap_err();
            assert!(matches!(failure, Error::Trap { .. } | Error::Exit(134)), "{failure}");
        }
        assert_eq!(pool.execute_fresh_async("print(1)").await, Ok("1\n".to_owned()));
        assert_eq!(pool.free(), 4);
    });
}

#[test]
fn futures_that_are_dropped_at_any_time_leave_nothing_behind() {
    let pool = Pool::new(&pooled(4), || {
        let never = Callback::new("never", "", "{}", |_| std::future::pending());
        SessionOptions::default().callbacks(vec![never])
    })
    .unwrap();
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    executor.block_on(async {
        for number in 0..400 {
            let code =
                ["while True: pass", "await never()", "x = bytes(1 << 24)", "import time\ntime.sleep(9)"]
                    [number % 4];
            let running = pool.execute_fresh_async(code);
            let _ = tokio::time::timeout(Duration::from_micros((number as u64 * 37) % 3000), running).await;
        }
        let begun = Instant::now();
        while pool.free() < 4 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} slots are free", pool.free());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(pool.execute_fresh_async("print(1)").await, Ok("1\n".to_owned()));
    });
}

#[test]
fn very_many_calls_are_under_way_at_once() {
    let later = Callback::new("later", "", "{}", |arguments| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(arguments)
    });
    let mut session = image().session(SessionOptions::default().callbacks(vec![later])).unwrap();
    let code = "import asyncio
answers = await asyncio.gather(*(later(i=i) for i in range(20_000)))
print(sum(answer['i'] for answer in answers))";
    assert_eq!(ok(&mut session, code), format!("{}\n", 20_000 * 19_999 / 2));
}

#[test]
fn a_link_that_changes_leads_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let inside = root.join("inside");
    for name in ["inside/real", "outside"] {
        std::fs::create_dir_all(root.join(name)).unwrap();
    }
    std::fs::write(inside.join("real/file"), "in").unwrap();
    std::fs::write(root.join("outside/file"), "SECRET").unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let (swapped, other) = (inside.clone(), Arc::clone(&end));
    let swapping = std::thread::spawn(move || {
        while !other.load(Ordering::Relaxed) {
            for target in ["real", "../outside", "real/../../outside"] {
                let _ = std::fs::remove_file(swapped.join("next"));
                symlink(target, swapped.join("next")).unwrap();
                std::fs::rename(swapped.join("next"), swapped.join("link")).unwrap();
            }
        }
    });
    let limits = Limits::default().timeout(Duration::from_secs(60));
    let grant = Grant::new(&inside, "/d").unwrap();
    let mut session = image().session(SessionOptions::default().grants(vec![grant]).limits(limits)).unwrap();
    let code = "import os
seen = set()
for i in range(3000):
    for path in ('/d/link/file', '/d/real/../link/file'):
        try:
            with open(path) as file: seen.add(file.read())
        except OSError:
            seen.add('refused')
    try: os.rename('/d/link/file', '/d/taken')
    except OSError: pass
    else:
        seen.add(open('/d/taken').read())
        os.rename('/d/taken', '/d/real/file')
print(seen <= {'in', 'refused'})";
    let printed = ok(&mut session, code);
    end.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert_eq!(printed, "True\n");
    assert_eq!(std::fs::read_to_string(root.join("outside/file")).unwrap(), "SECRET");
}
