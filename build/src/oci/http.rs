//! Requests to one registry: authorisation, and what a refusal means.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;
use ureq::SendBody;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Method, Request, Response};

use super::auth::{Challenge, Credentials};
use super::registry::Patience;
use crate::fetch::http;

/// The most that is read of a document, in bytes: registries accept manifests up to this size.
pub(super) const DOCUMENT_LIMIT: u64 = 4 << 20;

/// What a request carries; it can be sent again.
#[derive(Clone, Copy)]
pub(super) enum Body<'a> {
    None,
    Bytes(&'a [u8]),
    File(&'a Path),
}

/// Why a request yielded nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    /// One lower-case line.
    pub(super) why: String,
    /// What the registry answered, if it did.
    pub(super) status: Option<u16>,
    /// Another try may help.
    pub(super) transient: bool,
}

impl Refusal {
    pub(super) fn permanent(why: impl Into<String>) -> Self {
        Self { why: why.into(), status: None, transient: false }
    }

    pub(super) fn passing(why: impl Into<String>) -> Self {
        Self { why: why.into(), status: None, transient: true }
    }
}

/// A client of one registry.
pub(super) struct Client {
    agent: ureq::Agent,
    /// Scheme and server: where credentials may go.
    pub(super) origin: String,
    /// What a token is asked for.
    scope: Option<String>,
    credentials: Option<Credentials>,
    authorization: Mutex<Option<String>>,
}

impl Client {
    pub(super) fn new(
        origin: String,
        scope: Option<String>,
        credentials: Option<Credentials>,
        patience: Patience,
    ) -> Self {
        let answer = match patience {
            Patience::Long => Duration::from_secs(60),
            Patience::Short => Duration::from_secs(10),
        };
        let config = http::configuration()
            .timeout_connect(Some(answer.min(Duration::from_secs(20))))
            .timeout_recv_response(Some(answer))
            .timeout_per_read(Some(answer))
            .redirect_auth_headers(RedirectAuthHeaders::SameHost);
        Self {
            agent: config.build().new_agent(),
            origin,
            scope,
            credentials,
            authorization: Mutex::default(),
        }
    }

