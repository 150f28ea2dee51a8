//! componentize-py: a component that runs code, built and run as its documentation tells, by the engine that runs ours.

use std::path::Path;

use eryx_build::error::{Error, Result};
use eryx_build::layout::Layout;
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store};
use wasmtime_wasi::WasiCtx;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;

use super::native::Wheels;
use super::peers::Peer;
use super::sandbox::median;

const WIT: &str = "package eryx:bench;
world bench { export run: func(code: string) -> string; }
";
/// Calls the entry point of its script.
const BUILD: &str = "
import os, sys
from componentize_py import script
os.chdir(FOLDER)
sys.argv = ['componentize-py', '-d', 'bench.wit', '-w', 'bench', 'componentize', 'app', '-o', 'app.wasm']
script()
";

/// The component, with all but its instantiation done.
pub struct Componentize {
    component: InstancePre<WasiP1Ctx>,
}

impl Componentize {
    pub fn build(layout: &Layout, python: &Path) -> Result<Self> {
        let wheels = Wheels::install(layout, python, &["componentize-py==0.25.1"])?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("bench.wit"), WIT)?;
        std::fs::write(folder.path().join("app.py"), include_str!("componentize.py"))?;
        wheels.run(&BUILD.replace("FOLDER", &format!("{:?}", folder.path().display().to_string())))?;
        let told = |error: wasmtime::Error| Error::new(format!("{error:?}"));
        let engine = Engine::default();
        let component = Component::from_file(&engine, folder.path().join("app.wasm")).map_err(told)?;
        let mut linker = Linker::<WasiP1Ctx>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).map_err(told)?;
        Ok(Self { component: linker.instantiate_pre(&component).map_err(told)? })
    }

    fn call(&self, code: &str, stderr: &MemoryOutputPipe) -> wasmtime::Result<String> {
        let wasi = WasiCtx::builder().stderr(stderr.clone()).build_p1();
        let mut store = Store::new(self.component.engine(), wasi);
        let instance = self.component.instantiate(&mut store)?;
        let run = instance.get_typed_func::<(&str,), (String,)>(&mut store, "run")?;
        Ok(run.call(&mut store, (code,))?.0)
    }
}

impl Peer for Componentize {
    fn fresh(&self) -> Result<f64> {
        median(|| self.run("1+1").map(drop))
    }

    fn run(&self, code: &str) -> Result<String> {
        // A traceback goes there, and then a panic, before the component traps.
        let stderr = MemoryOutputPipe::new(1 << 20);
        self.call(code, &stderr).map_err(|error| {
            let told = String::from_utf8_lossy(&stderr.contents()).into_owned();
            let traceback = told.split("\nthread '").next().unwrap_or_default().trim().to_owned();
            Error::new(format!("the component failed: {}", error.root_cause())).detail(traceback)
        })
    }
}
