//! Fresh sandboxes from a pool: what one costs, how many there are in a second, and how much memory an idle one takes.

use std::path::Path;
use std::time::{Duration, Instant};

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;
use eryx_embed::{Embedder, EmbedderOptions, Image, Limits, Pool, Pooling, Session, SessionOptions};
use rustix::time::{ClockId, clock_gettime};

use super::peers::FRESH;
use super::table::Entry;
use super::{RUNS, TIMED, middle};

const CODE: &str = "1+1";
/// What runs at the speed of the interpreter alone.
const LOOP: &str = "
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)
def work():
    fib(20)
    for i in range(200_000): pass
timed(work)
";

/// Adds the entries of a component.
pub fn measure(layout: &Layout, component: &Path, entries: &mut Vec<Entry>) -> Result<()> {
    let image = pooled(layout, component)?;
    let pool = Pool::new(&image, SessionOptions::default)?;
    // Its baseline is a neighbour's.
    let fresh = median(|| pool.execute_fresh(CODE).map(drop).map_err(Error::from))?;
    // In slots that were used, as those of a pool are. The baseline is what we promise.
    let start = || image.session(SessionOptions::default()).map_err(Error::from);
    entries.push(entry("instantiate, pooled", median_of_first(start)?, Some(10e-6)));
    entries.push(entry("instantiate and drop", median(|| start().map(drop))?, None));
    entries.push(entry(FRESH, fresh, None));
    for callers in [1, 2, 8, 32] {
        entries.push(Entry {
            name: match callers {
                1 => "fresh, 1 caller",
                2 => "fresh, 2 callers",
                8 => "fresh, 8 callers",
                _ => "fresh, 32 callers",
            },
            value: throughput(&pool, callers)?,
            unit: "/s",
            baseline: None,
        });
    }
    time_limits(&image, entries)?;
    // In a pool of its own, whose slots nobody has used, and last: what is left of so many slows down the others.
    drop((pool, image));
    footprint(&pooled(layout, component)?, entries)
}

fn pooled(layout: &Layout, component: &Path) -> Result<Image> {
    let embedder = Embedder::with(
        EmbedderOptions::default().cache(Some(layout.cache.clone())).pooling(Some(Pooling::of(1100))),
    )?;
    Ok(embedder.load(component)?)
}

fn entry(name: &'static str, value: f64, baseline: Option<f64>) -> Entry {
    Entry { name, value, unit: "s", baseline }
}

/// The processor time of this thread, in seconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64()
}

/// The median of the processor time of one run, over ten rounds of a quarter of a second each.
pub fn median(mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    const ROUND: Duration = Duration::from_millis(250);
    work()?;
    let mut times = Vec::new();
    for _ in 0..10 {
        let (begun, start) = (Instant::now(), cpu());
        let mut runs = 0;
        while begun.elapsed() < ROUND {
            work()?;
            runs += 1;
        }
        times.push((cpu() - start) / f64::from(runs));
    }
    Ok(middle(times))
}

/// The median of the processor time that it takes to make something, without that for dropping it, and without what it
/// takes to read the clock.
fn median_of_first<T>(make: impl Fn() -> Result<T>) -> Result<f64> {
    let (mut times, mut nothing) = (Vec::new(), Vec::new());
    for _ in 0..10_000 {
        let before = cpu();
        let start = cpu();
        let made = make()?;
        times.push(cpu() - start);
        nothing.push(start - before);
        drop(made);
    }
    Ok(middle(times) - middle(nothing))
}

/// How many fresh executions all callers together had in a second.
fn throughput(pool: &Pool, callers: u32) -> Result<f64> {
    const TIME: Duration = Duration::from_secs(2);
    let begun = Instant::now();
    let counts: Vec<Result<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..callers)
            .map(|_| {
                scope.spawn(|| {
                    let mut count = 0;
                    while begun.elapsed() < TIME {
                        pool.execute_fresh(CODE)?;
                        count += 1;
                    }
                    Ok(count)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Error::new("panicked"))))
            .collect()
    });
    let mut total = 0;
    for count in counts {
        total += count?;
    }
    Ok(f64::from(total) / begun.elapsed().as_secs_f64())
}

/// The proportional set size of this process, in bytes.
fn pss() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes =
        line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse::<f64>().ok());
    kibibytes
        .map(|number| number * 1024.0)
        .ok_or_else(|| Error::new("expected `Pss:` in `/proc/self/smaps_rollup`"))
}

/// How much memory each of some live sandboxes takes that have executed something and now wait.
fn footprint(image: &Image, entries: &mut Vec<Entry>) -> Result<()> {
    // What all share is there before.
    let mut first = image.session(SessionOptions::default())?;
    first.execute(CODE)?;
    let before = pss()?;
    let mut sessions: Vec<Session> = Vec::new();
    for (count, name) in [
        (1, "memory of each of 1"),
        (10, "memory of each of 10"),
        (100, "memory of each of 100"),
        (1000, "memory of each of 1000"),
    ] {
        while sessions.len() < count {
            let mut session = image.session(SessionOptions::default())?;
            session.execute(CODE)?;
            sessions.push(session);
        }
        #[expect(clippy::cast_precision_loss, reason = "at most a thousand")]
        let value = (pss()? - before) / count as f64;
        // The baseline is what we promise for the bare interpreter.
        entries.push(Entry { name, value, unit: "bytes", baseline: Some(512.0 * 1024.0) });
    }
    Ok(())
}

/// What a time limit costs while it is not reached, both ways.
fn time_limits(image: &Image, entries: &mut Vec<Entry>) -> Result<()> {
    let timeout = Some(Duration::from_secs(600));
    let start = |limits: Limits| image.session(SessionOptions::default().limits(limits));
    let mut sessions = [
        start(Limits::default())?,
        start(Limits::default().timeout(timeout))?,
        start(Limits::default().timeout(timeout).stop_native_code(true))?,
    ];
    let mut best = [f64::INFINITY; 3];
    // Interleaved, so that what else the machine does hits all alike.
    for _ in 0..RUNS {
        for (session, best) in sessions.iter_mut().zip(&mut best) {
            let printed = session.execute(&format!("{TIMED}{LOOP}"))?;
            *best = best.min(super::seconds(&printed)?);
        }
    }
    let [without, python, native] = best;
    entries.push(entry("time limit", python, Some(without)));
    entries.push(entry("time limit, native", native, Some(without)));
    Ok(())
}
