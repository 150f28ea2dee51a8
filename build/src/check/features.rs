//! Which proposals the code of a module uses.

use wasmparser::{FunctionBody, VisitOperator, VisitSimdOperator};

/// The proposals that instructions are told apart by, as the parser spells them.
const PROPOSALS: [&str; 19] = [
    "mvp",
    "acquire_release_atomics",
    "bulk_memory",
    "custom_descriptors",
    "exceptions",
    "function_references",
    "gc",
    "legacy_exceptions",
    "memory_control",
    "reference_types",
    "relaxed_simd",
    "saturating_float_to_int",
    "shared_everything_threads",
    "sign_extension",
    "simd",
    "stack_switching",
    "tail_call",
    "threads",
    "wide_arithmetic",
];

/// The bit of a proposal; a proposal that is not listed fails the build of this crate.
const fn bit(name: &str) -> u32 {
    let mut index = 0;
    while index < PROPOSALS.len() {
        if equal(PROPOSALS[index].as_bytes(), name.as_bytes()) {
            return 1 << index;
        }
        index += 1;
    }
    panic!("a proposal is missing in `PROPOSALS`")
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// A set of proposals, filled by visiting instructions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Features(u32);

impl Features {
    /// Adds what a function uses.
    pub(super) fn add(&mut self, body: &FunctionBody<'_>) -> wasmparser::Result<()> {
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            operators.visit_operator(self)?;
        }
        Ok(())
    }

    /// The names of the proposals beyond the first version of wasm.
    pub(super) fn names(self) -> impl Iterator<Item = &'static str> {
        PROPOSALS
            .into_iter()
            .enumerate()
            .skip(1)
            .filter(move |(index, _)| self.0 & (1 << index) != 0)
            .map(|p| p.1)
    }
}

macro_rules! visit_all {
    ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*) )*) => {
        $(
            fn $visit(&mut self $($(, _: $argty)*)?) {
                const BIT: u32 = bit(stringify!($proposal));
                self.0 |= BIT;
            }
        )*
    };
}

impl<'a> VisitOperator<'a> for Features {
    type Output = ();

    fn simd_visitor(&mut self) -> Option<&mut dyn VisitSimdOperator<'a, Output = ()>> {
        Some(self)
    }

    wasmparser::for_each_visit_operator!(visit_all);
}

impl<'a> VisitSimdOperator<'a> for Features {
    wasmparser::for_each_visit_simd_operator!(visit_all);
}
