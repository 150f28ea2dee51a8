//! The component model's intrinsics, and the file system layer of this component.
//!
//! The intrinsics are reached through a library that the link makes (`build/src/link/intrinsics.rs` has the same names):
//! in a world without asynchronous functions a component must not have them, as not every engine knows them.

#[cfg(target_family = "wasm")]
mod raw {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        #[link_name = "__eryx_waitable_set_new"]
        pub safe fn waitable_set_new() -> u32;
        #[link_name = "__eryx_waitable_set_wait"]
        pub fn waitable_set_wait(set: u32, payload: *mut u32) -> u32;
        #[link_name = "__eryx_waitable_set_poll"]
        pub fn waitable_set_poll(set: u32, payload: *mut u32) -> u32;
        #[link_name = "__eryx_waitable_join"]
        pub safe fn waitable_join(waitable: u32, set: u32);
        #[link_name = "__eryx_subtask_cancel"]
        pub safe fn subtask_cancel(subtask: u32) -> u32;
        #[link_name = "__eryx_subtask_drop"]
        pub safe fn subtask_drop(subtask: u32);
        #[link_name = "__eryx_thread_yield"]
        pub safe fn thread_yield() -> u32;
        #[link_name = "__eryx_vfs_reset"]
        pub safe fn vfs_reset();
        #[link_name = "__eryx_vfs_quota"]
        pub safe fn vfs_quota(bytes: u64) -> u64;
        #[link_name = "__eryx_vfs_writers"]
        pub safe fn vfs_writers() -> u32;
        #[link_name = "__eryx_vfs_on_exit"]
        pub safe fn vfs_on_exit(hook: Option<extern "C" fn(i32)>);
    }
}

/// Outside a component nothing is ever pending.
#[cfg(not(target_family = "wasm"))]
mod raw {
    pub fn waitable_set_new() -> u32 {
        1
    }
    pub unsafe fn waitable_set_wait(_set: u32, _payload: *mut u32) -> u32 {
        0
    }
    pub unsafe fn waitable_set_poll(_set: u32, _payload: *mut u32) -> u32 {
        0
    }
    pub fn waitable_join(_waitable: u32, _set: u32) {}
    pub fn subtask_cancel(_subtask: u32) -> u32 {
        4
    }
    pub fn subtask_drop(_subtask: u32) {}
    pub fn thread_yield() -> u32 {
        0
    }
    pub fn vfs_reset() {}
    pub fn vfs_quota(bytes: u64) -> u64 {
        bytes
    }
    pub fn vfs_writers() -> u32 {
        0
    }
    pub fn vfs_on_exit(_hook: Option<extern "C" fn(i32)>) {}
}

/// `waitable-set.new`.
#[must_use]
pub fn waitable_set_new() -> u32 {
    raw::waitable_set_new()
}

/// `waitable-set.wait`: an event, and what belongs to it in the payload.
pub fn waitable_set_wait(set: u32, payload: &mut [u32; 2]) -> u32 {
    // SAFETY: the intrinsic writes two words to the payload.
    unsafe { raw::waitable_set_wait(set, payload.as_mut_ptr()) }
}

/// `waitable-set.poll`: an event, and what belongs to it in the payload.
pub fn waitable_set_poll(set: u32, payload: &mut [u32; 2]) -> u32 {
    // SAFETY: the intrinsic writes two words to the payload.
    unsafe { raw::waitable_set_poll(set, payload.as_mut_ptr()) }
}

/// `waitable.join`; set 0 stands for none.
pub fn waitable_join(waitable: u32, set: u32) {
    raw::waitable_join(waitable, set);
}

/// `subtask.cancel`, which blocks: the state that the subtask ends in.
pub fn subtask_cancel(subtask: u32) -> u32 {
    raw::subtask_cancel(subtask)
}

/// `subtask.drop`.
pub fn subtask_drop(subtask: u32) {
    raw::subtask_drop(subtask);
}

/// `thread.yield`: lets the embedder and the other tasks of the component run.
pub fn thread_yield() {
    raw::thread_yield();
}

/// Has the file system layer forget the files that the embedder lent.
pub fn vfs_reset() {
    raw::vfs_reset();
}

/// Sets how many bytes the files in memory may have, with their names and bookkeeping.
pub fn vfs_quota(bytes: u64) {
    raw::vfs_quota(bytes);
}

/// Tells whether files are open for writing.
#[must_use]
pub fn vfs_has_writers() -> bool {
    raw::vfs_writers() != 0
}

/// Has a function called with the status before the guest is ended by `proc_exit`.
pub fn vfs_on_exit(hook: extern "C" fn(i32)) {
    raw::vfs_on_exit(Some(hook));
}
