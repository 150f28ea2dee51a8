//! The crate `eryx` 0.14, as it is published, with a component of the world `eryx-0.14`:
//!
//! ```sh
//! just bundle --world eryx-0.14 numpy
//! cd examples/eryx-0.14 && cargo run --locked --ignore-rust-version -- ../../dist/numpy.eryx-0.14.wasm
//! ```
//!
//! Nothing has to be told to the crate but where the component is. It insists on a folder with Python's standard
//! library; ours lies in the component, so that any empty folder will do.

use std::error::Error;
use std::time::Duration;

use eryx::{CallbackError, DynamicCallback, InProcessSession, ResourceLimits, Sandbox, Session};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome {
    let component = std::env::args().nth(1).ok_or("expected a component of the world `eryx-0.14`")?;
    // Below this crate: in a shared temporary directory somebody else could put a library there.
    let nothing = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/no-library");
    std::fs::create_dir_all(&nothing)?;

    // Answers after a while, so that several calls are under way at once.
    let population = DynamicCallback::builder("population", "How many people live in a city.", |arguments| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match arguments["city"].as_str() {
                Some("Oslo") => Ok(720_000.into()),
                Some("Bergen") => Ok(290_000.into()),
                other => Err(CallbackError::ExecutionFailed(format!("no such city: {other:?}"))),
            }
        })
    })
    .param("city", "string", "The name of the city.", true)
    .build();

    let sandbox = Sandbox::builder()
        .with_wasm_bytes(std::fs::read(component)?)
        .with_python_stdlib(nothing)
        .with_callback(population)
        .with_resource_limits(ResourceLimits::default().with_execution_timeout(Duration::from_secs(10)))
        .with_trace_collection(true)
        .build()?;

    println!("== callbacks");
    let code = "import asyncio\n\
                cities = ['Oslo', 'Bergen']\n\
                found = await asyncio.gather(*(population(city=city) for city in cities))\n\
                print(dict(zip(cities, found)))\n\
                try:\n    await population(city='Atlantis')\n\
                except Exception as error:\n    print(error)\n\
                result = sum(found)";
    let output = sandbox.execute(code).await?;
    print!("{}", output.stdout_text());
    println!("result {}, {} callbacks", output.result.unwrap_or_default(), output.stats.callback_invocations);
    println!("{} events traced", output.trace.len());

    println!("== sessions");
    let mut session = InProcessSession::new(&sandbox).await?;
    session.execute("def double(x): return 2 * x\nn = 21").await?;
    let snapshot = session.snapshot_state().await?;
    session.clear_state().await?;
    println!(
        "cleared: {}",
        session.execute("'n' in globals()\nresult = 'n' in globals()").await?.result.unwrap_or_default()
    );
    let mut other = InProcessSession::new(&sandbox).await?;
    other.restore_state(&snapshot).await?;
    print!(
        "restored from {} bytes: {}",
        snapshot.size(),
        other.execute("print(double(n))").await?.stdout_text()
    );

    println!("== errors");
    let error = sandbox.execute("def f():\n    return 1 / 0\nf()").await.err().ok_or("expected an error")?;
    print!("{error}");
    Ok(())
}
