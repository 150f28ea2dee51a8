//! The guest runtime: implements wit-dylib's interpreter interface by running CPython.
//!
//! The bindings of a world hand a description of it to `wit_dylib_initialize`, and from then on call the
//! functions here with indices into that description. Nothing is numbered by hand: exports and imports are
//! found by name, so one runtime serves every world whose exports the session (`python/_eryx_session.py`) has.
//!
//! | module | owns |
//! |---|---|
//! | [`intrinsics`] | the exported functions, each a few lines |
//! | [`world`] | the description of the world, read from memory |
//! | [`stack`] | the values of one call |
//! | [`interpreter`] | Python: starting it, calling an export |
//! | [`native`] | the Python module `_eryx`, what Python code asks of the component |
//! | [`waitable`] | the component model's subtasks and waitable sets |

mod interpreter;
mod intrinsics;
mod native;
mod stack;
mod waitable;
mod world;
