//! The values of one call, on their way between Python and the canonical ABI.
//!
//! The bindings push what they lift and pop what they lower; what a popped string or list points to must
//! stay until the call has ended, so the call owns it.

use std::ffi::c_void;

unsafe extern "C" {
    fn free(ptr: *mut c_void);
}

/// Bytes that came through `cabi_realloc`, which is `malloc`.
pub struct Foreign {
    ptr: *mut u8,
    len: usize,
}

impl Foreign {
    /// Takes ownership.
    ///
    /// # Safety
    /// `ptr` must come from `malloc` and hold `len` initialised bytes; it may be anything when `len` is 0.
    pub unsafe fn new(ptr: *mut u8, len: usize) -> Self {
        Self { ptr, len }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: by the contract of `new`.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if self.len != 0 {
            // SAFETY: by the contract of `new` it came from `malloc`, and nobody else owns it.
            unsafe { free(self.ptr.cast()) };
        }
    }
}

/// A value of the component model, as far as our worlds use them.
pub enum Value {
    /// A number, a boolean, a character, a handle or an enum case.
    Word(u64),
    /// A string or a list of bytes that Python made.
    Bytes(Vec<u8>),
    /// A string or a list of bytes that the embedder made.
    Foreign(Foreign),
    /// Any other list.
    List(Vec<Value>),
    /// The fields of a record, in order.
    Record(Vec<Value>),
    /// A case with its payload: of a result 0 is `ok` and 1 is `err`.
    Case(u32, Option<Box<Value>>),
}

impl Value {
    /// The bytes of a string or of a list of bytes; empty for anything else.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Foreign(bytes) => bytes.as_slice(),
            _ => &[],
        }
    }
}

/// One call, of an export or an import.
#[derive(Default)]
pub struct Call {
    stack: Vec<Value>,
    /// What the bindings still have pointers to.
    kept: Vec<Value>,
    /// Memory that the bindings want freed with the call.
    deferred: Vec<*mut u8>,
    /// Lists that the bindings are walking through, the next element last.
    walks: Vec<Vec<Value>>,
}

impl Call {
    /// The call that the bindings name by pointer.
    ///
    /// # Safety
    /// `cx` must be a pointer from `Box::into_raw` of a call that has not been freed, and nothing else may use it
    /// meanwhile.
    pub unsafe fn at<'a>(cx: *mut c_void) -> &'a mut Self {
        // SAFETY: by our contract.
        unsafe { &mut *cx.cast() }
    }

    /// Pushes a value.
    pub fn push(&mut self, value: Value) {
        self.stack.push(value);
    }

    /// Pops a value; the bindings never pop more than was pushed.
    pub fn pop(&mut self) -> Value {
        self.stack.pop().expect("the bindings pop a value that nobody pushed")
    }

    /// Pops the last `count` values, the first pushed first.
    pub fn pop_many(&mut self, count: usize) -> Vec<Value> {
        let start = self.stack.len().checked_sub(count).expect("the bindings make a record of too few values");
        self.stack.split_off(start)
    }

    /// Pops bytes and keeps them until the call ends.
    pub fn pop_kept(&mut self) -> (*const u8, usize) {
        let value = self.pop();
        let bytes = value.bytes();
        // An empty vector's pointer is dangling but aligned and not null, which is what is wanted.
        let place = (bytes.as_ptr(), bytes.len());
        self.kept.push(value);
        place
    }

    /// Frees memory when the call ends.
    pub fn defer(&mut self, ptr: *mut u8) {
        self.deferred.push(ptr);
    }

    /// Pops a list and starts walking through it; returns its length.
    pub fn walk(&mut self) -> usize {
        let mut items = match self.pop() {
            Value::List(items) => items,
            _ => Vec::new(),
        };
        let count = items.len();
        items.reverse();
        self.walks.push(items);
        count
    }

    /// Pushes the next element of the list that is being walked through.
    pub fn step(&mut self) {
        let next = self.walks.last_mut().and_then(Vec::pop);
        self.stack.push(next.expect("the bindings walk past the end of a list"));
    }

    /// Ends the walk.
    pub fn end_walk(&mut self) {
        self.walks.pop();
    }

    /// Appends the value on top to the list below it.
    pub fn append(&mut self) {
        let value = self.pop();
        if let Some(Value::List(items)) = self.stack.last_mut() {
            items.push(value);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        for ptr in self.deferred.drain(..) {
            // SAFETY: the bindings hand over memory from `cabi_realloc`, once.
            unsafe { free(ptr.cast()) };
        }
    }
}
