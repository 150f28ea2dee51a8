//! Sources: pinned files and how they are unpacked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, DeValue};

use super::check::relative;
use super::file::SourceTable;
use super::license;
use super::place::{Document, Problem};
use super::schema::{PART, Walk};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fetch::{Origin, Pin};
use crate::file_name::FileName;

/// A pinned file, and how it is laid out for a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The file name.
    pub file: FileName,
    /// The digest of the file.
    pub sha256: Digest,
    /// The length of the file in bytes.
    pub size: u64,
    /// Where the file can be had, best first; never empty.
    pub origins: Vec<Origin>,
    /// The kind of archive.
    pub format: Format,
    /// How many leading path components are taken off each member.
    pub strip: usize,
    /// The folder of the build tree into which it is unpacked; empty for its root.
    pub into: String,
    /// Paths (after stripping) that are unpacked, each a file or a whole folder; empty for everything.
    pub only: Vec<String>,
}

/// The kind of archive that a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// A tar archive, compressed or not as its content says.
    Tar,
    /// A zip archive; wheels are such.
    Zip,
    /// A Debian package, whose data are unpacked.
    Deb,
}

/// What of a source belongs into an action key.
#[derive(Debug, Serialize)]
pub struct SourceKey<'a> {
    sha256: Digest,
    format: Format,
    strip: usize,
    into: &'a str,
    only: &'a [String],
}

impl Source {
    /// The file as something to fetch.
    #[must_use]
    pub fn pin(&self) -> Pin {
        Pin {
            file: self.file.clone(),
            sha256: self.sha256,
            size: Some(self.size),
            origins: self.origins.clone(),
        }
    }

    /// What of this source belongs into an action key: addresses do not.
    #[must_use]
    pub fn key(&self) -> SourceKey<'_> {
        SourceKey {
            sha256: self.sha256,
            format: self.format,
            strip: self.strip,
            into: &self.into,
            only: &self.only,
        }
    }
}

/// A pinned part of the toolchain.
#[derive(Debug, Clone)]
pub struct Part {
    /// What it is.
    pub name: String,
    /// Its version, as its makers write it.
    pub version: String,
    /// Its licence, an SPDX expression.
    pub license: String,
    /// Where it comes from.
    pub source: Source,
}

/// [`Part`] as it is written.
#[derive(Deserialize)]
struct PartTable {
    name: String,
    version: String,
    license: String,
    #[serde(flatten)]
    source: SourceTable,
}

/// Reads a file whose tables are lists of parts, which is `sysroot/toolchain.toml`; `path` is only for messages.
///
/// # Errors
/// All that is wrong with the file.
pub fn parse_parts(path: &str, text: &str) -> Result<BTreeMap<String, Vec<Part>>> {
    let mut document = Document::new(path, text);
    let mut parts = BTreeMap::<String, Vec<Part>>::new();
    let mut problems = Vec::new();
    if let Some(mut root) = parse_toml(&document, text, &mut problems) {
        let mut walk = Walk { document: &mut document, problems: Vec::new() };
        let mut unfit = Vec::new();
        for (name, value) in root.get_mut().iter_mut() {
            walk.document.note(name.get_ref(), &name.span());
            match value.get_mut() {
                DeValue::Array(list) if list.iter().all(|item| item.get_ref().is_table()) => {
                    for (index, item) in list.iter_mut().enumerate() {
                        walk.element(&format!("{}[{index}]", name.get_ref()), &PART, item);
                    }
                }
                found => {
                    walk.mismatch(name.get_ref(), "a list of tables", name.span().start, found);
                    unfit.push(name.get_ref().to_string());
                }
            }
        }
        for name in unfit {
            root.get_mut().remove(name.as_str());
        }
        problems = walk.problems;
        match BTreeMap::<String, Vec<PartTable>>::deserialize(toml::de::Deserializer::from(root)) {
            Ok(tables) => {
                for (name, list) in tables {
                    let mut checked = Vec::new();
                    for (index, table) in list.iter().enumerate() {
                        let place = format!("{name}[{index}]");
                        let path = format!("{place}.license");
                        problems.extend(license::problem(&document, &path, &table.license));
                        let source = check_source(&document, &place, &table.source, &mut problems);
                        checked.extend(source.map(|source| Part {
                            name: table.name.clone(),
                            version: table.version.clone(),
                            license: table.license.clone(),
                            source,
                        }));
                    }
                    parts.insert(name, checked);
                }
            }
            // What could not be made into values was told by the walk.
            Err(error) if problems.is_empty() => {
                problems
                    .push(document.problem_at(error.span().map_or(0, |span| span.start), error.message()));
            }
            Err(_) => {}
        }
    }
    if problems.is_empty() { Ok(parts) } else { Err(gathered(path, problems)) }
}

/// One error of many problems, in the order in which they stand.
pub(super) fn gathered(what: &str, mut problems: Vec<Problem>) -> Error {
    problems.sort();
    problems.dedup();
    let count = match problems.len() {
        1 => "a problem".to_owned(),
        count => format!("{count} problems"),
    };
    Error::new(format!("{count} in `{what}`")).details(problems.iter().flat_map(Problem::lines))
}

