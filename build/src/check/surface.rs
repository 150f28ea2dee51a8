//! What a component may import and must export.

use super::inventory::Inventory;

/// A world that a component may implement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum World {
    /// `eryx:sandbox/sandbox`, for the reference embedder.
    Sandbox,
    /// A program: `wasi:cli/run`.
    Command,
    /// What crate `eryx` 0.14 expects.
    Eryx014,
}

/// An export that no other world has.
const OF_COMMAND: &str = "wasi:cli/run";
const OF_ERYX_0_14: &str = "finalize-preinit";

impl World {
    /// The world whose own export a component has; without one it is taken for the sandbox.
    pub(super) fn of(found: &Inventory) -> Self {
        let has = |name: &str| found.exports.iter().any(|export| interface_0_2(&export.name, name));
        if has(OF_COMMAND) {
            Self::Command
        } else if found.exports.iter().any(|export| export.name == OF_ERYX_0_14) {
            Self::Eryx014
        } else {
            Self::Sandbox
        }
    }

    /// The exported functions, and whether each is `async`.
    fn functions(self) -> &'static [(&'static str, bool)] {
        match self {
            Self::Sandbox => {
                &[("clear-state", true), ("execute", true), ("restore-state", true), ("snapshot-state", true)]
            }
            Self::Command => &[],
            Self::Eryx014 => &[
                ("clear-state", true),
                ("execute", true),
                (OF_ERYX_0_14, false),
                ("restore-state", true),
                ("set-result-variable", true),
                ("snapshot-state", true),
            ],
        }
    }

    /// What the world imports besides WASI: functions, the types that they need, and interfaces.
    fn imports(self) -> &'static [&'static str] {
        match self {
            Self::Sandbox => &["callback-info", "invoke", "list-callbacks", "report-trace"],
            Self::Command => &[],
            Self::Eryx014 => &[
                "callback-info",
                "execution-options",
                // What exports return is defined by the world, and so imported.
                "execute-output",
                "eryx:net/tcp@0.1.0",
                "eryx:net/tls@0.1.0",
                "get-execution-options",
                "invoke",
                "list-callbacks",
                "report-output",
                "report-trace",
                "sleep",
                "state-snapshot",
            ],
        }
    }

    fn import_allowed(self, name: &str) -> bool {
        self.imports().contains(&name) || WASI.iter().any(|interface| interface_0_2(name, interface))
    }

    fn export_allowed(self, name: &str) -> bool {
        self.functions().iter().any(|(function, _)| *function == name)
            || (self == Self::Command && interface_0_2(name, OF_COMMAND))
    }
}

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
pub(super) fn problems(found: &Inventory, world: World) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, is_async) in world.functions() {
        let kind = if *is_async { "`async`" } else { "synchronous" };
        match found.exports.iter().find(|export| export.name == *name).map(|export| export.is_async) {
            Some(Some(found)) if found == *is_async => {}
            Some(Some(_)) => problems.push(format!("expected the export `{name}` to be {kind}")),
            Some(None) => problems.push(format!("expected the export `{name}` to be a function")),
            None => problems.push(format!("the export `{name}` is missing")),
        }
    }
    for name in found.export_names() {
        if !world.export_allowed(&name) {
            problems.push(format!("the export `{name}` is not in the world"));
        }
    }
    for name in found.import_names() {
        if !world.import_allowed(&name) {
            problems.push(format!("the import `{name}` is not allowed"));
        }
    }
    problems
}

/// Whether a name is that of an interface in any version of WASI 0.2.
fn interface_0_2(name: &str, interface: &str) -> bool {
    name.split_once('@').is_some_and(|(found, version)| {
        let patch = version.strip_prefix("0.2.").unwrap_or_default();
        found == interface && !patch.is_empty() && patch.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_interfaces_of_wasi_0_2_are_allowed() {
        for name in ["invoke", "callback-info", "wasi:io/poll@0.2.12", "wasi:cli/exit@0.2.0"] {
            assert!(World::Sandbox.import_allowed(name), "{name}");
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
            assert!(!World::Sandbox.import_allowed(name), "{name}");
        }
    }

    #[test]
    fn a_command_imports_nothing_but_wasi() {
        for name in ["invoke", "list-callbacks", "eryx:net/tcp@0.1.0", "sleep"] {
            assert!(!World::Command.import_allowed(name), "{name}");
        }
        assert!(World::Command.import_allowed("wasi:cli/environment@0.2.12"));
        assert!(World::Command.export_allowed("wasi:cli/run@0.2.12"));
        assert!(!World::Command.export_allowed("wasi:cli/run@0.3.0"));
        assert!(!World::Sandbox.export_allowed("wasi:cli/run@0.2.12"));
        assert!(World::Eryx014.import_allowed("eryx:net/tls@0.1.0"));
    }
}
