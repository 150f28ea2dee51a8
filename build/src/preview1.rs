//! Turns a library's imports of WASI preview1 towards the file system layer (`sysroot/vfs`).
//!
//! wasi-libc and Rust's standard library both import `wasi_snapshot_preview1.<name>`. The layer
//! exports `__eryx_wasi_<name>` with the same core signature, so that renaming the import in every
//! library but the layer itself puts the layer between all of them and the embedder.

use wasm_encoder::reencode::{Reencode, RoundtripReencoder};
use wasm_encoder::{ImportSection, RawSection, Section};
use wasmparser::{Imports, Parser, Payload, TypeRef};

use crate::error::{Error, Result};
use crate::wasm::{each_import as each, place, section_body};

/// The module name of the imports that are redirected.
pub const MODULE: &str = "wasi_snapshot_preview1";

/// What the layer's functions are called, before the name that preview1 gives them.
pub const PREFIX: &str = "__eryx_wasi_";

/// All functions of WASI preview1, sorted; the layer exports every one.
pub const FUNCTIONS: [&str; 46] = [
    "args_get",
    "args_sizes_get",
    "clock_res_get",
    "clock_time_get",
    "environ_get",
    "environ_sizes_get",
    "fd_advise",
    "fd_allocate",
    "fd_close",
    "fd_datasync",
    "fd_fdstat_get",
    "fd_fdstat_set_flags",
    "fd_fdstat_set_rights",
    "fd_filestat_get",
    "fd_filestat_set_size",
    "fd_filestat_set_times",
    "fd_pread",
    "fd_prestat_dir_name",
    "fd_prestat_get",
    "fd_pwrite",
    "fd_read",
    "fd_readdir",
    "fd_renumber",
    "fd_seek",
    "fd_sync",
    "fd_tell",
    "fd_write",
    "path_create_directory",
    "path_filestat_get",
    "path_filestat_set_times",
    "path_link",
    "path_open",
    "path_readlink",
    "path_remove_directory",
    "path_rename",
    "path_symlink",
    "path_unlink_file",
    "poll_oneoff",
    "proc_exit",
    "proc_raise",
    "random_get",
    "sched_yield",
    "sock_accept",
    "sock_recv",
    "sock_send",
    "sock_shutdown",
];

/// Rewrites each import `wasi_snapshot_preview1.<name>` of a core module into
/// `env.__eryx_wasi_<name>`. Every other section is carried over byte for byte, and a module without
/// such an import is returned as it is.
///
/// # Errors
/// When the bytes are no core module, or when an import under that module name is not a function of
/// preview1 (all such imports are listed).
pub fn redirect(module: &[u8]) -> Result<Vec<u8>> {
    let mut output = Vec::with_capacity(module.len() + 1024);
    let mut copied = 0_usize;
    let mut changed = 0_usize;
    let mut unknown = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(malformed)?;
        let end = match &payload {
            Payload::ImportSection(reader) => {
                let mut section = ImportSection::new();
                for group in reader.clone() {
                    redirect_group(group.map_err(malformed)?, &mut section, &mut changed, &mut unknown)?;
                }
                RawSection { id: section.id(), data: &section_body(&section) }.append_to(&mut output);
                copied = place(reader.range()).end;
                continue;
            }
            Payload::ComponentSection { .. } | Payload::ModuleSection { .. } => {
                return Err(Error::new("expected a core module but found a component"));
            }
            Payload::Version { range, .. } => place(range.clone()).end,
            other => match other.as_section() {
                Some((_, range)) => place(range).end,
                None => continue,
            },
        };
        // From the end of the last section: so the section's own head comes along unchanged.
        output.extend_from_slice(module.get(copied..end).unwrap_or_default());
        copied = end;
    }
    if !unknown.is_empty() {
        return Err(Error::new(format!(
            "{} {} from `{MODULE}` {} not part of WASI preview1",
            unknown.len(),
            if unknown.len() == 1 { "import" } else { "imports" },
            if unknown.len() == 1 { "is" } else { "are" },
        ))
        .details(unknown));
    }
    Ok(if changed == 0 { module.to_vec() } else { output })
}

