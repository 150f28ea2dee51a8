//! Running a component of the world `command`, as any engine with WASI 0.2 would.

use wasmtime::component::{Component, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::bindings::{Command, CommandPre};
use wasmtime_wasi::p2::pipe::{MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder};

use super::packages::{Failed, Interpreter};
use crate::error::{Error, Result};

/// The most that is kept of one output, in bytes.
const CAPTURE_LIMIT: usize = 64 << 20;

/// What a program is started with.
#[derive(Debug, Clone, Default)]
pub struct Invocation<'a> {
    /// The arguments after the program's name.
    pub arguments: &'a [&'a str],
    /// The environment.
    pub env: &'a [(&'a str, &'a str)],
    /// Standard input.
    pub stdin: &'a [u8],
    /// Directories of the build machine, and where the program sees them.
    pub folders: &'a [(&'a std::path::Path, &'a str)],
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Whether its exit status was 0; WASI 0.2 tells no more.
    pub success: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

/// A component of the world `command`; every run is a new instance.
pub struct Program {
    pre: CommandPre<WasiP1Ctx>,
    executor: tokio::runtime::Runtime,
}

impl Program {
    /// Links the component with WASI 0.2 and nothing else.
    ///
    /// # Errors
    /// When it imports anything else, or does not export `wasi:cli/run`.
    pub fn new(engine: &Engine, component: &Component) -> Result<Self> {
        let unfit = |error: wasmtime::Error| {
            let mut causes = error.chain().map(|cause| cause.to_string());
            Error::new(format!("cannot start the program: {}", causes.next().unwrap_or_default()))
                .details(causes)
        };
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).map_err(unfit)?;
        let pre = linker.instantiate_pre(component).and_then(CommandPre::new).map_err(unfit)?;
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { pre, executor })
    }

    /// Runs the program to its end.
    ///
    /// # Errors
    /// When it traps, or a folder cannot be opened.
    pub fn run(&self, invocation: &Invocation<'_>) -> Result<Ended> {
        let (stdout, stderr) = (MemoryOutputPipe::new(CAPTURE_LIMIT), MemoryOutputPipe::new(CAPTURE_LIMIT));
        let mut wasi = WasiCtxBuilder::new();
        wasi.allow_blocking_current_thread(true)
            .arg("python3")
            .args(invocation.arguments)
            .envs(invocation.env)
            .stdin(MemoryInputPipe::new(invocation.stdin.to_vec()))
            .stdout(stdout.clone())
            .stderr(stderr.clone());
        for (folder, place) in invocation.folders {
            wasi.preopened_dir(folder, place, FsPerms::ReadWrite)
                .map_err(|error| Error::new(format!("cannot open `{}`: {error}", folder.display())))?;
        }
        let mut store = Store::new(self.pre.engine(), wasi.build_p1());
        let status = self.executor.block_on(async {
            let program: Command = self.pre.instantiate_async(&mut store).await?;
            program.wasi_cli_run().call_run(&mut store).await
        });
        let text = |pipe: &MemoryOutputPipe| String::from_utf8_lossy(&pipe.contents()).into_owned();
        let success = match status {
            Ok(status) => status.is_ok(),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(exit) => exit.0 == 0,
                None => {
                    return Err(Error::new(format!("the program trapped: {}", error.root_cause()))
                        .details(text(&stderr).lines()));
                }
            },
        };
        Ok(Ended { success, stdout: text(&stdout), stderr: text(&stderr) })
    }
}

impl Interpreter for Program {
    fn execute(&mut self, code: &str) -> Result<(), Failed> {
        let invocation = Invocation { arguments: &["-c", code], ..Invocation::default() };
        match self.run(&invocation) {
            Ok(Ended { success: true, .. }) => Ok(()),
            Ok(ended) => Err(Failed::Raised(ended.stderr)),
            Err(error) => Err(Failed::Ended(error)),
        }
    }

    fn clear(&mut self) -> Result<()> {
        Ok(())
    }
}
