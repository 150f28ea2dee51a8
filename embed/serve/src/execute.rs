//! The answer to a request.

use std::fmt::Display;
use std::sync::Arc;

use eryx_embed::{Error, Pool, SessionOptions, parse_duration};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use tokio::net::TcpStream;

use crate::Bounds;
use crate::clients::Ticket;
use crate::connection::broken;
use crate::turns::Turns;

pub(crate) type Answer = Response<Full<Bytes>>;

/// What all connections share.
pub(crate) struct Service {
    pub(crate) pool: Pool,
    pub(crate) bounds: Bounds,
    pub(crate) turns: Arc<Turns>,
}

impl Service {
    /// Answers a request of the connection that has the ticket.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        ticket: &Ticket,
        stream: &TcpStream,
    ) -> Answer {
        // It waits for the rest of the request from now on, and at the end for the client to take the answer.
        ticket.wait(true);
        let answer = self.route(request, ticket, stream).await.unwrap_or_else(|refused| refused);
        let held = ticket.hold(usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX));
        ticket.wait(true);
        if held { answer } else { busy("there is no room for the answer\n") }
    }

    async fn route(
        &self,
        request: Request<Incoming>,
        ticket: &Ticket,
        stream: &TcpStream,
    ) -> Result<Answer, Answer> {
        if let Err(problem) = check_head(request.version(), request.headers()) {
            let mut refused = plain(StatusCode::BAD_REQUEST, problem);
            // Where this request ends is a matter of opinion.
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Err(refused);
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/health") => {
                let (slots, room) = (self.pool.free(), self.turns.room());
                Ok(plain(StatusCode::OK, format!("{slots} slots are free, and {room} places in the queue\n")))
            }
            (&Method::POST, "/execute") => self.execute(request, ticket, stream).await,
            (_, "/execute") => Err(plain(StatusCode::METHOD_NOT_ALLOWED, "send the code by POST\n")),
            _ => Err(plain(StatusCode::NOT_FOUND, "there is only `/execute` and `/health`\n")),
        }
    }

    async fn execute(
        &self,
        request: Request<Incoming>,
        ticket: &Ticket,
        stream: &TcpStream,
    ) -> Result<Answer, Answer> {
        let mut limits = self.bounds.guest;
        if let Some(wanted) = request.headers().get("x-time-limit") {
            let wanted = wanted.to_str().map_err(|_| plain(StatusCode::BAD_REQUEST, "malformed header\n"))?;
            let wanted =
                parse_duration(wanted).map_err(|error| plain(StatusCode::BAD_REQUEST, error.render()))?;
            limits.timeout = Some(limits.timeout.map_or(wanted, |most| most.min(wanted)));
        }
        let code = tokio::time::timeout(self.bounds.patience, self.code(request.into_body(), ticket)).await;
        let code = code.map_err(|_| plain(StatusCode::REQUEST_TIMEOUT, "the code did not arrive\n"))??;
        ticket.wait(false);
        let execution = async {
            let turn = self.turns.wait(ticket.client()).await;
            let turn = turn.ok_or_else(|| busy("the queue is full\n"))?;
            let options = SessionOptions::default().limits(limits);
            let outcome = self.pool.execute_fresh_with(code, options).await;
            drop(turn);
            Ok(outcome)
        };
        let outcome = tokio::select! {
            outcome = execution => outcome?,
            // Dropping the execution has stopped it. Nobody reads this.
            () = broken(stream) => return Err(plain(StatusCode::REQUEST_TIMEOUT, "the client is gone\n")),
        };
        match outcome {
            Ok(printed) => Ok(plain(StatusCode::OK, printed)),
            Err(Error::Raised(traceback)) => Err(plain(StatusCode::UNPROCESSABLE_ENTITY, traceback)),
            Err(error) if matches!(error.cause(), Error::TimeLimit { .. }) => {
                Err(plain(StatusCode::REQUEST_TIMEOUT, error.render()))
            }
            Err(error) => Err(plain(StatusCode::INTERNAL_SERVER_ERROR, error.render())),
        }
    }

    /// Reads the code, as far as it may go and there is room.
    async fn code(&self, mut body: Incoming, ticket: &Ticket) -> Result<String, Answer> {
        let most = self.bounds.code;
        let too_long =
            || plain(StatusCode::PAYLOAD_TOO_LARGE, format!("the code is longer than {most} bytes\n"));
        if body.size_hint().lower() > most as u64 {
            return Err(too_long());
        }
        let mut code = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(malformed)?;
            // Trailers say nothing about the code.
            let Ok(data) = frame.into_data() else { continue };
            if code.len() + data.len() > most {
                return Err(too_long());
            }
            if !ticket.hold(code.len() + data.len()) {
                return Err(busy("there is no room for the code\n"));
            }
            code.extend_from_slice(&data);
        }
        String::from_utf8(code).map_err(|_| plain(StatusCode::BAD_REQUEST, "expected code in UTF-8\n"))
    }
}

/// Refuses what others between the client and us could understand otherwise (RFC 9112, sections 3.2 and 6.1).
fn check_head(version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || hosts == 0 && version == Version::HTTP_11 {
        return Err("expected one header `host`\n");
    }
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        // Beside a length, which hyper removes, it counts, and the connection ends with the request.
        (Some(one), None) if one.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err("expected `chunked` as the only transfer encoding\n"),
    }
}

fn malformed(error: impl Display) -> Answer {
    plain(StatusCode::BAD_REQUEST, format!("malformed request: {error}\n"))
}

fn busy(reason: &'static str) -> Answer {
    let mut full = plain(StatusCode::SERVICE_UNAVAILABLE, reason);
    full.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    full
}

fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response
}
