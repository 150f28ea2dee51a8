//! Limits of time, memory, instructions and callbacks, and cancelling.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eryx::{CancellationToken, Error, ErrorKind, SessionExecutor};

use super::{PLAIN, SANDBOX};

const SOON: Duration = Duration::from_millis(300);

/// How long it may take until a limit is noticed on a busy machine.
const LATE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn time_ends_code_that_computes_or_waits() {
    for code in ["while True: pass", "import asyncio\nawait asyncio.sleep(60)", "import time\ntime.sleep(60)"]
    {
        let begin = Instant::now();
        let outcome = PLAIN.executor().execute(code).with_timeout(SOON).run().await;
        assert!(matches!(outcome.map_err(Error::into_kind), Err(ErrorKind::Timeout(_))), "{code}");
        assert!(begin.elapsed() < LATE, "{code}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn fuel_ends_code() {
    let outcome = PLAIN.executor().execute("while True: pass").with_fuel_limit(2_000_000_000).run().await;
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::FuelExhausted { limit: 2_000_000_000, .. }), "{error:?}");
    let used = async |code: &str| PLAIN.executor().execute(code).run().await.unwrap().fuel_consumed.unwrap();
    let (short, long) = (
        used("import asyncio\nawait asyncio.sleep(0.001)").await,
        used("import asyncio\nawait asyncio.sleep(0.3)").await,
    );
    assert!(long < short + short / 2, "sleeping costs no fuel: {short} {long}");
}

#[tokio::test]
async fn memory_is_bounded() {
    let code =
        "try:\n    x = bytearray(200 << 20)\nexcept MemoryError:\n    print('refused')\nprint('alive')";
    let output = PLAIN.executor().execute(code).with_memory_limit(128 << 20).run().await.unwrap();
    assert_eq!(output.stdout_text(), "refused\nalive\n");
    assert!(output.peak_memory_bytes <= 256 << 20);
    let output = PLAIN.executor().execute(code).run().await.unwrap();
    assert_eq!(output.stdout_text(), "alive\n");
}

#[tokio::test]
async fn callbacks_are_bounded() {
    let outcome = SANDBOX.execute("for _ in range(1001):\n    await echo(text='x')").await;
    let text = outcome.unwrap_err().to_string();
    assert!(text.contains("1000"), "{text}");
}

#[tokio::test]
async fn an_execution_can_be_cancelled() {
    for code in ["while True: pass", "await never()", "import asyncio\nawait asyncio.sleep(60)"] {
        let begin = Instant::now();
        let handle = SANDBOX.execute_cancellable(code);
        tokio::time::sleep(SOON).await;
        handle.cancel();
        assert!(matches!(handle.wait().await.map_err(Error::into_kind), Err(ErrorKind::Cancelled)), "{code}");
        assert!(begin.elapsed() < LATE, "{code}: {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_session_survives_its_limits() {
    let mut session = SessionExecutor::new(Arc::clone(&PLAIN.executor()), &[]).await.unwrap();
    session.execute("n = 1").run().await.unwrap();
    let token = CancellationToken::new();
    token.cancel();
    let outcome = session.execute("n = 2").with_cancellation(token).run().await;
    assert!(matches!(outcome.map_err(Error::into_kind), Err(ErrorKind::Cancelled)));
    assert_eq!(session.execute("print(n)").run().await.unwrap().stdout_text(), "1\n");
    session.set_execution_timeout(Some(SOON));
    assert!(matches!(
        session.execute("while True: pass").run().await.map_err(Error::into_kind),
        Err(ErrorKind::Timeout(_))
    ));
    session.set_execution_timeout(None);
    // The instance is lost, and the crate makes a new one.
    session.reset(&[]).await.unwrap();
    let output = session.execute("print('n' in globals())").run().await.unwrap();
    assert_eq!(output.stdout_text(), "False\n");
}
