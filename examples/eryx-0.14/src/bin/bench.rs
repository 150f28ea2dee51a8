//! What calls cost with the crate `eryx` 0.14 and the runtime that it comes with, both as they are published. Prints JSON:
//! seconds by the names that the table of `just bench` has, which starts this program.
//!
//! The measured code is that table's; of many runs the fastest counts. Traces are not collected, which the crate does
//! unless it is told not to.

use std::error::Error;
use std::time::Instant;

use eryx::embedded_stdlib::EmbeddedStdlib;
use eryx::{DynamicCallback, InProcessSession, Sandbox, Session};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const CALLS: u32 = 50;
const RUNS: u32 = 40;
/// What is saved and restored; see `ROWS` in `build/benches/bench/calls.rs`.
const ROWS: &str = "rows = [{'id': i, 'name': str(i)} for i in range(20000)]";

/// The seconds of the fastest of some runs.
macro_rules! fastest {
    ($runs:expr, $work:expr) => {{
        let mut best = f64::INFINITY;
        for _ in 0..$runs {
            let start = Instant::now();
            $work;
            best = best.min(start.elapsed().as_secs_f64());
        }
        best
    }};
}

#[tokio::main]
async fn main() -> Outcome {
    let echo = DynamicCallback::builder("echo", "Gives back what it gets.", |arguments| {
        Box::pin(async move { Ok(arguments) })
    })
    .build();
    let sandbox = Sandbox::builder()
        .with_wasm_bytes(eryx_runtime::linker::link_with_extensions(&[])?)
        .with_python_stdlib(EmbeddedStdlib::get()?.path())
        .with_callback(echo)
        .with_trace_collection(false)
        .build()?;
    let instantiate = fastest!(5, InProcessSession::new(&sandbox).await?);

    let mut session = InProcessSession::new(&sandbox).await?;
    let mut execute = f64::INFINITY;
    let mut execute_new = f64::INFINITY;
    let mut seen = 0_u32;
    for _ in 0..RUNS {
        execute = execute.min(fastest!(1, for _ in 0..CALLS { session.execute("x = 1").await?; }));
        let new = fastest!(1, for _ in 0..CALLS {
            seen += 1;
            session.execute(&format!("x = {seen}")).await?;
        });
        execute_new = execute_new.min(new);
    }
    let code = format!("for _ in range({CALLS}): await invoke('echo')");
    let invoke = fastest!(RUNS, session.execute(&code).await?);

    session.execute(ROWS).await?;
    let saved = session.snapshot_state().await?;
    let snapshot = fastest!(5, session.snapshot_state().await?);
    let restore = fastest!(5, session.restore_state(&saved).await?);

    let each = f64::from(CALLS);
    println!(
        "{{\"instantiate\": {instantiate}, \"execute\": {}, \"execute new code\": {}, \"invoke\": {}, \
         \"snapshot\": {snapshot}, \"restore\": {restore}}}",
        execute / each,
        execute_new / each,
        invoke / each,
    );
    Ok(())
}
