//! All that crosses the border of this library: what it takes from others, and what it gives them.
//!
//! Every foreign function and structure is declared here and nowhere else (a test of the build tool looks), so that a
//! declaration can be compared with its original in one place. What is safe to call for anyone is declared `safe`; the
//! rest gets its safe form in the module that uses it.
//!
//! There is one thread, and it always holds the interpreter's lock.

pub mod bindings;
pub mod c;
pub mod component;
pub mod exports;
pub mod python;
