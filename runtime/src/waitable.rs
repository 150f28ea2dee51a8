//! Calls of asynchronous imports, and waiting for them with the component model's intrinsics.
//!
//! A call that does not return at once becomes a subtask, which joins our one waitable set. Its
//! [`Call`] and its area belong to the bindings until the result has been lifted, so they are kept here,
//! by subtask. Specification: component-model, `CanonicalABI.md`, `canon waitable-set.wait` and below.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use core::cell::{Cell, RefCell};
use core::ffi::c_void;

use crate::call::{Call, Value};
use crate::ffi::bindings::{AsyncImportFn, AsyncLiftFn};
use crate::ffi::component;
use crate::memory;

const EVENT_NONE: u32 = 0;
const EVENT_SUBTASK: u32 = 1;
const STATE_RETURNED: u32 = 2;
const STATE_START_CANCELLED: u32 = 3;
const STATE_RETURN_CANCELLED: u32 = 4;

/// A subtask's handle.
pub type Subtask = u32;

/// An asynchronous import that has been started.
pub enum Started {
    /// It returned at once.
    Returned(Value),
    /// It goes on.
    Pending(Subtask),
}

/// The calls under way.
///
/// The bindings and the engine are called without a borrow of what is in it: they may call back.
#[derive(Default)]
pub struct Waitables {
    set: Cell<Option<u32>>,
    pending: RefCell<BTreeMap<Subtask, Pending>>,
}

struct Pending {
    call: *mut Call,
    lift: AsyncLiftFn,
    area: *mut c_void,
    size: usize,
    align: usize,
}

impl Pending {
    /// Returns the result, which must be there.
    fn finish(self) -> Value {
        // SAFETY: the import has returned, so its result lies in the area; both pointers are ours still.
        unsafe { (self.lift)(self.call, self.area) };
        // SAFETY: the pointer came from a box, and the bindings are done with it.
        unsafe { &mut *self.call }.take_result()
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // SAFETY: the call came from a box and the area from `allocate`; the subtask is resolved, so
        // nobody writes to either any more.
        unsafe {
            drop(Box::from_raw(self.call));
            memory::free(self.area.cast(), self.size, self.align);
        }
    }
}

impl Waitables {
    /// Starts an import whose arguments lie on the call's stack, the first on top.
    pub fn start(
        &self,
        call: Call,
        start: AsyncImportFn,
        lift: AsyncLiftFn,
        (size, align): (usize, usize),
    ) -> Started {
        let area: *mut c_void = memory::allocate(size, align.max(1)).cast();
        if area.is_null() {
            memory::fatal("no memory is left for a call");
        }
        let pending = Pending { call: Box::into_raw(Box::new(call)), lift, area, size, align: align.max(1) };
        // SAFETY: call and area live until the import is resolved, as its protocol asks.
        let status = unsafe { start(pending.call, pending.area) };
        let (state, subtask) = (status & 0xf, status >> 4);
        if state == STATE_RETURNED {
            return Started::Returned(pending.finish());
        }
        let set = self.set.get().unwrap_or_else(component::waitable_set_new);
        self.set.set(Some(set));
        component::waitable_join(subtask, set);
        self.pending.borrow_mut().insert(subtask, pending);
        Started::Pending(subtask)
    }

    /// Tells whether any call is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    /// Blocks until a call returns; `None` at once if none is under way.
    pub fn wait(&self) -> Option<(Subtask, Value)> {
        while !self.is_empty() {
            let mut payload = [0; 2];
            let event = component::waitable_set_wait(self.set.get()?, &mut payload);
            if let Some(returned) = self.take(event, payload) {
                return Some(returned);
            }
        }
        None
    }

    /// Returns a call that has returned, without blocking.
    pub fn poll(&self) -> Option<(Subtask, Value)> {
        while !self.is_empty() {
            let mut payload = [0; 2];
            let event = component::waitable_set_poll(self.set.get()?, &mut payload);
            if event == EVENT_NONE {
                return None;
            }
            if let Some(returned) = self.take(event, payload) {
                return Some(returned);
            }
        }
        None
    }

    /// Cancels a call and blocks until the embedder has given it up; a result that came first is lost.
    pub fn cancel(&self, subtask: Subtask) {
        let removed = self.pending.borrow_mut().remove(&subtask);
        let Some(pending) = removed else { return };
        // A subtask that is in a set cannot be waited for by `subtask.cancel`.
        component::waitable_join(subtask, 0);
        if component::subtask_cancel(subtask) == STATE_RETURNED {
            pending.finish();
        }
        component::subtask_drop(subtask);
    }

    fn take(&self, event: u32, [subtask, state]: [u32; 2]) -> Option<(Subtask, Value)> {
        let ended = matches!(state, STATE_RETURNED | STATE_START_CANCELLED | STATE_RETURN_CANCELLED);
        if event != EVENT_SUBTASK || !ended {
            return None;
        }
        let pending = self.pending.borrow_mut().remove(&subtask)?;
        let value = (state == STATE_RETURNED).then(|| pending.finish());
        component::subtask_drop(subtask);
        Some((subtask, value?))
    }
}
