//! No guest program takes the embedder's process down, whatever the size of its stack.

use eryx_embed::{EmbedderOptions, Error, SessionOptions, Stacks};
use serde::Deserialize;

use super::{component, embedder};

#[derive(Deserialize)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    code: String,
}

#[test]
fn recursion_ends_in_an_answer_or_in_a_trap() {
    let cases: Table = toml::from_str(include_str!("../conformance/recursion.toml")).unwrap();
    // The smallest hardly lets Python start; from what wasmtime gives by default on, nothing traps.
    for kibibytes in [128, 512, 2 << 10, 256 << 10] {
        let options = EmbedderOptions::default().stacks(Stacks::of(kibibytes << 10));
        let image = embedder(options).load(component()).unwrap();
        let mut session = None;
        let mut trapped = 0;
        for case in &cases.case {
            let mut current = match session.take() {
                Some(session) => session,
                None => {
                    image.session(SessionOptions::default()).unwrap_or_else(|failure| panic!("{failure}"))
                }
            };
            match current.execute(&case.code) {
                // With a stack of another size, a case may end in another way.
                Ok(_) | Err(Error::Raised(_)) => session = Some(current),
                Err(failure) => {
                    assert!(
                        matches!(failure.cause(), Error::Stack { .. }),
                        "{kibibytes} KiB, {}: {failure}",
                        case.name
                    );
                    trapped += 1;
                }
            }
        }
        if kibibytes >= 512 {
            assert_eq!(trapped, 0, "{kibibytes} KiB");
        }
    }
}