/// The TOML tree of a document, or all errors of syntax.
pub(super) fn parse_toml<'t>(
    document: &Document,
    text: &'t str,
    problems: &mut Vec<Problem>,
) -> Option<toml::Spanned<DeTable<'t>>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message().trim().replace('\n', ", ");
        problems.push(document.problem_at(offset, format!("invalid TOML: {message}")));
    }
    errors.is_empty().then_some(tree)
}

/// Checks one source; `path` is where it stands.
pub(super) fn check_source(
    document: &Document,
    path: &str,
    table: &SourceTable,
    problems: &mut Vec<Problem>,
) -> Option<Source> {
    let before = problems.len();
    let mut wrong =
        |key: &str, message: String| problems.push(document.problem(&format!("{path}.{key}"), message));
    let sha256 =
        table.sha256.parse::<Digest>().map_err(|error| wrong("sha256", error.message().to_owned())).ok();
    if table.size == 0 {
        wrong("size", "expected the length of the file in bytes but found 0".to_owned());
    }
    let named = [("pypi", &table.pypi), ("crate", &table.krate), ("debian", &table.debian)]
        .into_iter()
        .filter_map(|(key, value)| value.as_deref().map(|value| (key, value)))
        .collect::<Vec<_>>();
    let origin = match named.as_slice() {
        [(key, value)] => origin(key, value).map_err(|message| wrong(key, message)).ok(),
        [] => {
            wrong("", "expected one of `pypi`, `crate` and `debian`, found none".to_owned());
            None
        }
        [_, (key, _), ..] => {
            wrong(key, "expected only one of `pypi`, `crate` and `debian`".to_owned());
            None
        }
    };
    let mut origins = Vec::new();
    let (file, format) = match origin {
        Some((file, format, origin)) => {
            origins.push(origin);
            let file = FileName::new(file);
            (file.map_err(|error| wrong(named[0].0, error.message().to_owned())).ok(), format)
        }
        None => (None, Format::Tar),
    };
    if let Some(url) = &table.url {
        if url.starts_with("https://") || url.starts_with("http://") {
            origins.push(Origin::Url(url.clone()));
        } else {
            wrong("url", format!("expected an `https` address but found `{url}`"));
        }
    }
    for (index, inner) in table.only.iter().enumerate() {
        relative(inner).unwrap_or_else(|message| wrong(&format!("only[{index}]"), message));
    }
    let into = table.into.clone().unwrap_or_default();
    if table.into.is_some() {
        relative(&into).unwrap_or_else(|message| wrong("into", message));
    }
    let strip = table.strip.unwrap_or(usize::from(format == Format::Tar));
    let only = table.only.clone();
    if problems.len() > before {
        return None;
    }
    Some(Source { file: file?, sha256: sha256?, size: table.size, origins, format, strip, into, only })
}

/// The file name, kind and address that the value of `pypi`, `crate` or `debian` stands for.
fn origin(key: &str, value: &str) -> Result<(String, Format, Origin), String> {
    match key {
        "crate" => {
            let (name, version) = value
                .match_indices('-')
                .map(|(at, _)| (&value[..at], &value[at + 1..]))
                .find(|(name, version)| !name.is_empty() && is_crate_version(version))
                .ok_or_else(|| format!("expected `name-1.2.3` but found `{value}`"))?;
            let origin = Origin::Crate { name: name.to_owned(), version: version.to_owned() };
            Ok((format!("{value}.crate"), Format::Tar, origin))
        }
        "debian" => {
            relative(value)?;
            let file = match value.rsplit_once('/') {
                Some((folder, file)) if folder.starts_with("pool/") => file,
                _ => return Err(format!("expected a path that begins with `pool/` but found `{value}`")),
            };
            Ok((file.to_owned(), format(file)?, Origin::Debian { path: value.to_owned() }))
        }
        _ => {
            let format = format(value)?;
            let project = match format {
                Format::Deb => None,
                Format::Zip => value.split_once('-'),
                Format::Tar => value.rsplit_once('-'),
            };
            let (project, _) =
                project
                    .filter(|(project, _)| !project.is_empty() && !project.contains('/'))
                    .ok_or_else(|| format!("expected the name of an sdist or wheel but found `{value}`"))?;
            let origin = Origin::Pypi { project: project.to_owned(), file: value.to_owned() };
            Ok((value.to_owned(), format, origin))
        }
    }
}

