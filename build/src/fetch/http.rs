//! Requests over HTTP.

use std::io::Read;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ureq::config::ConfigBuilder;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Tries per address when the failure may pass.
pub(super) const TRIES: u32 = 3;

pub(super) const NETWORK_HINT: &str =
    "check the network and the proxy settings (`HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`)";

/// The longest index page that is read, in bytes; the largest known is about a third of it.
const PAGE_LIMIT: u64 = 128 << 20;

/// A page and where redirections ended, against which its links are resolved.
pub(super) struct Page {
    pub(super) text: String,
    pub(super) url: String,
    pub(super) media_type: String,
}

/// Why a request yielded nothing.
pub(crate) struct Refusal {
    /// One lower-case line.
    pub(crate) why: String,
    /// The server says that there is no such thing.
    pub(super) missing: bool,
    /// Another try may help.
    pub(crate) transient: bool,
}

/// What all our requests have in common.
pub(crate) fn configuration() -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("eryx-build/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
}

pub(super) fn agent() -> ureq::Agent {
    configuration()
        .timeout_connect(Some(Duration::from_secs(20)))
        .timeout_recv_response(Some(Duration::from_secs(60)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .build()
        .new_agent()
}

/// The pause before try number `attempt + 1`.
pub(crate) fn pause(attempt: u32) -> Duration {
    Duration::from_millis(200) * 3_u32.pow(attempt.saturating_sub(1).min(4))
}

/// Opens a file for reading; also says its length in bytes where the server does.
pub(super) fn open(agent: &ureq::Agent, url: &str) -> Result<(impl Read, Option<u64>), Refusal> {
    // A server that compresses on the way would compress an archive once more, for nothing.
    let response = request(agent, url, "*/*", "identity")?;
    let length = response.body().content_length();
    Ok((response.into_body().into_reader(), length))
}

/// Reads a page of text, with several tries.
pub(super) fn get_text(agent: &ureq::Agent, url: &str, accept: &str) -> Result<Page, Refusal> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match read_page(agent, url, accept) {
            Err(refusal) if refusal.transient && attempt < TRIES => std::thread::sleep(pause(attempt)),
            Err(mut refusal) => {
                if refusal.transient {
                    refusal.why.push_str(&format!(" ({attempt} tries)"));
                }
                return Err(refusal);
            }
            done => return done,
        }
    }
}

fn read_page(agent: &ureq::Agent, url: &str, accept: &str) -> Result<Page, Refusal> {
    use ureq::ResponseExt as _;
    let mut response = request(agent, url, accept, "gzip")?;
    let media_type = response.body().mime_type().unwrap_or_default().to_ascii_lowercase();
    // Links relative to an address with credentials need the same credentials, so it stays the base.
    let has_credentials = split_credentials(url).1.is_some();
    let url = if has_credentials { url.to_owned() } else { response.get_uri().to_string() };
    let text = response.body_mut().with_config().limit(PAGE_LIMIT).read_to_string();
    Ok(Page { text: text.map_err(|error| refusal(&error))?, url, media_type })
}

fn request(
    agent: &ureq::Agent,
    url: &str,
    accept: &str,
    encoding: &str,
) -> Result<ureq::http::Response<ureq::Body>, Refusal> {
    let (url, credentials) = split_credentials(url);
    let mut request = agent.get(&url).header("accept", accept).header("accept-encoding", encoding);
    if let Some(credentials) = credentials {
        request = request.header("authorization", format!("Basic {}", BASE64.encode(credentials)));
    }
    let response = request.call().map_err(|error| refusal(&error))?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let reason = status.canonical_reason().unwrap_or_default().to_ascii_lowercase();
    Err(Refusal {
        why: format!("status {} {reason}", status.as_u16()).trim_end().to_owned(),
        missing: matches!(status.as_u16(), 404 | 410),
        transient: status.is_server_error() || matches!(status.as_u16(), 408 | 429),
    })
}

pub(crate) fn refusal(error: &ureq::Error) -> Refusal {
    use ureq::Error as E;
    let permanent = matches!(error, E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl | E::TooManyRedirects);
    let why = match error {
        E::HostNotFound => "the name of the server cannot be resolved".to_owned(),
        E::Timeout(which) => format!("no answer in time ({which})"),
        E::Io(error) => {
            crate::error::Error::from(std::io::Error::new(error.kind(), error.to_string())).to_string()
        }
        other => other.to_string(),
    };
    Refusal { why, missing: false, transient: !permanent }
}

/// An address without its credentials, fit for messages.
pub(super) fn redact(url: &str) -> String {
    split_credentials(url).0
}

/// Takes `user:password@` out of an address; the credentials come back with percent escapes resolved.
fn split_credentials(url: &str) -> (String, Option<Vec<u8>>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((credentials, server)) => {
            (format!("{scheme}://{server}{path}"), Some(unescape(credentials.as_bytes())))
        }
        None => (url.to_owned(), None),
    }
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = match tail {
            [high, low, ..] if first == b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                digit(*high).zip(digit(*low)).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
            }
            _ => None,
        };
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_out_of_messages() {
        assert_eq!(redact("https://me:s%40t@a.example/x@y"), "https://a.example/x@y");
        assert_eq!(split_credentials("https://me:s%40t@a.example/x").1.as_deref(), Some(&b"me:s@t"[..]));
        assert_eq!(redact("https://a.example/x@y"), "https://a.example/x@y");
    }
}
