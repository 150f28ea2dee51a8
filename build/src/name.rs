//! Normalised package names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The longest name, in bytes: with a version, a digest and a suffix it still fits into the name of a file.
const LONGEST: usize = 150;

/// The name of a Python distribution in its normalised form.
///
/// The form is the one of PEP 503: lower-case ASCII letters and digits, with runs of `-`, `_` and `.` between
/// them replaced by one `-`. Two spellings of one distribution are therefore equal here, and a value is safe
/// to use as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

impl PackageName {
    /// Checks and normalises `text`.
    ///
    /// # Errors
    /// When `text` is not a valid distribution name: it must be ASCII letters, digits, `-`, `_` and `.`, begin and end
    /// with a letter or a digit, and have at most 150 bytes.
    pub fn new(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::new(format!("invalid package name `{}`: {why}", text.escape_debug())).hint(
                "a name is ASCII letters, digits, `-`, `_` and `.`, and begins and ends with a letter or a digit",
            )
        };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        if text.len() > LONGEST {
            return Err(invalid(&format!("it is longer than {LONGEST} bytes")));
        }
        let mut name = String::with_capacity(text.len());
        for letter in text.chars() {
            match letter {
                'a'..='z' | '0'..='9' => name.push(letter),
                'A'..='Z' => name.push(letter.to_ascii_lowercase()),
                '-' | '_' | '.' if name.ends_with('-') => {}
                '-' | '_' | '.' => name.push('-'),
                other => return Err(invalid(&format!("`{}` is not allowed", other.escape_debug()))),
            }
        }
        if name.starts_with('-') || name.ends_with('-') {
            return Err(invalid("it begins or ends with punctuation"));
        }
        Ok(Self(name))
    }

    /// The normalised name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as wheel and sdist file names spell it: `-` replaced by `_`.
    #[must_use]
    pub fn file_stem(&self) -> String {
        self.0.replace('-', "_")
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

impl AsRef<str> for PackageName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl Serialize for PackageName {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PackageName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::PackageName;

    #[test]
    fn spellings_of_one_name_are_equal() {
        for text in ["Foo.Bar_baz", "foo-bar-baz", "FOO__bar.-BAZ"] {
            assert_eq!(PackageName::new(text).unwrap().as_str(), "foo-bar-baz", "{text}");
        }
        assert_eq!(PackageName::new("pydantic_core").unwrap().file_stem(), "pydantic_core");
    }

    #[test]
    fn bad_names_are_refused() {
        for text in ["", "-a", "a-", ".", "a b", "a/b", "..", "é", "a\n", "a==1"] {
            let error = PackageName::new(text).unwrap_err().to_string();
            assert!(error.contains("invalid package name"), "{text}: {error}");
        }
    }

    #[test]
    fn serde_checks() {
        assert_eq!(serde_json::to_string(&PackageName::new("A_b").unwrap()).unwrap(), "\"a-b\"");
        assert!(serde_json::from_str::<PackageName>("\"../x\"").is_err());
    }
}
