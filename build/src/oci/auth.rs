//! Who we are to a registry: credentials from the environment or from Docker's configuration, and the tokens
//! that a registry's challenge asks for.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;

use crate::error::{Context, Error, Result};

/// The variable with the user's name at the registry.
pub const ENV_USER: &str = "ERYX_REGISTRY_USER";
/// The variable with the password or token that goes with it.
pub const ENV_PASSWORD: &str = "ERYX_REGISTRY_PASSWORD";

/// A name and what proves it.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user's name and password.
    Basic(String, String),
    /// A token that is exchanged for others.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials")
    }
}

#[derive(Deserialize, Default)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// Those for a registry: from the environment, else from `DOCKER_CONFIG` or `~/.docker`, as Docker keeps
    /// them.
    ///
    /// # Errors
    /// When Docker's configuration, or a program that it names, is there and cannot be used.
    pub fn find(registry: &str) -> Result<Option<Self>> {
        if let (Ok(user), Ok(password)) = (std::env::var(ENV_USER), std::env::var(ENV_PASSWORD)) {
            return Ok(Some(Self::Basic(user, password)));
        }
        let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let folder =
            folder.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker")));
        let Some(path) = folder.map(|folder| folder.join("config.json")) else { return Ok(None) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context(|| format!("cannot read `{}`", path.display())),
        };
        Self::from_docker(&text, registry).map_err(|error| error.context(format!("`{}`", path.display())))
    }

    fn from_docker(text: &str, registry: &str) -> Result<Option<Self>> {
        // What serde says of a value may quote it, and this file has secrets.
        let config: DockerConfig = serde_json::from_str(text)
            .map_err(|error| Error::new(format!("malformed in line {}", error.line())))?;
        let named = |key: &&String| server_of(key) == registry;
        if let Some(helper) = config.helpers.keys().find(named).and_then(|key| config.helpers.get(key)) {
            return ask_helper(helper, registry);
        }
        let entry = config.auths.keys().find(named).and_then(|key| config.auths.get(key));
        if let Some(found) = entry.map(Entry::credentials).transpose()?.flatten() {
            return Ok(Some(found));
        }
        match &config.store {
            Some(helper) => ask_helper(helper, registry),
            None => Ok(None),
        }
    }

    /// The header for a server that takes them as they are.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Basic(user, password) => {
                Some(format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
            }
            Self::Identity(_) => None,
        }
    }
}

impl Entry {
    fn credentials(&self) -> Result<Option<Credentials>> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credentials::Identity(token.clone())));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Credentials::Basic(user.clone(), password.clone())));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
        let text = BASE64.decode(auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        match text.as_deref().and_then(|text| text.split_once(':')) {
            Some((user, password)) => {
                let password = password.trim_end_matches('\0');
                Ok(Some(Credentials::Basic(user.to_owned(), password.to_owned())))
            }
            None => Err(Error::new("expected `user:password` in base64 in `auth`")),
        }
    }
}

/// The server of a key of Docker's configuration, which may be an address.
fn server_of(key: &str) -> &str {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    key.split('/').next().unwrap_or_default()
}

/// Asks a credential helper, by Docker's protocol.
fn ask_helper(helper: &str, registry: &str) -> Result<Option<Credentials>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let program = format!("docker-credential-{helper}");
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
        return Err(Error::new(format!("expected a credential helper but found `{helper}`")));
    }
    crate::command::count_process();
    let doing = || format!("cannot run `{program}`");
    let mut child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context(doing)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(registry.as_bytes()).context(doing)?;
    }
    let output = child.wait_with_output().context(doing)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(Error::new(format!("`{program}` failed ({})", output.status)).detail(said.trim()));
    }
    let answer: Answer = serde_json::from_slice(&output.stdout)
        .map_err(|_| Error::new(format!("`{program}` answered with something else than credentials")))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Credentials::Identity(answer.secret),
        _ => Credentials::Basic(answer.username, answer.secret),
    }))
}

/// What a registry asks for when it refuses (RFC 9110, §11.6.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Reads one value of the header `www-authenticate`; of several challenges the first that we know.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let lower = header.to_ascii_lowercase();
        if let Some(place) = lower.find("bearer ") {
            let parameters = parameters(header.get(place + "bearer ".len()..)?);
            let take = |name: &str| parameters.get(name).cloned();
            return Some(Self::Bearer {
                realm: take("realm")?,
                service: take("service"),
                scope: take("scope"),
            });
        }
        (lower == "basic" || lower.contains("basic ")).then_some(Self::Basic)
    }
}

/// `name="value", name=value`, with names in lower case.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_ascii_lowercase();
        let (value, left) = match after.strip_prefix('"') {
            Some(quoted) => match quoted.split_once('"') {
                Some(parts) => parts,
                None => break,
            },
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.entry(name).or_insert_with(|| value.trim().to_owned());
        rest = left;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_configuration_is_read() {
        let text = r#"{"auths": {
            "https://a.test/v1/": {"auth": "bWU6czpl"},
            "b.test:5000": {"username": "u", "password": "p"},
            "c.test": {"identitytoken": "t"},
            "d.test": {},
            "e.test": {"auth": "!"}
        }, "HttpHeaders": {}}"#;
        let find = |registry| Credentials::from_docker(text, registry);
        assert!(find("a.test").unwrap() == Some(Credentials::Basic("me".into(), "s:e".into())));
        assert!(find("b.test:5000").unwrap() == Some(Credentials::Basic("u".into(), "p".into())));
        assert!(find("c.test").unwrap() == Some(Credentials::Identity("t".into())));
        assert!(find("d.test").unwrap().is_none() && find("b.test").unwrap().is_none());
        assert_eq!(find("e.test").unwrap_err().message(), "expected `user:password` in base64 in `auth`");
        let error = Credentials::from_docker("{\"auths\": 1, \"secret\": 2}", "a").unwrap_err();
        assert_eq!(error.message(), "malformed in line 1");
    }

    #[test]
    fn challenges_are_read() {
        let bearer = |service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: "https://a.test/token".into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        };
        let header = r#"Bearer realm="https://a.test/token",service="a,b", Scope="repository:x:pull,push""#;
        assert_eq!(Challenge::parse(header), Some(bearer(Some("a,b"), Some("repository:x:pull,push"))));
        assert_eq!(
            Challenge::parse("bearer realm=https://a.test/token, service=s"),
            Some(bearer(Some("s"), None))
        );
        assert_eq!(Challenge::parse("Basic realm=\"x\""), Some(Challenge::Basic));
        assert_eq!(Challenge::parse("Bearer service=\"x\""), None);
        assert_eq!(Challenge::parse("Digest realm=\"x\""), None);
    }
}