    /// One request, and a second one when the registry wants to know who asks.
    pub(super) fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
    ) -> Result<Response<ureq::Body>, Refusal> {
        // A server may send us elsewhere with an upload; who we are is for the registry alone.
        let ours = url.strip_prefix(&self.origin).is_some_and(|rest| rest.starts_with('/'));
        let known = || crate::store::held(&self.authorization).clone().filter(|_| ours);
        let response = self.once(method, url, headers, body, known())?;
        if response.status().as_u16() != 401 || !ours {
            return accepted(response);
        }
        let challenge = response
            .headers()
            .get_all("www-authenticate")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(Challenge::parse);
        let Some(challenge) = challenge else { return accepted(response) };
        let authorization = self.authorize(challenge)?;
        *crate::store::held(&self.authorization) = Some(authorization);
        accepted(self.once(method, url, headers, body, known())?)
    }

    fn once(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        authorization: Option<String>,
    ) -> Result<Response<ureq::Body>, Refusal> {
        let mut request = Request::builder().method(method.clone()).uri(url);
        // What is stored is compressed already where that helps.
        request = request.header("accept-encoding", "identity");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let malformed = |error: ureq::http::Error| Refusal::permanent(format!("bad request: {error}"));
        let response = match body {
            Body::None => self.agent.run(request.body(SendBody::none()).map_err(malformed)?),
            Body::Bytes(bytes) => self.agent.run(request.body(bytes).map_err(malformed)?),
            Body::File(path) => {
                let file = File::open(path).map_err(|error| {
                    Refusal::permanent(format!("cannot read `{}`: {error}", path.display()))
                })?;
                self.agent.run(request.body(file).map_err(malformed)?)
            }
        };
        response.map_err(|error| {
            let refusal = http::refusal(&error);
            Refusal { why: refusal.why, status: None, transient: refusal.transient }
        })
    }

    fn authorize(&self, challenge: Challenge) -> Result<String, Refusal> {
        let (realm, service, scope) = match challenge {
            Challenge::Basic => {
                let basic = self.credentials.as_ref().and_then(Credentials::basic);
                return basic.ok_or_else(|| Refusal {
                    why: "the registry wants a user and a password, and there are none".to_owned(),
                    status: Some(401),
                    transient: false,
                });
            }
            Challenge::Bearer { realm, service, scope } => (realm, service, scope),
        };
        if self.origin.starts_with("https://") && !realm.starts_with("https://") {
            return Err(Refusal::permanent(format!(
                "the registry asks for credentials in the clear at `{realm}`"
            )));
        }
        let scope = self.scope.clone().or(scope);
        let mut query = Vec::new();
        for (name, value) in [("service", &service), ("scope", &scope)] {
            query.extend(value.as_ref().map(|value| format!("{name}={}", escape(value))));
        }
        let (method, url, body, headers) = match &self.credentials {
            Some(Credentials::Identity(token)) => {
                query.push("grant_type=refresh_token&client_id=eryx-build".to_owned());
                query.push(format!("refresh_token={}", escape(token)));
                let headers = vec![("content-type", "application/x-www-form-urlencoded".to_owned())];
                (Method::POST, realm, query.join("&"), headers)
            }
            credentials => {
                let joint = if realm.contains('?') { '&' } else { '?' };
                let basic = credentials.as_ref().and_then(Credentials::basic);
                let headers = basic.map(|basic| ("authorization", basic)).into_iter().collect();
                (Method::GET, format!("{realm}{joint}{}", query.join("&")), String::new(), headers)
            }
        };
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = if method == Method::POST { Body::Bytes(body.as_bytes()) } else { Body::None };
        let response = accepted(self.once(&method, &url, &headers, body, None)?)
            .map_err(|refusal| Refusal { why: format!("no token: {}", refusal.why), ..refusal })?;
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let answer: Option<Answer> = serde_json::from_slice(&read_document(response)?).ok();
        let token = answer.and_then(|answer| answer.token.or(answer.access_token));
        let token = token.ok_or_else(|| Refusal::permanent("the registry's token server gave no token"))?;
        Ok(format!("Bearer {token}"))
    }
}

/// The response, if the registry did what was asked.
fn accepted(response: Response<ureq::Body>) -> Result<Response<ureq::Body>, Refusal> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let reason = status.canonical_reason().unwrap_or_default().to_ascii_lowercase();
    let mut why = format!("status {} {reason}", status.as_u16()).trim_end().to_owned();
    let said = read_document(response).unwrap_or_default();
    if let Some(text) = errors(&said) {
        why.push_str(&format!(" ({text})"));
    }
    Err(Refusal {
        why,
        status: Some(status.as_u16()),
        transient: status.is_server_error() || matches!(status.as_u16(), 408 | 429),
    })
}

/// What a registry says of a failure, in its own words.
fn errors(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        code: String,
        #[serde(default)]
        message: String,
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let one = answer.errors.first()?;
    let text = format!("{}: {}", one.code, one.message);
    Some(text.chars().filter(|c| !c.is_control()).take(200).collect())
}

/// A small body, whole.
pub(super) fn read_document(response: Response<ureq::Body>) -> Result<Vec<u8>, Refusal> {
    let kind =
        response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if kind.starts_with("text/html") {
        return Err(Refusal::permanent(
            "a web page answers, which is no registry: a login page of the network, or a proxy",
        ));
    }
    let mut bytes = Vec::new();
    let mut reader = response.into_body().into_reader().take(DOCUMENT_LIMIT + 1);
    reader.read_to_end(&mut bytes).map_err(|error| Refusal::passing(format!("broke off: {error}")))?;
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return Err(Refusal::permanent(format!("a document of more than {DOCUMENT_LIMIT} bytes")));
    }
    Ok(bytes)
}

/// A value in a query or a form.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
