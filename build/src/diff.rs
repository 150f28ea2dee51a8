//! What differs between two components or manifests: inputs first, then what came of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use wasmparser::{Parser, Payload};

use crate::error::{Context, Error, Result};
use crate::manifest::Manifest;
use crate::wasm;

/// One side of a comparison.
struct Side {
    manifest: Option<Value>,
    component: Option<Vec<u8>>,
}

impl Side {
    fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).context(|| format!("cannot read `{}`", path.display()))?;
        if bytes.starts_with(b"\0asm") {
            let beside = path.with_extension("json");
            let manifest = if beside.exists() {
                // That it is of this component is checked; what it says is compared as it stands.
                let (_, text) = Manifest::beside(path)?;
                Some(parse(&beside, &text)?)
            } else {
                None
            };
            return Ok(Self { manifest, component: Some(bytes) });
        }
        Ok(Self { manifest: Some(parse(path, &bytes)?), component: None })
    }
}

fn parse(path: &Path, text: &[u8]) -> Result<Value> {
    let value: Option<Value> = serde_json::from_slice(text).ok();
    value.filter(|value| value["sha256"].is_string()).ok_or_else(|| {
        Error::new(format!(
            "expected a component or a manifest but found something else in `{}`",
            path.display()
        ))
    })
}

/// The differences between two files, the deciding ones first; empty when there are none.
///
/// # Errors
/// When a file cannot be read, or there is nothing that both have.
pub fn diff(one: &Path, other: &Path) -> Result<String> {
    let (a, b) = (Side::read(one)?, Side::read(other)?);
    let mut text = String::new();
    match (&a.manifest, &b.manifest) {
        (Some(a), Some(b)) => manifests(&mut text, a, b),
        _ if a.component.is_none() || b.component.is_none() => {
            return Err(Error::new("cannot compare a component without a manifest to a manifest"));
        }
        _ => {}
    }
    if let (Some(a), Some(b)) = (&a.component, &b.component)
        && let Some(line) = first_difference(a, b)
    {
        let _ = writeln!(text, "bytes: {line}");
    }
    Ok(text)
}

fn manifests(text: &mut String, a: &Value, b: &Value) {
    for key in ["names", "world"] {
        if a[key] != b[key] {
            let _ = writeln!(text, "{key}: {} became {}", a[key], b[key]);
        }
    }
    let input = |one: &Value| one["file"].as_str().map(str::to_owned);
    let of_crate = |one: &Value| Some(format!("{} {}", one["crate"].as_str()?, one["version"].as_str()?));
    lists(text, "input", &a["inputs"], &b["inputs"], &input);
    lists(text, "crate", &a["crates"], &b["crates"], &of_crate);
    let name = |one: &Value| one["name"].as_str().map(str::to_owned);
    lists(text, "package", &a["checks"], &b["checks"], &name);
    maps(text, "library", &a["libraries"], &b["libraries"]);
    // Whatever else a manifest says, in whatever version it is.
    let known = ["names", "world", "inputs", "crates", "checks", "libraries", "sha256"];
    let keys: BTreeSet<_> = [a, b]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(|map| map.keys().map(String::as_str))
        .collect();
    for key in keys.into_iter().filter(|key| !known.contains(key)) {
        if a[key] != b[key] {
            let _ = writeln!(text, "{key}: {} became {}", brief(&a[key]), brief(&b[key]));
        }
    }
    if a["sha256"] != b["sha256"] {
        let _ = writeln!(text, "sha256: {} became {}", brief(&a["sha256"]), brief(&b["sha256"]));
    }
}

fn lists(text: &mut String, what: &str, a: &Value, b: &Value, name: &dyn Fn(&Value) -> Option<String>) {
    let index = |list: &Value| -> BTreeMap<String, Value> {
        let all = list.as_array().into_iter().flatten();
        all.filter_map(|one| Some((name(one)?, one.clone()))).collect()
    };
    entries(text, what, &index(a), &index(b));
}

