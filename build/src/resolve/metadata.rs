//! Core metadata: the header fields of a wheel's `METADATA`.

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::ExtraName;

use super::Requirement;
use crate::error::{Error, Result};
use crate::name::PackageName;

/// The fields that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: Version,
    /// All requirements, also those of extras and of other platforms.
    pub requires: Vec<Requirement>,
    /// The extras that it declares, sorted.
    pub extras: Vec<ExtraName>,
    /// The Python versions that it supports.
    pub requires_python: Option<VersionSpecifiers>,
    /// The licence: the SPDX expression, or else what an older package says in its place.
    pub license: Option<String>,
}

/// Reads core metadata (an e-mail header, PEP 566).
///
/// # Errors
/// When the name or the version is missing or malformed, or a requirement is.
pub fn parse_metadata(text: &str) -> Result<Metadata> {
    let fields = fields(text);
    let all = |key: &str| -> Vec<&str> {
        let named = fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(key));
        named.map(|(_, value)| value.as_str()).collect()
    };
    let first = |key: &str| all(key).into_iter().find(|value| !value.is_empty());
    let needed = |key: &str| first(key).ok_or_else(|| Error::new(format!("the metadata has no `{key}`")));
    let version = needed("Version")?;
    let mut requires = Vec::new();
    let mut problems = Vec::new();
    for value in all("Requires-Dist") {
        match super::parse_dependency(value) {
            Ok(requirement) => requires.push(requirement),
            Err(why) => problems.push(format!("`{}`: {why}", value.escape_debug())),
        }
    }
    if !problems.is_empty() {
        return Err(Error::new("the metadata has malformed requirements").details(problems));
    }
    // As for pip, a specifier that does not parse excludes nothing.
    let requires_python = first("Requires-Python").and_then(|text| text.parse().ok());
    let extras = all("Provides-Extra").into_iter().filter_map(|text| text.parse().ok());
    let mut extras: Vec<ExtraName> = extras.collect();
    extras.sort();
    extras.dedup();
    let classifier = || {
        let mut names = all("Classifier").into_iter().filter_map(|value| {
            let rest = value.strip_prefix("License :: ")?;
            rest.rsplit(" :: ").next().filter(|name| *name != "OSI Approved")
        });
        names.next().map(str::to_owned)
    };
    // `License` often holds the whole text: only a short one names a licence.
    let short =
        || first("License").filter(|text| text.len() <= 60 && !text.contains('\n')).map(str::to_owned);
    Ok(Metadata {
        name: PackageName::new(needed("Name")?)?,
        version: version.parse().map_err(|_| {
            Error::new(format!("the metadata has a malformed version `{}`", version.escape_debug()))
        })?,
        requires,
        extras,
        requires_python,
        license: first("License-Expression").map(str::to_owned).or_else(short).or_else(classifier),
    })
}

fn fields(text: &str) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            break;
        }
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_header_only() {
        let text = "Metadata-Version: 2.4\nName: A.b\nVersion: 1.0\nLicense: Long\n  text\n\
             Classifier: License :: OSI Approved\nClassifier: License :: OSI Approved :: MIT License\n\
             Requires-Python: >=3.8\nProvides-Extra: X_y\nProvides-Extra: a\n\
             Requires-Dist: c (>=1) ; extra == 'x'\nRequires-Dist: b @ https://x.example/y ; extra == 'x'\n\n\
             Requires-Dist: d\n";
        let metadata = parse_metadata(text).unwrap();
        assert_eq!((metadata.name.as_str(), metadata.license.as_deref()), ("a-b", Some("MIT License")));
        let requires: Vec<String> = metadata.requires.iter().map(ToString::to_string).collect();
        assert_eq!(requires, ["c>=1 ; extra == 'x'", "b @ https://x.example/y ; extra == 'x'"]);
        let extras: Vec<String> = metadata.extras.iter().map(ToString::to_string).collect();
        assert_eq!(extras, ["a", "x-y"]);
        assert_eq!(metadata.requires_python, Some(">=3.8".parse().unwrap()));
        let sloppy = parse_metadata("Name: a\nVersion: 1\nRequires-Python: >=3.6.*\n").unwrap();
        assert_eq!(sloppy.requires_python, None);
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| parse_metadata(text).unwrap_err().to_string();
        assert_eq!(error("Name: a\n"), "the metadata has no `Version`");
        assert_eq!(error("Name: a\nVersion: x y\n"), "the metadata has a malformed version `x y`");
        let text = error("Name: a\nVersion: 1\nRequires-Dist: b (>=1.0.*)\nRequires-Dist: c >\n");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.first(), Some(&"the metadata has malformed requirements"));
        assert!(lines.get(1).is_some_and(|line| line.starts_with("  `b (>=1.0.*)`: ")), "{text}");
        assert!(lines.get(2).is_some_and(|line| line.starts_with("  `c >`: ")), "{text}");
    }
}
