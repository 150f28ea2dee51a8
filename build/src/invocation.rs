//! How this program is called in what it prints.

/// The environment variable that replaces the program's name; the justfile sets it.
const VARIABLE: &str = "ERYX_INVOKED_AS";

/// A command line that the user can follow, in backticks, such as `just recipes` with `recipes`.
#[must_use]
pub fn verb(arguments: &str) -> String {
    let program = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty());
    format!("`{} {arguments}`", program.as_deref().unwrap_or("eryx-build"))
}
