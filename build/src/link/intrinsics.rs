//! A library through which the runtime reaches the component model's asynchronous intrinsics.
//!
//! An engine refuses a component that has them unless it knows the asynchronous ABI. So in a world with
//! asynchronous functions the library passes the calls on, and in any other one it traps: nothing is ever
//! pending there, so nobody calls it.

use wasm_encoder::{
    CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection, ImportSection, Module,
    TypeSection, ValType,
};

/// The library's name.
pub(super) const NAME: &str = "libasync.so";

/// What the runtime calls, the intrinsic behind it, and how many numbers it takes and returns.
const FUNCTIONS: [(&str, &str, usize, usize); 7] = [
    ("__eryx_waitable_set_new", "[waitable-set-new]", 0, 1),
    ("__eryx_waitable_set_wait", "[waitable-set-wait]", 2, 1),
    ("__eryx_waitable_set_poll", "[waitable-set-poll]", 2, 1),
    ("__eryx_waitable_join", "[waitable-join]", 2, 0),
    ("__eryx_subtask_cancel", "[subtask-cancel]", 1, 1),
    ("__eryx_subtask_drop", "[subtask-drop]", 1, 0),
    ("__eryx_thread_yield", "[thread-yield]", 0, 1),
];

/// Makes the library for a world that has asynchronous functions, or has none.
pub(super) fn library(asynchronous: bool) -> Vec<u8> {
    let mut types = TypeSection::new();
    let mut imports = ImportSection::new();
    let mut functions = FunctionSection::new();
    let mut exports = ExportSection::new();
    let mut code = CodeSection::new();
    let imported = if asynchronous { FUNCTIONS.len() } else { 0 };
    for (index, (name, intrinsic, params, results)) in (0_u32..).zip(FUNCTIONS) {
        types.ty().function(vec![ValType::I32; params], vec![ValType::I32; results]);
        functions.function(index);
        exports.export(name, ExportKind::Func, imported as u32 + index);
        let mut body = Function::new([]);
        let mut instructions = body.instructions();
        if asynchronous {
            imports.import("$root", intrinsic, wasm_encoder::EntityType::Function(index));
            for param in 0..params {
                instructions.local_get(param as u32);
            }
            instructions.call(index);
        } else {
            instructions.unreachable();
        }
        instructions.end();
        code.function(&body);
    }
    let mut module = Module::new();
    // A `mem-info` of zeros: the library has neither data nor elements.
    module.section(&CustomSection { name: "dylink.0".into(), data: vec![1, 4, 0, 0, 0, 0].into() });
    module.section(&types);
    if asynchronous {
        module.section(&imports);
    }
    module.section(&functions).section(&exports).section(&code);
    module.finish()
}
