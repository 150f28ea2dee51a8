//! What the crate `eryx` 0.14 documents, with a component of ours. `ERYX_COMPONENT` names the component: one of the
//! world `eryx-0.14`, with or without packages.

mod callbacks;
mod limits;
mod network;
mod output;
mod sessions;

use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use eryx::{
    CallbackError, DynamicCallback, Error, ErrorKind, ExecuteResult, OutputHandler, RuntimeLibrary, Sandbox,
    SandboxBuilder, state,
};

fn builder() -> SandboxBuilder<state::Has, state::Has> {
    let path = PathBuf::from(std::env::var_os("ERYX_COMPONENT").expect("`ERYX_COMPONENT` names a component"));
    let component = std::fs::read(&path).unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
    // The crate insists on a folder with the standard library; ours lies in the component.
    Sandbox::builder().with_wasm_bytes(component).with_python_stdlib(folder("no-library"))
}

/// An empty folder.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// What was streamed, of all tests.
static STREAMED: Mutex<(Vec<u8>, Vec<u8>)> = Mutex::new((Vec::new(), Vec::new()));

struct Streams;

#[async_trait::async_trait]
impl OutputHandler for Streams {
    async fn on_output(&self, chunk: &[u8]) {
        STREAMED.lock().unwrap().0.extend_from_slice(chunk);
    }

    async fn on_stderr(&self, chunk: &[u8]) {
        STREAMED.lock().unwrap().1.extend_from_slice(chunk);
    }
}

/// A sandbox with everything that the tests use, as each one that is built compiles the component anew.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let packages = folder("site-packages");
    std::fs::write(packages.join("lent.py"), "value = 'lent'\n").unwrap();
    // A module of the standard library's name, which must not be taken for it.
    std::fs::write(packages.join("json.py"), "raise ImportError('the wrong json')\n").unwrap();
    with_callbacks(builder())
        .with_network(network::config())
        .with_output_handler(Streams)
        .with_trace_collection(true)
        .with_site_packages(packages)
        .with_library(RuntimeLibrary::new().with_preamble("def helped(x):\n    return f'héłp {x}'\n"))
        .build()
        .unwrap()
});

/// A sandbox with other settings.
static PLAIN: LazyLock<Sandbox> = LazyLock::new(|| {
    builder().with_network(eryx::NetConfig::default()).with_result_variable("answer").build().unwrap()
});

fn with_callbacks<R, S>(builder: SandboxBuilder<R, S>) -> SandboxBuilder<R, S> {
    let echo = DynamicCallback::builder("echo", "Gives back its text.", |arguments| {
        Box::pin(async move { Ok(arguments["text"].clone()) })
    });
    let later = DynamicCallback::builder("later", "Answers after a while.", |arguments| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(arguments["ms"].as_u64().unwrap_or(0))).await;
            Ok(arguments["ms"].clone())
        })
    });
    let fail = DynamicCallback::builder("fail", "Fails.", |_| {
        Box::pin(async { Err(CallbackError::ExecutionFailed("no such row".to_owned())) })
    });
    let never = DynamicCallback::builder("never", "Never answers.", |_| Box::pin(std::future::pending()));
    builder
        .with_callback(echo.param("text", "string", "What to give back.", true).build())
        .with_callback(later.param("ms", "integer", "Milliseconds.", true).build())
        .with_callback(fail.build())
        .with_callback(never.build())
}

/// Runs code that must not raise, and gives what it printed.
#[track_caller]
fn printed(outcome: Result<ExecuteResult, Error>) -> String {
    match outcome {
        Ok(output) => output.stdout_text(),
        Err(error) => panic!("{error}"),
    }
}

/// The traceback of code that must raise.
#[track_caller]
fn traceback(outcome: Result<ExecuteResult, Error>) -> String {
    match outcome.map_err(Error::into_kind) {
        Err(ErrorKind::PythonException(text)) => text,
        other => panic!("{other:?}"),
    }
}
