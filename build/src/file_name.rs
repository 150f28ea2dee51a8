//! Names and relative paths that were chosen elsewhere and become paths here.
//!
//! Whatever a wheel, an index, a lock file, a manifest or a registry names is one of these types before it is
//! joined to a folder.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::path::Path;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// The longest name that file systems take, in bytes.
const MAX_NAME: usize = 255;

/// The longest relative path, in bytes: that of Linux (`PATH_MAX`), less a generous folder.
const MAX_PATH: usize = 2048;

/// The name of one entry of a folder.
///
/// It has 1 to 255 bytes of UTF-8, no separator (`/`, `\`), no control or formatting character that a terminal
/// or a script would act on, and is neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(String);

/// One or more [`FileName`]s joined by `/`: a path that stays below the folder it is joined to, as long as no
/// symbolic link in that folder leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelativePath(String);

/// What keeps a text from being a file name.
fn problem_of_name(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("it is empty"),
        "." | ".." => Some("it is a way to another folder"),
        _ if name.len() > MAX_NAME => Some("it is longer than 255 bytes"),
        _ if name.contains(['/', '\\']) => Some("it has a separator"),
        _ if name.chars().any(unprintable) => Some("it has a character that is not printed"),
        _ => None,
    }
}

/// Control characters, line and paragraph separators, and the marks that turn the direction of text around.
fn unprintable(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

impl FileName {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is none, with the reason.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        match problem_of_name(&name) {
            None => Ok(Self(name)),
            Some(why) => {
                Err(Error::new(format!("expected a file name but found `{}`: {why}", name.escape_debug())))
            }
        }
    }

    /// A name like a text: what is not an ASCII letter, a digit or one of `._-+` becomes `-`, a leading dot goes,
    /// and what is longer than `longest` bytes is cut. Different texts may give one name.
    #[must_use]
    pub fn like(text: &str, longest: usize) -> Self {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-+".contains(c) { c } else { '-' };
        let name: String =
            text.trim_start_matches('.').chars().take(longest.clamp(1, MAX_NAME)).map(plain).collect();
        Self(if name.is_empty() { "-".to_owned() } else { name })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RelativePath {
    /// Checks a path; its components are separated by `/`.
    ///
    /// # Errors
    /// When it is absolute, empty, longer than 2,048 bytes, or has a component that is no [`FileName`].
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        let why = if path.starts_with('/') {
            Some("it is absolute")
        } else if path.len() > MAX_PATH {
            Some("it is longer than 2048 bytes")
        } else {
            path.split('/').find_map(problem_of_name)
        };
        match why {
            None => Ok(Self(path)),
            Some(why) => Err(Error::new(format!(
                "expected a relative path but found `{}`: {why}",
                path.escape_debug()
            ))),
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first component, and the path behind it if there is more.
    #[must_use]
    pub fn split_first(&self) -> (FileName, Option<Self>) {
        match self.0.split_once('/') {
            Some((first, rest)) => (FileName(first.to_owned()), Some(Self(rest.to_owned()))),
            None => (FileName(self.0.clone()), None),
        }
    }
}

macro_rules! text {
    ($name:ty) => {
        impl Deref for $name {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(&self.0)
            }
        }

        impl AsRef<Path> for $name {
            fn as_ref(&self) -> &Path {
                Path::new(&self.0)
            }
        }

        impl AsRef<OsStr> for $name {
            fn as_ref(&self) -> &OsStr {
                OsStr::new(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }

        impl std::str::FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

text!(FileName);
text!(RelativePath);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_or_hide_something_are_refused() {
        let long = "x".repeat(256);
        for name in [
            "",
            ".",
            "..",
            "/",
            "/abs",
            "a/b",
            "../a",
            "a\\b",
            "..\\a",
            "C:\\a",
            "a\0",
            "a\n",
            "\ta",
            "a\u{1b}[2J",
            "a\u{7f}",
            "a\u{85}",
            "a\u{202e}b",
            "a\u{2028}b",
            "a\u{200b}b",
            "\u{feff}a",
            &long,
        ] {
            let error = FileName::new(name).unwrap_err();
            assert!(error.message().starts_with("expected a file name but found `"), "{error}");
            assert!(serde_json::from_value::<FileName>(name.into()).is_err(), "{name:?}");
            if name != "a/b" {
                assert!(RelativePath::new(name).is_err(), "{name:?}");
                assert!(RelativePath::new(format!("ok/{name}")).is_err(), "{name:?}");
                assert!(RelativePath::new(format!("{name}/ok")).is_err(), "{name:?}");
            }
        }
        for name in ["a", "...", ".a", "a b", "é", "a+b-1.0_2!", "日本", "-", &"x".repeat(255)] {
            assert_eq!(FileName::new(name).unwrap(), name);
        }
    }

    #[test]
    fn paths_are_split_at_their_first_component() {
        let path = RelativePath::new("a/b/c").unwrap();
        let (first, rest) = path.split_first();
        assert_eq!((first.as_str(), rest.unwrap().as_str()), ("a", "b/c"));
        assert_eq!(RelativePath::new("a").unwrap().split_first().1, None);
        assert!(RelativePath::new("a//b").is_err() && RelativePath::new("a/").is_err());
        assert!(RelativePath::new("a/".repeat(1024) + "b").is_err());
    }

    #[test]
    fn any_text_gives_a_name() {
        for text in ["", "..", "../../x", "a\nb", "é", &"y".repeat(999)] {
            let name = FileName::like(text, 40);
            assert_eq!(FileName::new(name.as_str()).unwrap(), name, "{text:?}");
            assert!(name.len() <= 40);
        }
        assert_eq!(FileName::like("step numpy+a", 99), "step-numpy+a");
    }
}
