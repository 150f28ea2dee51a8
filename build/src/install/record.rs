//! `RECORD`: the list of a wheel's files, with digests and sizes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Sha256, Sha384, Sha512};

use crate::error::{Context, Error, Result};
use crate::file_name::{FileName, RelativePath};

/// How many problems are listed.
const SHOWN: usize = 20;

/// What a line says of a file.
struct Row {
    hash: String,
    size: String,
}

/// Whether the format exempts a file from being listed with a digest: the list itself and its signatures.
fn exempt(path: &str, info: &FileName) -> bool {
    path.strip_prefix(info.as_str())
        .is_some_and(|rest| matches!(rest, "/RECORD" | "/RECORD.jws" | "/RECORD.p7s"))
}

/// Checks that each file is listed with its digest and size, and that each that is listed is there.
///
/// # Errors
/// When there is no `RECORD` or it is malformed; all differences between it and the files.
pub(super) fn verify(folder: &Path, info: &FileName, paths: &[RelativePath]) -> Result<()> {
    let file = folder.join(info).join("RECORD");
    let text = fs::read_to_string(&file).context(|| format!("cannot read `{info}/RECORD`"))?;
    let (rows, mut problems) = parse(&text);
    let files: BTreeSet<&str> = paths.iter().map(RelativePath::as_str).collect();
    for listed in rows.keys().filter(|listed| !files.contains(listed.as_str()) && !exempt(listed, info)) {
        problems.push(format!("`{}` is listed and not there", listed.escape_debug()));
    }
    for path in paths.iter().filter(|path| !exempt(path, info)) {
        match rows.get(path.as_str()) {
            None => problems.push(format!("`{path}` is not listed")),
            Some(row) => {
                problems.extend(difference(&folder.join(path), row)?.map(|what| format!("`{path}`: {what}")))
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    let mut shown: Vec<String> = problems.into_iter().take(SHOWN).collect();
    if count > SHOWN {
        shown.push(format!("and {} more", count - SHOWN));
    }
    Err(Error::new(format!("its files are not those of `{info}/RECORD`"))
        .details(shown)
        .hint("the wheel is damaged or was changed after it was made; take another one"))
}

/// The rows by path, and what is wrong with the list itself.
fn parse(text: &str) -> (BTreeMap<String, Row>, Vec<String>) {
    let mut rows = BTreeMap::new();
    let mut problems = Vec::new();
    for line in text.lines() {
        let Some(fields) = fields(line) else {
            problems.push(format!("the list is malformed: `{}`", line.escape_debug()));
            continue;
        };
        let field = |index: usize| fields.get(index).cloned().unwrap_or_default();
        // Some programs write `./`, and some list folders, which have no content.
        let path = field(0);
        let path = path.strip_prefix("./").unwrap_or(&path).to_owned();
        if path.is_empty() || path.ends_with('/') {
            continue;
        }
        if rows.insert(path.clone(), Row { hash: field(1), size: field(2) }).is_some() {
            problems.push(format!("`{}` is listed twice", path.escape_debug()));
        }
    }
    (rows, problems)
}

/// The fields of a line of comma-separated values (RFC 4180, without line breaks in fields); nothing when a quote is
/// not closed or stands elsewhere than around a field.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(mut quoted) = rest.strip_prefix('"') else {
            let (field, after) =
                rest.split_once(',').map_or((rest, None), |(field, after)| (field, Some(after)));
            fields.push(field.to_owned());
            match after {
                Some(after) => rest = after,
                None => return (!field.contains('"')).then_some(fields),
            }
            continue;
        };
        let mut field = String::new();
        loop {
            let (part, after) = quoted.split_once('"')?;
            field.push_str(part);
            match after.strip_prefix('"') {
                Some(after) => {
                    field.push('"');
                    quoted = after;
                }
                None => {
                    quoted = after;
                    break;
                }
            }
        }
        fields.push(field);
        match quoted.strip_prefix(',') {
            Some(after) => rest = after,
            None => return quoted.is_empty().then_some(fields),
        }
    }
}

/// A field of comma-separated values, in quotes where it needs them.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// How a file differs from its row.
fn difference(path: &Path, row: &Row) -> Result<Option<String>> {
    let Some((algorithm, expected)) = row.hash.split_once('=') else {
        return Ok(Some("no digest".to_owned()));
    };
    let hashed = match algorithm {
        "sha256" => hash::<Sha256>(path)?,
        "sha384" => hash::<Sha384>(path)?,
        "sha512" => hash::<Sha512>(path)?,
        _ => {
            return Ok(Some(format!(
                "expected a digest by sha256, sha384 or sha512 but found `{algorithm}`"
            )));
        }
    };
    let (digest, size) = hashed;
    if !row.size.is_empty() && row.size.trim().parse() != Ok(size) {
        return Ok(Some(format!("expected {} bytes but found {size}", row.size.escape_debug())));
    }
    let found = URL_SAFE_NO_PAD.encode(&digest);
    if found == expected.trim_end_matches('=') {
        Ok(None)
    } else {
        Ok(Some(format!("expected {algorithm} `{}` but found `{found}`", expected.escape_debug())))
    }
}

fn hash<H: sha2::Digest>(path: &Path) -> Result<(Vec<u8>, u64)> {
    let doing = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).context(doing)?;
    let mut hasher = H::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer).context(doing)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok((hasher.finalize().to_vec(), size));
        }
        hasher.update(bytes);
        size += count as u64;
    }
}

/// The list of installed files, given by path relative to the modules' folder; the values are where they lie now.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn installed(placed: &BTreeMap<String, PathBuf>, info: &FileName) -> Result<String> {
    let mut text = String::new();
    for (path, file) in placed {
        if exempt(path, info) {
            text.push_str(&format!("{},,\n", quoted(path)));
        } else {
            let (digest, size) = hash::<Sha256>(file)?;
            text.push_str(&format!("{},sha256={},{size}\n", quoted(path), URL_SAFE_NO_PAD.encode(digest)));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_spreadsheets_do() {
        let of = |line| fields(line).unwrap().join("|");
        assert_eq!(of("a,sha256=b,1"), "a|sha256=b|1");
        assert_eq!(of("a,,"), "a||");
        assert_eq!(of("\"a,b\",\"c\"\"d\",1"), "a,b|c\"d|1");
        for line in ["\"a,1", "\"a\"b,1", "a,1\""] {
            assert_eq!(fields(line), None, "{line}");
        }
        for field in ["a", "a,b", "a\"b"] {
            assert_eq!(fields(&format!("{},1", quoted(field))).unwrap(), [field, "1"]);
        }
    }
}
