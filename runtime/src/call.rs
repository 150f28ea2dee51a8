//! The stack of values of one call.
//!
//! wit-dylib's bindings convert between the canonical ABI and a stack machine: they push what they lift,
//! and pop what they lower. Records, lists and the like are built from, and taken apart to, what lies on
//! top of the stack.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::{self, Vec};

use crate::memory;

/// A value of a WIT type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `bool`.
    Bool(bool),
    /// An unsigned integer of any size.
    Unsigned(u64),
    /// A signed integer of any size.
    Signed(i64),
    /// `f32` or `f64`.
    Float(f64),
    /// `char`.
    Char(char),
    /// `string`.
    String(String),
    /// `list<u8>`.
    Bytes(Vec<u8>),
    /// Another list; a map is a list of records of two.
    List(Vec<Value>),
    /// A record or a tuple.
    Record(Vec<Value>),
    /// A variant, an option (case 0 is none) or a result (case 0 is ok).
    Variant(u32, Option<Box<Value>>),
    /// An enum's case, flags, or the handle of a resource, future or stream.
    Number(u32),
}

/// What lies on the stack: a value, or a list that is being taken apart.
#[derive(Debug)]
enum Slot {
    Value(Value),
    Iterator(vec::IntoIter<Value>),
    /// A string that stays where it is, outside of the call.
    Lent(*const u8, usize),
}

/// A block that the bindings allocated and that must live as long as the call.
#[derive(Debug)]
struct Block {
    pointer: *mut u8,
    size: usize,
    align: usize,
}

/// One call of an import or an export.
#[derive(Debug, Default)]
pub struct Call {
    stack: Vec<Slot>,
    /// Strings and byte lists whose addresses the bindings were given.
    lent: Vec<Vec<u8>>,
    blocks: Vec<Block>,
}

impl Call {
    /// Puts a value on top.
    pub fn push(&mut self, value: Value) {
        self.stack.push(Slot::Value(value));
    }

    /// Puts a string on top that stays where it is: its place, which must be valid as long as the call, and its length.
    pub fn push_lent(&mut self, place: *const u8, length: usize) {
        self.stack.push(Slot::Lent(place, length));
    }

    /// Takes the top value. The bindings keep the stack balanced, so anything else is a broken component.
    pub fn pop(&mut self) -> Value {
        match self.stack.pop() {
            Some(Slot::Value(value)) => value,
            _ => memory::fatal("the bindings popped a value that was not pushed"),
        }
    }

    /// Takes all values, the lowest first: the arguments of an export.
    pub fn take_all(&mut self) -> Vec<Value> {
        core::mem::take(&mut self.stack)
            .into_iter()
            .map(|slot| match slot {
                Slot::Value(value) => value,
                Slot::Iterator(_) | Slot::Lent(..) => {
                    memory::fatal("the bindings left a list or a string half converted")
                }
            })
            .collect()
    }

    /// Takes the result that a call has left, which is an empty record if the function has none.
    pub fn take_result(&mut self) -> Value {
        self.take_all().pop().unwrap_or(Value::Record(Vec::new()))
    }

    /// Replaces the top `count` values by a record of them.
    pub fn push_record(&mut self, count: usize) {
        let mut fields: Vec<Value> = (0..count).map(|_| self.pop()).collect();
        fields.reverse();
        self.push(Value::Record(fields));
    }

    /// Replaces a record by its fields, the first on top.
    pub fn pop_record(&mut self) {
        match self.pop() {
            Value::Record(fields) => self.stack.extend(fields.into_iter().rev().map(Slot::Value)),
            _ => mismatch("a record"),
        }
    }

    /// Makes a variant whose payload, if it has one, is the top value.
    pub fn push_variant(&mut self, case: u32, has_payload: bool) {
        let payload = has_payload.then(|| Box::new(self.pop()));
        self.push(Value::Variant(case, payload));
    }

    /// Replaces a variant by its payload, if it has one, and returns its case.
    pub fn pop_variant(&mut self) -> u32 {
        match self.pop() {
            Value::Variant(case, payload) => {
                if let Some(payload) = payload {
                    self.push(*payload);
                }
                case
            }
            _ => mismatch("a variant"),
        }
    }

    /// Adds the top value to the list below it.
    pub fn append(&mut self) {
        let element = self.pop();
        match self.stack.last_mut() {
            Some(Slot::Value(Value::List(elements))) => elements.push(element),
            _ => mismatch("a list"),
        }
    }

    /// Takes a list: its bytes, if they are in canonical form already, or else puts an iterator on top.
    pub fn pop_list(&mut self) -> (*const u8, usize) {
        match self.pop() {
            Value::Bytes(bytes) => self.lend(bytes),
            Value::List(elements) => {
                let count = elements.len();
                self.stack.push(Slot::Iterator(elements.into_iter()));
                (core::ptr::null(), count)
            }
            _ => mismatch("a list"),
        }
    }

