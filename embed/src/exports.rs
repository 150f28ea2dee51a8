//! The world's exports: found once for all instances of a component, and called.

use wasmtime::component::{
    Accessor, Component, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower,
};
use wasmtime::{Engine, Store};

use crate::bindings::{Guest, SandboxIndices, linker};

/// A component whose imports are resolved, and whose exports are found and have the types of the world: what is the
/// same for all its instances.
pub(super) struct SandboxPre {
    instance: InstancePre<Guest>,
    exports: Exports,
}

impl SandboxPre {
    /// Resolves the imports of a component and finds its exports.
    ///
    /// # Errors
    /// When the component does not fit the world.
    pub(super) fn new(component: &Component) -> wasmtime::Result<Self> {
        let instance = linker(component.engine())?.instantiate_pre(component)?;
        let exports = Exports::of(&instance)?;
        Ok(Self { instance, exports })
    }

    pub(super) fn engine(&self) -> &Engine {
        self.instance.engine()
    }

    pub(super) async fn instantiate(&self, store: &mut Store<Guest>) -> wasmtime::Result<Sandbox> {
        Ok(Sandbox { instance: self.instance.instantiate_async(store).await?, exports: self.exports.clone() })
    }
}

#[derive(Clone)]
struct Exports {
    execute: ComponentExportIndex,
    snapshot_state: ComponentExportIndex,
    restore_state: ComponentExportIndex,
    clear_state: ComponentExportIndex,
}

impl Exports {
    fn of(instance: &InstancePre<Guest>) -> wasmtime::Result<Self> {
        // It checks the types; but it then gives all functions or none.
        SandboxIndices::new(instance)?;
        let find = |name| {
            let export = instance.component().get_export_index(None, name);
            export.ok_or_else(|| wasmtime::Error::msg(format!("no export `{name}` found")))
        };
        Ok(Self {
            execute: find("execute")?,
            snapshot_state: find("snapshot-state")?,
            restore_state: find("restore-state")?,
            clear_state: find("clear-state")?,
        })
    }
}

/// The exports of an instance. Each is taken from it when it is called: most instances are asked for one of them.
pub(super) struct Sandbox {
    instance: Instance,
    exports: Exports,
}

impl Sandbox {
    pub(super) async fn execute(
        &self,
        accessor: &Accessor<Guest>,
        code: String,
    ) -> wasmtime::Result<Result<String, String>> {
        let (result,) = self.call(accessor, &self.exports.execute, (code,)).await?;
        Ok(result)
    }

    pub(super) async fn snapshot_state(
        &self,
        accessor: &Accessor<Guest>,
    ) -> wasmtime::Result<Result<Vec<u8>, String>> {
        let (result,) = self.call(accessor, &self.exports.snapshot_state, ()).await?;
        Ok(result)
    }

    pub(super) async fn restore_state(
        &self,
        accessor: &Accessor<Guest>,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<(), String>> {
        let (result,) = self.call(accessor, &self.exports.restore_state, (data,)).await?;
        Ok(result)
    }

    pub(super) async fn clear_state(&self, accessor: &Accessor<Guest>) -> wasmtime::Result<()> {
        self.call(accessor, &self.exports.clear_state, ()).await
    }

    async fn call<P, R>(
        &self,
        accessor: &Accessor<Guest>,
        export: &ComponentExportIndex,
        parameters: P,
    ) -> wasmtime::Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let function = accessor.with(|access| self.instance.get_typed_func::<P, R>(access, export))?;
        function.call_concurrent(accessor, parameters).await
    }
}
