//! Names of things in a registry: `registry/repository[:tag][@sha256:digest]`.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{Error, Result};

/// The name of a repository, and perhaps of one thing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The server, with its port where it has one.
    pub registry: String,
    /// The repository.
    pub repository: String,
    /// The tag.
    pub tag: Option<String>,
    /// The digest of a manifest.
    pub digest: Option<Digest>,
}

impl Reference {
    /// The repository with its registry: what a signature says that it is for.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Whether the registry is on this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let server = match self.registry.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.registry.split(':').next().unwrap_or_default(),
        };
        server == "localhost" || server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// What the registry is asked for: the digest, else the tag, else `latest`.
    #[must_use]
    pub fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => format!("sha256:{digest}"),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@sha256:{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::new(format!("{what} in the reference `{}`", text.escape_debug())).hint(
                "a reference is written `registry/repository:tag`, such as `localhost:5000/python:latest`",
            )
        };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.strip_prefix("sha256:").and_then(|digits| digits.parse().ok());
                let digest = digest.ok_or_else(|| wrong("expected `@sha256:` and 64 digits".to_owned()))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        let (registry, rest) =
            rest.split_once('/').ok_or_else(|| wrong("expected a registry and a repository".to_owned()))?;
        // No registry is the default one, so the first part has to look like one.
        if !is_registry(registry) {
            return Err(wrong(format!("expected a registry but found `{registry}`")));
        }
        let (repository, tag) = match rest.split_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if repository.len() > 255 || !repository.split('/').all(is_path_part) {
            return Err(wrong(format!("expected a repository in lower case but found `{repository}`")));
        }
        if let Some(tag) = tag.as_deref().filter(|tag| !is_tag(tag)) {
            return Err(wrong(format!("expected a tag but found `{tag}`")));
        }
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }
}

fn is_registry(text: &str) -> bool {
    let (server, port) = match text.rsplit_once(':') {
        Some((server, port)) if !port.ends_with(']') => (server, Some(port)),
        _ => (text, None),
    };
    let named = server.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    });
    let address = server.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
    let looks_like_one = port.is_some() || server.contains('.') || server == "localhost" || address;
    (named || address) && looks_like_one && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// One part of a repository's path: lower-case words joined by `.`, `_`, `__` or dashes.
fn is_path_part(part: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    part.bytes().next().is_some_and(word)
        && part.bytes().last().is_some_and(word)
        && separators.all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}

/// Whether a text can be a tag.
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_it_prints() {
        let digest = Digest::of(b"x");
        for text in [
            "localhost/a",
            "localhost:5000/a/b-c__d.e:v1",
            "registry.test/a:3.14.5-numpy-2.5.5",
            "[::1]:5000/a",
            "[::1]/a",
            &format!("127.0.0.1:1/a@sha256:{digest}"),
            &format!("127.0.0.1:1/a:b@sha256:{digest}"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), text);
            assert_eq!(reference.is_loopback(), !text.starts_with("registry"), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("numpy", "expected a registry and a repository"),
            ("numpy/x", "expected a registry but found `numpy`"),
            ("a..b/x", "expected a registry but found `a..b`"),
            ("localhost:x/y", "expected a registry but found `localhost:x`"),
            ("localhost/", "expected a repository in lower case but found ``"),
            ("localhost/../x", "expected a repository in lower case but found `../x`"),
            ("localhost/A", "expected a repository in lower case but found `A`"),
            ("localhost/a?b", "expected a repository in lower case but found `a?b`"),
            ("localhost/a:", "expected a tag but found ``"),
            ("localhost/a:-x", "expected a tag but found `-x`"),
            ("localhost/a@sha256:1", "expected `@sha256:` and 64 digits"),
            ("localhost/a@sha512:1", "expected `@sha256:` and 64 digits"),
        ] {
            let error = text.parse::<Reference>().unwrap_err();
            assert_eq!(error.message(), format!("{expected} in the reference `{text}`"));
        }
    }
}
