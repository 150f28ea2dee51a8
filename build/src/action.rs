//! An action: a step whose inputs are known by content, and the key under which its result is cached.
//!
//! | in the key | why |
//! |---|---|
//! | format version | a change of this table |
//! | step kind and revision | what our code does with the inputs |
//! | every parameter of the step | options, flags, versions |
//! | digest of every input, with its role | output digests, so a rebuild that gives equal bytes stops there |
//! | digests of the checkout's files that the step reads | patches, sysroot sources, the runtime |
//! | description of the build machine's compiler and Rust, where a step uses them | they run in the build |
//!
//! Left out: absolute paths, addresses, times, user names, the number of jobs: none of them may change a
//! result, and a result that they change is a bug.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::digest::Digest;

/// Changes when the meaning of a key changes.
const FORMAT: u32 = 1;

/// A step whose inputs are known.
#[derive(Debug, Clone)]
pub struct Action {
    /// The step's name, for people; part of no key.
    pub step: String,
    /// The kind of step, with its revision.
    pub kind: String,
    /// Everything that the step was told.
    pub params: Value,
    /// The digests of the inputs by role.
    pub inputs: BTreeMap<String, Digest>,
}

impl Action {
    /// All that the key is made of.
    #[must_use]
    pub fn preimage(&self) -> Value {
        json!({ "format": FORMAT, "kind": self.kind, "params": self.params, "inputs": self.inputs })
    }

    /// The key under which the action cache knows the result.
    #[must_use]
    pub fn key(&self) -> Digest {
        Digest::of(canonical(&self.preimage()).as_bytes())
    }
}

/// A JSON value as text with sorted keys and no white space, whatever order the map type keeps.
#[must_use]
pub fn canonical(value: &Value) -> String {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let sorted_map: BTreeMap<&String, Value> = map.iter().map(|(k, v)| (k, sorted(v))).collect();
                Value::Object(sorted_map.into_iter().map(|(k, v)| (k.clone(), v)).collect::<Map<_, _>>())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

/// What differs between two pre-images, one line each: `input clang changed`, `params.options added`.
#[must_use]
pub fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", old, new, &mut lines);
    lines
}

/// A list of things that have names of their own as a map of them.
fn by_name(list: &Value) -> Option<Map<String, Value>> {
    let all = list.as_array()?;
    let name =
        |one: &Value| ["file", "crate", "name"].iter().find_map(|key| one[*key].as_str().map(str::to_owned));
    let map: Map<_, _> = all.iter().filter_map(|one| Some((name(one)?, one.clone()))).collect();
    (map.len() == all.len()).then_some(map)
}

fn compare(place: &str, old: &Value, new: &Value, lines: &mut Vec<String>) {
    if old != new
        && let (Some(old), Some(new)) = (by_name(old), by_name(new))
    {
        return compare(place, &Value::Object(old), &Value::Object(new), lines);
    }
    let (Value::Object(old_map), Value::Object(new_map)) = (old, new) else {
        if old != new {
            lines.push(format!("`{place}` changed from {} to {}", brief(old), brief(new)));
        }
        return;
    };
    let mut keys: Vec<_> = old_map.keys().chain(new_map.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let inner = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
        match (old_map.get(key), new_map.get(key)) {
            (Some(old), Some(new)) => compare(&inner, old, new, lines),
            (Some(_), None) => lines.push(format!("`{inner}` went away")),
            (None, Some(_)) => lines.push(format!("`{inner}` is new")),
            (None, None) => {}
        }
    }
}

fn brief(value: &Value) -> String {
    let text = canonical(value);
    match value {
        Value::String(text) if text.len() == 64 => {
            format!("`{}`", &text.chars().take(12).collect::<String>())
        }
        _ if text.chars().count() > 60 => format!("{}…", text.chars().take(60).collect::<String>()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(flag: &str) -> Action {
        Action {
            step: "library zlib".into(),
            kind: "library/1".into(),
            params: json!({ "b": 1, "a": [flag] }),
            inputs: BTreeMap::from([("source".into(), Digest::of(b"x"))]),
        }
    }

    #[test]
    fn the_key_does_not_depend_on_the_name_or_on_the_order_of_keys() {
        let mut other = action("-O2");
        other.step = "another".into();
        other.params = json!({ "a": ["-O2"], "b": 1 });
        assert_eq!(action("-O2").key(), other.key());
        assert_ne!(action("-O2").key(), action("-O3").key());
    }

    #[test]
    fn things_in_lists_are_found_by_their_names() {
        let list = |digest: &str, more: &[&str]| {
            let more = more.iter().map(|file| json!({ "file": file }));
            json!({ "inputs": more.chain([json!({ "file": "b", "sha256": digest })]).collect::<Vec<_>>() })
        };
        assert_eq!(
            differences(&list("1", &["a"]), &list("2", &["c"])),
            ["`inputs.a` went away", "`inputs.b.sha256` changed from \"1\" to \"2\"", "`inputs.c` is new"]
        );
        let flags = |flags: &[&str]| json!({ "flags": flags });
        assert_eq!(differences(&flags(&["-a"]), &flags(&[])), ["`flags` changed from [\"-a\"] to []"]);
    }

    #[test]
    fn every_difference_is_named() {
        let mut new = action("-O3");
        new.inputs.insert("clang".into(), Digest::of(b"y"));
        new.inputs.insert("source".into(), Digest::of(b"z"));
        assert_eq!(
            differences(&action("-O2").preimage(), &new.preimage()),
            [
                "`inputs.clang` is new",
                "`inputs.source` changed from `2d711642b726` to `594e519ae499`",
                "`params.a` changed from [\"-O2\"] to [\"-O3\"]",
            ]
        );
    }
}