fn redirect_group(
    group: Imports<'_>,
    section: &mut ImportSection,
    changed: &mut usize,
    unknown: &mut Vec<String>,
) -> Result<()> {
    let mut one = |module: &str, name: &str, ty: TypeRef| -> Result<()> {
        let entity = RoundtripReencoder
            .entity_type(ty)
            .map_err(|error| Error::new(format!("cannot rewrite the import `{module}.{name}`: {error}")))?;
        if module != MODULE {
            section.import(module, name, entity);
        } else if matches!(ty, TypeRef::Func(_)) && FUNCTIONS.contains(&name) {
            section.import("env", &format!("{PREFIX}{name}"), entity);
            *changed += 1;
        } else {
            unknown.push(format!("`{name}`"));
        }
        Ok(())
    };
    each(group, &mut one)
}

fn malformed(error: wasmparser::BinaryReaderError) -> Error {
    Error::new(format!("malformed wasm module: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmparser::Validator;

    const MODULE_TEXT: &str = r#"(module
        (@custom "dylink.0" (before first) "\01\04\08\04\00\00\02\05\01\03a.b")
        (type (func (param i32 i32 i32 i32) (result i32)))
        (import "env" "memory" (memory 0))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (type 0)))
        (import "env" "malloc" (func (param i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
        (func (export "f") (result i32) (call $write (i32.const 1) (i32.const 2) (i32.const 3) (i32.const 4)))
        (@custom "target_features" (after last) "\01+\07simd128"))"#;

    fn sections(module: &[u8]) -> Vec<(u8, Vec<u8>)> {
        Parser::new(0)
            .parse_all(module)
            .filter_map(|payload| {
                payload.unwrap().as_section().map(|(id, range)| (id, module[place(range)].to_vec()))
            })
            .collect()
    }

    fn imports(module: &[u8]) -> Vec<String> {
        let mut names = Vec::new();
        for payload in Parser::new(0).parse_all(module) {
            if let Payload::ImportSection(reader) = payload.unwrap() {
                for import in reader.into_imports() {
                    let import = import.unwrap();
                    names.push(format!("{}.{}", import.module, import.name));
                }
            }
        }
        names
    }

    #[test]
    fn changes_only_the_import_section() {
        let before = wat::parse_str(MODULE_TEXT).unwrap();
        let after = redirect(&before).unwrap();
        Validator::new().validate_all(&after).unwrap();
        assert_eq!(
            imports(&after),
            ["env.memory", "env.__eryx_wasi_fd_write", "env.malloc", "env.__eryx_wasi_proc_exit"]
        );
        let (before, after) = (sections(&before), sections(&after));
        assert_eq!(before.len(), after.len());
        for (old, new) in before.iter().zip(&after) {
            assert_eq!(old.0, new.0);
            assert_eq!(old.0 == 2, old.1 != new.1, "section {}", old.0);
        }
    }

    #[test]
    fn leaves_other_modules_alone() {
        let module = wat::parse_str(r#"(module (import "env" "f" (func)))"#).unwrap();
        assert_eq!(redirect(&module).unwrap(), module);
        let once = redirect(&wat::parse_str(MODULE_TEXT).unwrap()).unwrap();
        assert_eq!(redirect(&once).unwrap(), once);
    }

    #[test]
    fn lists_all_unknown_imports() {
        let module = wat::parse_str(
            r#"(module (import "wasi_snapshot_preview1" "fd_dup" (func))
                       (import "wasi_snapshot_preview1" "fd_read" (func))
                       (import "wasi_snapshot_preview1" "fd_close" (global i32)))"#,
        )
        .unwrap();
        assert_eq!(
            redirect(&module).unwrap_err().render(),
            "error: 2 imports from `wasi_snapshot_preview1` are not part of WASI preview1\n  `fd_dup`\n  `fd_close`\n"
        );
    }

    #[test]
    fn refuses_what_is_no_module() {
        assert!(redirect(b"not wasm").unwrap_err().message().starts_with("malformed wasm module: "));
        let component = wat::parse_str("(component (core module))").unwrap();
        assert_eq!(
            redirect(&component).unwrap_err().message(),
            "expected a core module but found a component"
        );
    }

    #[test]
    fn the_functions_are_sorted_and_distinct() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a < b));
    }
}