    /// Puts the next element of the iterator on top of it.
    pub fn next_element(&mut self) {
        match self.stack.last_mut() {
            Some(Slot::Iterator(elements)) => match elements.next() {
                Some(element) => self.push(element),
                None => mismatch("a further element"),
            },
            _ => mismatch("an iterator"),
        }
    }

    /// Removes the iterator.
    pub fn end_list(&mut self) {
        if !matches!(self.stack.pop(), Some(Slot::Iterator(_))) {
            mismatch("an iterator");
        }
    }

    /// Takes a string and returns its place, which is valid as long as the call.
    pub fn pop_string(&mut self) -> (*const u8, usize) {
        if let Some(Slot::Lent(place, length)) = self.stack.last() {
            let lent = (*place, *length);
            self.stack.pop();
            return lent;
        }
        match self.pop() {
            Value::String(text) => self.lend(text.into_bytes()),
            _ => mismatch("a string"),
        }
    }

    /// Takes an unsigned integer.
    pub fn pop_unsigned(&mut self) -> u64 {
        if let Value::Unsigned(value) = self.pop() { value } else { mismatch("an unsigned integer") }
    }

    /// Takes a signed integer.
    pub fn pop_signed(&mut self) -> i64 {
        if let Value::Signed(value) = self.pop() { value } else { mismatch("a signed integer") }
    }

    /// Takes a float.
    pub fn pop_float(&mut self) -> f64 {
        if let Value::Float(value) = self.pop() { value } else { mismatch("a float") }
    }

    /// Takes a character.
    pub fn pop_char(&mut self) -> char {
        if let Value::Char(value) = self.pop() { value } else { mismatch("a character") }
    }

    /// Takes an enum's case, flags or a handle.
    pub fn pop_number(&mut self) -> u32 {
        if let Value::Number(value) = self.pop() { value } else { mismatch("a number") }
    }

    /// Frees a block when the call ends.
    pub fn free_later(&mut self, pointer: *mut u8, size: usize, align: usize) {
        self.blocks.push(Block { pointer, size, align });
    }

    fn lend(&mut self, bytes: Vec<u8>) -> (*const u8, usize) {
        let place = (bytes.as_ptr(), bytes.len());
        self.lent.push(bytes);
        place
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        for block in self.blocks.drain(..) {
            // SAFETY: the bindings gave the block up to us, once, with the size it was allocated with.
            unsafe { memory::free(block.pointer, block.size, block.align) };
        }
    }
}

fn mismatch(expected: &str) -> ! {
    memory::fatal(alloc::format!("the bindings expected {expected} on the stack"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_apart_with_the_first_field_on_top() {
        let mut call = Call::default();
        call.push(Value::Unsigned(1));
        call.push(Value::Bool(true));
        call.push_record(2);
        call.pop_record();
        assert_eq!(call.pop(), Value::Unsigned(1));
        assert_eq!(call.pop(), Value::Bool(true));
    }

    #[test]
    fn variants_keep_their_payload() {
        let mut call = Call::default();
        call.push(Value::String("e".into()));
        call.push_variant(1, true);
        assert_eq!(call.pop_variant(), 1);
        assert_eq!(call.pop(), Value::String("e".into()));
        call.push_variant(0, false);
        assert_eq!(call.pop_variant(), 0);
        assert!(call.take_all().is_empty());
    }

    #[test]
    fn lists_are_built_and_taken_apart_element_by_element() {
        let mut call = Call::default();
        call.push(Value::List(Vec::new()));
        for n in 0..3 {
            call.push(Value::Signed(n));
            call.append();
        }
        let (place, count) = call.pop_list();
        assert!(place.is_null());
        let elements: Vec<Value> = (0..count)
            .map(|_| {
                call.next_element();
                call.pop()
            })
            .collect();
        call.end_list();
        assert_eq!(elements, [Value::Signed(0), Value::Signed(1), Value::Signed(2)]);
    }

    #[test]
    fn bytes_and_strings_are_lent() {
        let mut call = Call::default();
        call.push(Value::Bytes(vec![1, 2, 3]));
        let (place, count) = call.pop_list();
        // SAFETY: the call still lives, and so do the bytes it lent.
        assert_eq!(unsafe { core::slice::from_raw_parts(place, count) }, [1, 2, 3]);
        call.push(Value::String("ä".into()));
        assert_eq!(call.pop_string().1, 2);
        let text = "elsewhere";
        call.push_lent(text.as_ptr(), text.len());
        assert_eq!(call.pop_string(), (text.as_ptr(), text.len()));
        assert!(call.take_all().is_empty());
    }
}
