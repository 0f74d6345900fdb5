//! How a request gets out: `wasi:http` in the plugin, anything in a test.

use std::time::{Duration, Instant};

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub method: &'static str,
    pub https: bool,
    pub authority: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// From the connection to the answer.
    pub timeout: Duration,
}

/// What comes back; of the body only the beginning, for a person to read, and none where all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub retry_after: Option<String>,
    /// The service's own clock, which its Retry-After may refer to.
    pub date: Option<String>,
    pub body: Vec<u8>,
}

/// Why nothing came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The host does not allow it.
    Denied,
    /// Unreachable, cut off, too slow.
    Failed(String),
}

/// A way to a service.
pub trait Transport {
    /// Waits for the answer, and no longer than the request allows.
    fn send(&mut self, request: &Request) -> Result<Response, NoAnswer>;

    fn now(&self) -> Instant {
        Instant::now()
    }
}

/// The host's `wasi:http`.
#[derive(Debug, Default)]
pub struct Wasi;

#[cfg(not(target_family = "wasm"))]
impl Transport for Wasi {
    fn send(&mut self, _: &Request) -> Result<Response, NoAnswer> {
        Err(NoAnswer::Failed("there is no wasi:http outside of a host".to_owned()))
    }
}

#[cfg(target_family = "wasm")]
mod wasi {
    use std::time::Duration;

    use wasip2::clocks::monotonic_clock::subscribe_duration;
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{
        ErrorCode, Headers, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest,
        RequestOptions, Scheme,
    };
    use wasip2::io::poll::{Pollable, poll};
    use wasip2::io::streams::StreamError;

    use super::{NoAnswer, Request, Response, Transport, Wasi};

    /// Of an answer's body.
    const BODY_BYTES_MAX: u64 = 1024;
    const BODY_WAIT: Duration = Duration::from_secs(1);
    const TOO_LATE: &str = "no answer in time";

    impl Transport for Wasi {
        fn send(&mut self, request: &Request) -> Result<Response, NoAnswer> {
            let outgoing = outgoing(request)?;
            let body = outgoing.body().map_err(|()| failed("no body can be written"))?;
            let options = RequestOptions::new();
            let timeout = nanos(request.timeout);
            // A host that knows no timeouts has its own; each of them is of a part, the timer of the whole.
            let _ = options.set_connect_timeout(Some(timeout));
            let _ = options.set_first_byte_timeout(Some(timeout));
            let _ = options.set_between_bytes_timeout(Some(timeout));
            let timer = subscribe_duration(timeout);
            let answer = handle(outgoing, Some(options)).map_err(no_answer)?;
            let written = write(body, &request.body, &timer);
            if !wait(&answer.subscribe(), &[&timer]) {
                return Err(NoAnswer::Failed(TOO_LATE.to_owned()));
            }
            let answer = answer.get().and_then(Result::ok).ok_or_else(|| failed("no answer"))?;
            match (answer, written) {
                // An answer may come before all is written, and says more than the broken stream.
                (Ok(response), _) => Ok(read(&response, &timer)),
                (Err(code), Ok(())) | (Err(code @ ErrorCode::HttpRequestDenied), _) => Err(no_answer(code)),
                (Err(code), Err(broken)) => Err(NoAnswer::Failed(format!("{broken}; {}", name(&code)))),
            }
        }
    }

    fn nanos(time: Duration) -> u64 {
        u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether it is ready before one of the timers is.
    fn wait(ready: &Pollable, timers: &[&Pollable]) -> bool {
        let all: Vec<&Pollable> = [ready].into_iter().chain(timers.iter().copied()).collect();
        poll(&all).contains(&0)
    }

    fn outgoing(request: &Request) -> Result<OutgoingRequest, NoAnswer> {
        let headers = Headers::new();
        for (name, value) in &request.headers {
            headers
                .append(name, value.as_bytes())
                .map_err(|error| NoAnswer::Failed(format!("header {name:?}: {error:?}")))?;
        }
        let outgoing = OutgoingRequest::new(headers);
        let method = match request.method {
            "PUT" => Method::Put,
            "PATCH" => Method::Patch,
            _ => Method::Post,
        };
        let scheme = if request.https { Scheme::Https } else { Scheme::Http };
        outgoing.set_method(&method).map_err(|()| failed("the method"))?;
        outgoing.set_scheme(Some(&scheme)).map_err(|()| failed("the scheme"))?;
        outgoing.set_authority(Some(&request.authority)).map_err(|()| failed("the host's name"))?;
        outgoing.set_path_with_query(Some(&request.path)).map_err(|()| failed("the path"))?;
        Ok(outgoing)
    }

    fn write(body: OutgoingBody, bytes: &[u8], timer: &Pollable) -> Result<(), String> {
        let stream = body.write().map_err(|()| "its body cannot be written".to_owned())?;
        let ready = stream.subscribe();
        let mut left = bytes;
        let sent = loop {
            if left.is_empty() {
                break stream.flush();
            }
            match stream.check_write() {
                Ok(0) if wait(&ready, &[timer]) => {}
                Ok(0) => return Err("its body is not taken in time".to_owned()),
                Ok(room) => {
                    let now = left.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                    if let Err(error) = stream.write(&left[..now]) {
                        break Err(error);
                    }
                    left = &left[now..];
                }
                Err(error) => break Err(error),
            }
        };
        drop(ready);
        drop(stream);
        sent.map_err(|error| match error {
            StreamError::Closed => "the connection was closed".to_owned(),
            StreamError::LastOperationFailed(error) => error.to_debug_string(),
        })?;
        OutgoingBody::finish(body, None).map_err(|code| name(&code))
    }

    fn read(response: &IncomingResponse, timer: &Pollable) -> Response {
        let headers = response.headers();
        let header = |name: &str| {
            let value = headers.get(name).into_iter().next()?;
            String::from_utf8(value).ok()
        };
        let (retry_after, date) = (header("retry-after"), header("date"));
        drop(headers);
        let status = response.status();
        // What has been delivered is delivered, however its body goes on.
        let body = match status {
            200..=299 => Vec::new(),
            _ => response.consume().map(|body| beginning(&body, timer)).unwrap_or_default(),
        };
        Response { status, retry_after, date, body }
    }

    fn beginning(body: &IncomingBody, timer: &Pollable) -> Vec<u8> {
        let Ok(stream) = body.stream() else { return Vec::new() };
        let ready = stream.subscribe();
        let patience = subscribe_duration(nanos(BODY_WAIT));
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < BODY_BYTES_MAX && wait(&ready, &[timer, &patience]) {
            match stream.read(BODY_BYTES_MAX - bytes.len() as u64) {
                Ok(more) => bytes.extend(more),
                Err(_) => break,
            }
        }
        bytes
    }

    fn failed(what: &str) -> NoAnswer {
        NoAnswer::Failed(format!("the host refuses {what}"))
    }

    fn no_answer(code: ErrorCode) -> NoAnswer {
        match code {
            ErrorCode::HttpRequestDenied => NoAnswer::Denied,
            other => NoAnswer::Failed(name(&other)),
        }
    }

    fn name(code: &ErrorCode) -> String {
        match code {
            ErrorCode::ConnectionRefused => "connection refused".to_owned(),
            ErrorCode::ConnectionTimeout => "no connection in time".to_owned(),
            ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => TOO_LATE.to_owned(),
            ErrorCode::ConnectionTerminated => "the connection was closed".to_owned(),
            ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => "its name cannot be resolved".to_owned(),
            ErrorCode::InternalError(Some(message)) => message.clone(),
            other => format!("{other:?}"),
        }
    }
}
