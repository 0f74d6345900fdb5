//! wasi:http, blocking: one request, one answer.

use wasip2::clocks::wall_clock;
use wasip2::http::outgoing_handler::{self, ErrorCode};
use wasip2::http::types::{
    Fields, IncomingResponse, Method as Verb, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasip2::io::streams::StreamError;

use crate::config::Method;
use crate::request::{Answer, Request, Transport};

/// What one write to a body's stream may carry.
const CHUNK: usize = 4096;
/// How much of an answer is shown to a person.
const SHOWN: u64 = 512;

#[derive(Default)]
pub(crate) struct Wasi;

impl Transport for Wasi {
    fn send(&mut self, request: &Request<'_>) -> Result<Answer, String> {
        let outgoing = outgoing(request)?;
        let body = outgoing.body().map_err(|()| "the request's body is taken")?;
        let options = RequestOptions::new();
        let timeout = request.timeout.and_then(|timeout| u64::try_from(timeout.as_nanos()).ok());
        // A host that knows none of these goes by its own.
        options.set_connect_timeout(timeout).ok();
        options.set_first_byte_timeout(timeout).ok();
        options.set_between_bytes_timeout(timeout).ok();
        let coming = outgoing_handler::handle(outgoing, Some(options)).map_err(said)?;
        // A service that answers before it has read all closes its end: the answer says more than that.
        let written = write(body, &request.body);
        coming.subscribe().block();
        match coming.get() {
            Some(Ok(Ok(response))) => Ok(answer(response)),
            Some(Ok(Err(code))) => Err(written.err().unwrap_or_else(|| said(code))),
            _ => Err("there is no answer".into()),
        }
    }

    fn now_ms(&self) -> i64 {
        let now = wall_clock::now();
        (now.seconds as i64) * 1000 + i64::from(now.nanoseconds / 1_000_000)
    }
}

fn outgoing(request: &Request<'_>) -> Result<OutgoingRequest, String> {
    let headers = Fields::new();
    for (name, value) in &request.headers {
        headers.append(name, value.as_bytes()).map_err(|e| format!("header {name}: {e:?}"))?;
    }
    headers.append("content-length", request.body.len().to_string().as_bytes()).ok();
    let outgoing = OutgoingRequest::new(headers);
    let (scheme, rest) = match request.url.strip_prefix("https://") {
        Some(rest) => (Scheme::Https, rest),
        None => (Scheme::Http, request.url.strip_prefix("http://").unwrap_or(request.url)),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let verb = match request.method {
        Method::Post => Verb::Post,
        Method::Put => Verb::Put,
        Method::Patch => Verb::Patch,
    };
    let wrong = |()| format!("{} is no URL", request.url);
    outgoing.set_method(&verb).map_err(wrong)?;
    outgoing.set_scheme(Some(&scheme)).map_err(wrong)?;
    outgoing.set_authority(Some(authority)).map_err(wrong)?;
    outgoing.set_path_with_query(Some(&path)).map_err(wrong)?;
    Ok(outgoing)
}

fn write(body: OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    let stream = body.write().map_err(|()| "the body's stream is taken")?;
    for chunk in bytes.chunks(CHUNK) {
        stream.blocking_write_and_flush(chunk).map_err(|e| match e {
            StreamError::Closed => "the connection was closed while the request was sent".to_owned(),
            StreamError::LastOperationFailed(e) => e.to_debug_string(),
        })?;
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(said)
}

fn answer(response: IncomingResponse) -> Answer {
    let retry_after = response.headers().get("retry-after").into_iter().next();
    Answer {
        status: response.status(),
        retry_after: retry_after.map(|value| String::from_utf8_lossy(&value).into_owned()),
        body: beginning(&response),
    }
}

fn beginning(response: &IncomingResponse) -> String {
    let Ok(body) = response.consume() else { return String::new() };
    let Ok(stream) = body.stream() else { return String::new() };
    let bytes = stream.blocking_read(SHOWN).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn said(code: ErrorCode) -> String {
    match code {
        ErrorCode::ConnectionRefused => "the connection was refused".into(),
        ErrorCode::ConnectionTimeout => "connecting took too long".into(),
        ErrorCode::HttpResponseTimeout => "the answer took too long".into(),
        ErrorCode::HttpRequestDenied => "it is not granted; add its origin to grant.http".into(),
        ErrorCode::DnsError(_) => "the host's name is not known".into(),
        ErrorCode::InternalError(Some(text)) => text,
        other => format!("{other:?}"),
    }
}