fn is_crate_version(text: &str) -> bool {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let numbers = core.split('.').collect::<Vec<_>>();
    numbers.len() == 3
        && numbers.iter().all(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn format(file: &str) -> Result<Format, String> {
    if [".whl", ".zip"].iter().any(|end| file.ends_with(end)) {
        Ok(Format::Zip)
    } else if file.ends_with(".deb") {
        Ok(Format::Deb)
    } else if [".tar", ".tar.gz", ".tar.xz", ".tar.bz2", ".tar.zst", ".tgz"]
        .iter()
        .any(|end| file.ends_with(end))
    {
        Ok(Format::Tar)
    } else {
        Err(format!("expected a tarball, a wheel, a zip file or a Debian package but found `{file}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    const LABEL: &str = "name = \"x\"\nversion = \"1~2\"\nlicense = \"MIT\"\n";

    #[test]
    fn each_registry_gives_file_and_origin() {
        let text = format!(
            "[[a]]\n{LABEL}pypi = \"ziglang-0.17.1-py3-none-any.whl\"\nsha256 = \"{DIGEST}\"\nsize = 1\n\
             [[b]]\n{LABEL}crate = \"wit-dylib-0.263.0\"\nsha256 = \"{DIGEST}\"\nsize = 2\ninto = \"x\"\n\
             [[b]]\n{LABEL}debian = \"pool/main/z/z_1.orig.tar.xz\"\nurl = \"https://example.org/z.tar.xz\"\n\
             sha256 = \"{DIGEST}\"\nsize = 3\nstrip = 2\nonly = [\"lib\"]\n"
        );
        let parts = parse_parts("t.toml", &text).unwrap();
        assert_eq!(parts["a"][0].name, "x");
        assert_eq!((parts["a"][0].version.as_str(), parts["a"][0].license.as_str()), ("1~2", "MIT"));
        let wheel = &parts["a"][0].source;
        assert_eq!((wheel.format, wheel.strip), (Format::Zip, 0));
        let file = "ziglang-0.17.1-py3-none-any.whl".to_owned();
        assert_eq!(wheel.origins, [Origin::Pypi { project: "ziglang".to_owned(), file }]);
        let krate = &parts["b"][0].source;
        assert_eq!(
            (krate.file.as_str(), krate.strip, krate.into.as_str()),
            ("wit-dylib-0.263.0.crate", 1, "x")
        );
        let (name, version) = ("wit-dylib".to_owned(), "0.263.0".to_owned());
        assert_eq!(krate.origins, [Origin::Crate { name, version }]);
        let debian = &parts["b"][1].source;
        assert_eq!((debian.file.as_str(), debian.strip), ("z_1.orig.tar.xz", 2));
        assert_eq!(debian.pin().size, Some(3));
        assert_eq!(debian.origins.len(), 2);
    }

    #[test]
    fn addresses_are_not_in_the_key() {
        let text = |url: &str| {
            format!("[[a]]\n{LABEL}pypi = \"a-1.tar.gz\"\n{url}sha256 = \"{DIGEST}\"\nsize = 1\n")
        };
        let key = |text: &str| {
            serde_json::to_string(&parse_parts("t", text).unwrap()["a"][0].source.key()).unwrap()
        };
        assert_eq!(key(&text("")), key(&text("url = \"https://example.org/a.tar.gz\"\n")));
        assert_ne!(key(&text("")), key(&text("strip = 0\n")));
    }

    #[test]
    fn all_problems_are_told() {
        let text = "[[a]]\npypi = \"a-1.exe\"\nsize = -1\n\n[b]\nc = 1\n[[d]]\nname = 1\nsha = \"x\"\n";
        let error = parse_parts("t.toml", text).unwrap_err().to_string();
        assert_eq!(
            error,
            "12 problems in `t.toml`\n  \
             t.toml:1:1: `[part]` lacks the key `license` (text)\n  \
             t.toml:1:1: `[part]` lacks the key `name` (text)\n  \
             t.toml:1:1: `[part]` lacks the key `sha256` (text)\n  \
             t.toml:1:1: `[part]` lacks the key `version` (text)\n  \
             t.toml:3:8: expected a number from 0 for `a[0].size` but found `-1`\n  \
             t.toml:5:2: expected a list of tables for `b` but found a table\n  \
             t.toml:7:1: `[part]` lacks the key `license` (text)\n  \
             t.toml:7:1: `[part]` lacks the key `sha256` (text)\n  \
             t.toml:7:1: `[part]` lacks the key `size` (number)\n  \
             t.toml:7:1: `[part]` lacks the key `version` (text)\n  \
             t.toml:8:8: expected text for `d[0].name` but found a number\n  \
             t.toml:9:1: unknown key `sha` in `[part]`\n    \
             did you mean `sha256`?\n    \
             valid keys: `name`, `version`, `license`, `pypi`, `crate`, `debian`, `url`, `sha256`, `size`, \
             `strip`, `into`, `only`"
        );
    }

    #[test]
    fn values_are_checked() {
        let label = LABEL.replace("MIT", "MIDT");
        let text = format!("[[a]]\n{label}pypi = \"a-1.exe\"\nsha256 = \"BA\"\nsize = 0\n");
        let error = parse_parts("t.toml", &text).unwrap_err().to_string();
        for line in ["t.toml:4:1: unknown licence `MIDT`", "t.toml:6:1: ", "t.toml:7:1: ", "t.toml:5:1: "] {
            assert!(error.contains(line), "{error}");
        }
    }
}
