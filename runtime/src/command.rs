//! The export `wasi:cli/run`: Python's own command line.

use alloc::ffi::CString;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr;

use crate::error::{Error, Result};
use crate::ffi::c;
use crate::interpreter::{self, PREFIX};
use crate::python::{self, Begun, Config};

/// Runs Python as `python3` with the embedder's arguments would be run; tells whether its exit status is 0.
///
/// WASI 0.2 has no other exit statuses than success and failure.
///
/// # Errors
/// Why Python could not be started.
pub fn run() -> Result<bool> {
    let mut arguments = arguments()?;
    if arguments.is_empty() {
        arguments.push(c"python3".into());
    }
    let mut config = Config::isolated();
    config
        .int(c"isolated", 0)
        .int(c"use_environment", 1)
        .int(c"parse_argv", 1)
        .int(c"safe_path", 0)
        .int(c"utf8_mode", 1)
        .int(c"configure_c_stdio", 1)
        .int(c"install_signal_handlers", 0)
        .int(c"user_site_directory", 0)
        .int(c"pathconfig_warnings", 0)
        .int(c"write_bytecode", 0)
        // Only where Python lies is fixed; the search path comes from it and from PYTHONPATH.
        .text(c"home", PREFIX)
        .text(c"executable", c"")
        .list(c"argv", &arguments);
    interpreter::look_at_environment();
    let status = match config.start()? {
        Begun::Python => {
            interpreter::install()?;
            python::run_main()
        }
        Begun::Ended(status) => status,
    };
    Ok(status == 0)
}

/// The arguments that the embedder passes, the program's name first.
fn arguments() -> Result<Vec<CString>> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: both places are valid.
    if unsafe { c::args_sizes_get(&raw mut count, &raw mut size) } != 0 {
        return Err(Error::new("the arguments cannot be read"));
    }
    let mut places: Vec<*mut c_char> = alloc::vec![ptr::null_mut(); count];
    let mut text: Vec<c_char> = alloc::vec![0; size];
    // SAFETY: there is room for as many arguments and bytes as was said.
    if unsafe { c::args_get(places.as_mut_ptr(), text.as_mut_ptr()) } != 0 {
        return Err(Error::new("the arguments cannot be read"));
    }
    // SAFETY: each place is a C string in the text.
    Ok(places.into_iter().map(|place| unsafe { CStr::from_ptr(place) }.into()).collect())
}
