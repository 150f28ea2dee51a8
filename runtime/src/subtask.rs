//! Calls of the embedder that go on while Python does: the component model's subtasks and waitable sets.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::ptr;

use crate::stack::{Call, Value};
use crate::world::ImportFunc;

#[cfg(target_family = "wasm")]
#[link(wasm_import_module = "$root")]
unsafe extern "C" {
    #[link_name = "[waitable-set-new]"]
    fn waitable_set_new() -> u32;
    #[link_name = "[waitable-set-wait]"]
    fn waitable_set_wait(set: u32, event: *mut [u32; 2]) -> u32;
    #[link_name = "[waitable-set-poll]"]
    fn waitable_set_poll(set: u32, event: *mut [u32; 2]) -> u32;
    #[link_name = "[waitable-join]"]
    fn waitable_join(waitable: u32, set: u32);
    #[link_name = "[subtask-drop]"]
    fn subtask_drop(subtask: u32);
    #[link_name = "[subtask-cancel]"]
    fn subtask_cancel(subtask: u32) -> u32;
    #[link_name = "[thread-yield]"]
    fn thread_yield() -> u32;
}

/// An event's code and a subtask's state (component model, canonical ABI).
const EVENT_SUBTASK: u32 = 1;
const RETURNED: u32 = 2;

/// A call that has not returned; the embedder writes into its memory, which stays where it is.
struct Pending {
    call: Box<Call>,
    area: *mut u8,
    layout: Layout,
    import: &'static ImportFunc,
}

impl Pending {
    fn context(&mut self) -> *mut c_void {
        ptr::from_mut(&mut *self.call).cast()
    }

    fn result(mut self) -> Value {
        let context = self.context();
        if let Some(lift) = self.import.lift {
            // SAFETY: the subtask has returned, so the area holds its result; both outlive the call.
            unsafe { lift(context, self.area.cast()) };
        }
        self.call.pop()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `start`.
        unsafe { dealloc(self.area, self.layout) };
    }
}

#[derive(Default)]
struct State {
    set: Option<u32>,
    pending: HashMap<u32, Pending>,
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// What became of a call that was started.
pub enum Started {
    /// It has returned already.
    Done(Value),
    /// It goes on as this subtask.
    Subtask(u32),
}

/// Starts a call of an asynchronous import; the arguments stand in order.
pub fn start(import: &'static ImportFunc, arguments: Vec<Value>) -> Started {
    let mut call = Box::<Call>::default();
    arguments.into_iter().rev().for_each(|argument| call.push(argument));
    let layout = Layout::from_size_align(import.area_size.max(1), import.area_align.max(1))
        .expect("the bindings describe an area with a size and an alignment");
    // SAFETY: the layout is not empty.
    let area = unsafe { alloc_zeroed(layout) };
    assert!(!area.is_null(), "out of memory");
    let mut pending = Pending { call, area, layout, import };
    let start = import.start.expect("the import is asynchronous");
    let context = pending.context();
    // SAFETY: what both pointers point to stays until the subtask has returned: `Pending` owns it.
    let status = unsafe { start(context, area.cast()) };
    if status & 0xf == RETURNED {
        return Started::Done(pending.result());
    }
    let subtask = status >> 4;
    STATE.with_borrow_mut(|state| {
        // SAFETY: intrinsics of the component model, with handles that it gave us.
        unsafe {
            let set = *state.set.get_or_insert_with(|| waitable_set_new());
            waitable_join(subtask, set);
        }
        state.pending.insert(subtask, pending);
    });
    Started::Subtask(subtask)
}

/// Waits until a subtask returns; nothing when none is pending.
pub fn wait() -> Option<(u32, Value)> {
    next(true)
}

/// Looks whether a subtask has returned.
pub fn poll() -> Option<(u32, Value)> {
    next(false)
}

fn next(block: bool) -> Option<(u32, Value)> {
    loop {
        let set = STATE.with_borrow(|state| if state.pending.is_empty() { None } else { state.set })?;
        let mut event = [0; 2];
        // SAFETY: intrinsics of the component model, with a handle that it gave us; no borrow is held while
        // they block.
        let code = unsafe {
            if block { waitable_set_wait(set, &mut event) } else { waitable_set_poll(set, &mut event) }
        };
        let [subtask, progress] = event;
        if code != EVENT_SUBTASK {
            if block {
                continue;
            }
            return None;
        }
        if progress != RETURNED {
            continue;
        }
        let pending = STATE.with_borrow_mut(|state| state.pending.remove(&subtask));
        // SAFETY: as above; a subtask that has returned may be dropped.
        unsafe { subtask_drop(subtask) };
        if let Some(pending) = pending {
            return Some((subtask, pending.result()));
        }
    }
}

/// Cancels a subtask; its result, should it have one already, is thrown away.
pub fn cancel(subtask: u32) {
    let pending = STATE.with_borrow_mut(|state| state.pending.remove(&subtask));
    if let Some(pending) = pending {
        // SAFETY: intrinsics of the component model, with a handle that it gave us. Cancelling waits until the
        // embedder has let go of the memory that `pending` owns.
        unsafe {
            waitable_join(subtask, 0);
            let progress = subtask_cancel(subtask);
            subtask_drop(subtask);
            if progress == RETURNED {
                drop(pending.result());
            }
        }
    }
}

/// Lets the embedder run.
pub fn yield_now() {
    // SAFETY: an intrinsic of the component model.
    unsafe { thread_yield() };
}

/// Natively there is no component model; what stands here lets the crate be checked.
#[cfg(not(target_family = "wasm"))]
mod absent {
    pub unsafe fn waitable_set_new() -> u32 {
        0
    }
    pub unsafe fn waitable_set_wait(_: u32, _: *mut [u32; 2]) -> u32 {
        0
    }
    pub unsafe fn waitable_set_poll(_: u32, _: *mut [u32; 2]) -> u32 {
        0
    }
    pub unsafe fn waitable_join(_: u32, _: u32) {}
    pub unsafe fn subtask_drop(_: u32) {}
    pub unsafe fn subtask_cancel(_: u32) -> u32 {
        0
    }
    pub unsafe fn thread_yield() -> u32 {
        0
    }
}
#[cfg(not(target_family = "wasm"))]
use absent::*;
