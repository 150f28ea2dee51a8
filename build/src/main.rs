//! The command line: parses arguments and hands over to the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    eryx_build::cli::main()
}
