//! What a component is made to do before its memory is saved.

use eryx_build::layout::Layout;
use eryx_embed::{Embedder, SessionOptions};

use super::{checkout, component, eryx_in, text};

/// Leaves functions and objects; one function has run, so that the interpreter has adapted its code.
const SETUP: &str = r#"
import multiprocessing.process, random, tempfile, uuid, weakref
class Node:
    pass
ROW = {"id": 1, "tags": ["a", "b"]}
def constant():
    return ("a constant", 1234.5)
def grow(rows=[]):
    rows.append(constant())
    return len(rows)
for _ in range(10):
    grow()
node = Node()
seen = weakref.ref(node)
print("the set-up is done")
"#;

/// Prints, and does what needs an embedder: there are no callbacks, a trace goes nowhere, and one cannot call.
const WITHOUT_EMBEDDER: &str = r#"
import eryx, sys
print("to standard output")
print("to standard error", file=sys.stderr)
assert eryx.list_callbacks() == []
eryx.trace(True)
def traced():
    return 1
traced()
eryx.trace(False)
await eryx.invoke("greet")
"#;

/// Uses what the set-up left, from its first and from further calls.
const USE: &str = r#"
import gc, sys
assert grow() == 11 and grow() == 12
before = sys.getrefcount(constant())
rows = [constant() for _ in range(1000)]
assert sys.getrefcount(constant()) == before, "references to a constant are counted that do not end"
ROW["tags"].append("c")
ROW["more"] = [ROW]
assert ROW["tags"] == ["a", "b", "c"] and seen() is node
node.name = "changed"
gc.unfreeze()
gc.collect()
assert ROW["more"][0] is ROW and seen().name == "changed"
del node, ROW
gc.collect()
mine = Node()
mine_seen = weakref.ref(mine)
del mine
assert mine_seen() is None, "what an instance makes ends"
assert "textwrap" in sys.modules and "cmd" not in sys.modules
print("used")
import multiprocessing.process as process
print(bytes(process.current_process().authkey).hex(), random.random(), uuid.uuid4(), uuid.getnode())
"#;

/// Draws what would be the same in every instance.
const DRAWS: &str = r#"
import random, secrets
generator = random.Random()
def token():
    return secrets.token_hex()
TOKEN = token()
"#;

#[test]
fn instances_start_from_what_the_set_up_left() {
    component();
    let folder = tempfile::tempdir().unwrap();
    let checkout = folder.path().join("checkout");
    checkout::copy_locked(&checkout);
    let setup = checkout.join("setup.py");
    std::fs::write(&setup, SETUP).unwrap();
    let bundle = ["bundle", "--offline", "--setup", "setup.py", "--import", "textwrap"];
    let output = eryx_in(&checkout, &[], &bundle);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    // A component that was made before is not made again, and then nothing is printed.
    let made = told.contains("\nbuilt    component python.import.setup ");
    assert_eq!(told.contains("\nprinted  the set-up is done\n"), made, "{told}");

    let cache = Layout::cache_folder().unwrap();
    let image =
        Embedder::new(Some(&cache)).unwrap().load(&checkout.join("dist/python.import.setup.wasm")).unwrap();
    let drawn = [(); 2].map(|()| {
        let mut session = image.session(SessionOptions::default()).unwrap();
        let printed = session.execute(USE).unwrap_or_else(|traceback| panic!("{traceback}"));
        let (used, drawn) = printed.split_once('\n').unwrap();
        assert_eq!(used, "used");
        drawn.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    });
    for (one, other) in drawn[0].iter().zip(&drawn[1]) {
        assert!(one != other && !one.trim_matches('0').is_empty(), "{drawn:?}");
    }
}

#[test]
fn random_bytes_that_instances_would_share_are_refused() {
    component();
    let folder = tempfile::tempdir().unwrap();
    let checkout = folder.path().join("checkout");
    checkout::copy_locked(&checkout);
    std::fs::write(checkout.join("setup.py"), DRAWS).unwrap();
    let output = eryx_in(&checkout, &[], &["bundle", "--offline", "--setup", "setup.py"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("random bytes were drawn that all instances would share\n"), "{told}");
    assert!(told.contains("`__main__`, line 5\n"), "{told}");
}

#[test]
fn a_set_up_has_no_embedder_and_its_failure_is_told() {
    component();
    let folder = tempfile::tempdir().unwrap();
    let checkout = folder.path().join("checkout");
    checkout::copy_locked(&checkout);
    std::fs::write(checkout.join("setup.py"), WITHOUT_EMBEDDER).unwrap();
    for world in ["sandbox", "eryx-0.14"] {
        let bundle = ["bundle", "--offline", "--world", world, "--setup", "setup.py"];
        let output = eryx_in(&checkout, &[], &bundle);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{world}: {told}");
        for expected in [
            ": cannot pre-initialise\n  to standard output\n  to standard error\n",
            "the set-up failed\n",
            "RuntimeError: `invoke` cannot be called before the memory is saved: nobody is there\n",
        ] {
            assert!(told.contains(expected), "{world}: {told}");
        }
    }
}
