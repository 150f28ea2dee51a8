//! What tests expect of code in a component.

use eryx_embed::Session;

/// Runs code that must not raise, and gives what it printed.
#[track_caller]
pub fn ok(session: &mut Session, code: &str) -> String {
    match session.execute(code) {
        Ok(printed) => printed,
        Err(error) => panic!("{code}\n{error}"),
    }
}