fn maps(text: &mut String, what: &str, a: &Value, b: &Value) {
    let index = |map: &Value| -> BTreeMap<String, Value> {
        map.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    entries(text, what, &index(a), &index(b));
}

fn entries(text: &mut String, what: &str, a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) {
    let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    for name in names {
        let _ = match (a.get(name), b.get(name)) {
            (Some(a), Some(b)) if a == b => Ok(()),
            (Some(Value::Object(a)), Some(Value::Object(b))) => {
                let keys: BTreeSet<_> = a.keys().chain(b.keys()).collect();
                let changed = keys.into_iter().filter(|key| a.get(*key) != b.get(*key));
                let nothing = Value::Null;
                let changed: Vec<_> = changed
                    .map(|key| {
                        let at =
                            |map: &serde_json::Map<String, Value>| brief(map.get(key).unwrap_or(&nothing));
                        format!("{key} {} became {}", at(a), at(b))
                    })
                    .collect();
                writeln!(text, "{what} `{name}`: {}", changed.join(", "))
            }
            (Some(a), Some(b)) => writeln!(text, "{what} `{name}`: {} became {}", brief(a), brief(b)),
            (Some(_), None) => writeln!(text, "{what} `{name}`: went away"),
            (None, _) => writeln!(text, "{what} `{name}`: is new"),
        };
    }
}

fn brief(value: &Value) -> String {
    let text = match value {
        Value::String(text) if text.len() == 64 => text.chars().take(12).collect(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Where two files differ first, in words: for wasm the section, and the function or segment in it.
#[must_use]
pub fn first_difference(a: &[u8], b: &[u8]) -> Option<String> {
    if a == b {
        return None;
    }
    let same = a.iter().zip(b).take_while(|(one, other)| one == other).count();
    let mut text = format!("first at byte {same:#x}");
    // Not what is at that byte: a longer function shows first in the length of what it is in.
    let (mut ours, mut theirs) = (parts(a).into_iter(), parts(b).into_iter());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => break,
            (Some((what, one)), Some((other_what, other))) => {
                if what != other_what {
                    text.push_str(&format!(", {what} became {other_what}"));
                    break;
                }
                if a.get(one) != b.get(other) {
                    text.push_str(&format!(", in {what}"));
                    break;
                }
            }
            (Some((what, _)), None) => {
                text.push_str(&format!(", {what} went away"));
                break;
            }
            (None, Some((what, _))) => {
                text.push_str(&format!(", {what} is new"));
                break;
            }
        }
    }
    if a.len() != b.len() {
        text.push_str(&format!("; {} bytes became {}", a.len(), b.len()));
    }
    Some(text)
}

/// The smallest parts of a wasm file that have names, in order. What is damaged is left out.
fn parts(bytes: &[u8]) -> Vec<(String, Range<usize>)> {
    let mut parts = Vec::new();
    if !bytes.starts_with(b"\0asm") {
        return parts;
    }
    let (mut modules, mut open, mut next) = (0, Vec::<Option<usize>>::new(), None);
    let mut code = 0;
    for payload in Parser::new(0).parse_all(bytes).map_while(std::result::Result::ok) {
        let module = open.iter().flatten().next_back().copied();
        let mut add = |what: String, range: Range<u64>| {
            let what = module.map_or(what.clone(), |module| format!("{what} of core module {module}"));
            parts.push((what, wasm::place(range)));
        };
        match &payload {
            Payload::Version { .. } => {
                open.push(next.take());
                code = 0;
            }
            Payload::End(_) => {
                open.pop();
            }
            Payload::ModuleSection { .. } => {
                next = Some(modules);
                modules += 1;
            }
            Payload::CodeSectionStart { .. } | Payload::ComponentSection { .. } => {}
            Payload::CodeSectionEntry(body) => {
                add(format!("the body of function {code} (imports not counted)"), body.range());
                code += 1;
            }
            Payload::DataSection(section) => {
                for (place, segment) in section.clone().into_iter().flatten().enumerate() {
                    add(format!("data segment {place}"), segment.range);
                }
            }
            Payload::CustomSection(section) => {
                add(format!("custom section `{}`", section.name()), section.range());
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    add(format!("the {} section", section_name(id, module.is_some())), range);
                }
            }
        }
    }
    parts
}

fn section_name(id: u8, core: bool) -> &'static str {
    match (core, id) {
        (true, 1) => "type",
        (true, 2) => "import",
        (true, 3) => "function",
        (true, 4) => "table",
        (true, 5) => "memory",
        (true, 6) => "global",
        (true, 7) => "export",
        (true, 8) => "start",
        (true, 9) => "element",
        (true, 12) => "data count",
        (true, 13) => "tag",
        (false, 2) => "core instance",
        (false, 3) => "core type",
        (false, 5) => "instance",
        (false, 6) => "alias",
        (false, 7) => "type",
        (false, 8) => "canonical function",
        (false, 9) => "start",
        (false, 10) => "import",
        (false, 11) => "export",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_difference_is_named() {
        let module = |body: &str, data: &str| {
            wat::parse_str(format!(
                "(component (core module (memory 1) (func nop) (func (drop (i32.const {body}))) \
                 (data (i32.const 0) \"a\") (data (i32.const 8) \"{data}\")))"
            ))
            .unwrap()
        };
        let base = module("1", "x");
        assert_eq!(first_difference(&base, &base), None);
        let line = first_difference(&base, &module("2", "x")).unwrap();
        assert!(
            line.ends_with(", in the body of function 1 (imports not counted) of core module 0"),
            "{line}"
        );
        let line = first_difference(&base, &module("1", "y")).unwrap();
        assert!(line.ends_with(", in data segment 1 of core module 0"), "{line}");
        let line = first_difference(&base, &module("1", "much more")).unwrap();
        assert!(line.contains(", in data segment 1 of core module 0; "), "{line}");
        let line = first_difference(b"text", b"test!").unwrap();
        assert_eq!(line, "first at byte 0x2; 4 bytes became 5");
        // Damaged files are compared all the same.
        assert!(first_difference(b"\0asm\x01\0\0\0\x01\xff", b"\0asm\x01\0\0\0\x01\xfe").is_some());
    }
}
