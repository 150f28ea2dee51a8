//! What a component may import and must export.

use super::inventory::Inventory;

/// The functions that the world exports, all of them `async`.
const EXPORTS: [&str; 4] = ["clear-state", "execute", "restore-state", "snapshot-state"];

/// What the world imports: functions, and the type that one of them needs.
const IMPORTS: [&str; 4] = ["callback-info", "invoke", "list-callbacks", "report-trace"];

/// The interfaces that the reactor adapter for preview 1 can bring in. No sockets: an embedder that
/// gives a guest no network must not be asked for one.
const WASI: [&str; 19] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Everything about the names of imports and exports that is not as it should be. Their types are
/// checked by the engine when the component is started.
pub(super) fn problems(found: &Inventory) -> Vec<String> {
    let mut problems = Vec::new();
    for name in EXPORTS {
        match found.exports.iter().find(|export| export.name == name).map(|export| export.is_async) {
            Some(Some(true)) => {}
            Some(Some(false)) => problems.push(format!("expected the export `{name}` to be `async`")),
            Some(None) => problems.push(format!("expected the export `{name}` to be a function")),
            None => problems.push(format!("the export `{name}` is missing")),
        }
    }
    for name in found.export_names() {
        if !EXPORTS.contains(&name.as_str()) {
            problems.push(format!("the export `{name}` is not in the world"));
        }
    }
    for name in found.import_names() {
        if !import_allowed(&name) {
            problems.push(format!("the import `{name}` is not allowed"));
        }
    }
    problems
}

fn import_allowed(name: &str) -> bool {
    match name.split_once('@') {
        None => IMPORTS.contains(&name),
        Some((interface, version)) => {
            let patch = version.strip_prefix("0.2.").unwrap_or_default();
            let is_0_2 = !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit());
            is_0_2 && WASI.contains(&interface)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_interfaces_of_wasi_0_2_are_allowed() {
        for name in ["invoke", "callback-info", "wasi:io/poll@0.2.12", "wasi:cli/exit@0.2.0"] {
            assert!(import_allowed(name), "{name}");
        }
        for name in [
            "execute",
            "wasi:io/poll",
            "wasi:io/poll@0.3.0",
            "wasi:io/poll@0.2.",
            "wasi:io/poll@0.2.0-rc",
            "wasi:sockets/tcp@0.2.0",
            "other:io/poll@0.2.0",
        ] {
            assert!(!import_allowed(name), "{name}");
        }
    }
}
