//! The sink: sends each batch in as many requests as it takes, and makes of each answer what it means
//! for the records.
//!
//! A batch that fails half way is written again by the host. What of it has been delivered is remembered
//! until then, so that only the rest is sent; after a crash the idempotency keys are what is left.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_sdk::{Batch, Error, Need, Plugin, Rejections, Result, Setup, Sink, metrics};

use crate::config::{Config, Format, Method, Target};
use crate::request::Pieces;
use crate::retry_after;
use crate::transport::{NoAnswer, Request, Response, Transport, Wasi};

pub struct HttpSink {
    config: Config,
    target: Target,
    transport: Box<dyn Transport>,
    interrupted: Option<Interrupted>,
}

/// A batch that will be written again.
struct Interrupted {
    topic: String,
    partition: u32,
    base_offset: i64,
    count: u32,
    /// Offsets before this one have been delivered, or rejected.
    next_offset: i64,
    rejected: Rejections,
}

impl Plugin for HttpSink {
    type Config = Config;

    const NEEDS: &'static [Need] = &[Need::Http];

    fn new(config: Config, _: &Setup) -> Result<Self> {
        config.check()?;
        Ok(HttpSink { target: config.target()?, config, transport: Box::new(Wasi), interrupted: None })
    }
}

impl Sink for HttpSink {
    fn write(&mut self, batch: &Batch<'_>) -> Result<Rejections> {
        let mut rejected = Rejections::new();
        let pieces = Pieces::of(batch, &self.config, &mut rejected);
        let mut next_offset = batch.base_offset;
        if let Some(before) = self.interrupted.take().filter(|before| before.is_of(batch)) {
            rejected = before.rejected;
            next_offset = before.next_offset;
        }
        for run in pieces.cut(&self.config) {
            if let Err(error) = self.deliver(batch, &pieces, run, &mut next_offset, &mut rejected) {
                if matches!(error, Error::Retry { .. }) && next_offset > batch.base_offset {
                    self.interrupted = Some(Interrupted::at(batch, next_offset, rejected));
                }
                return Err(error);
            }
        }
        Ok(rejected)
    }
}

impl Interrupted {
    fn at(batch: &Batch<'_>, next_offset: i64, rejected: Rejections) -> Self {
        Interrupted {
            topic: batch.topic.to_owned(),
            partition: batch.partition,
            base_offset: batch.base_offset,
            count: batch.count,
            next_offset,
            rejected,
        }
    }

    fn is_of(&self, batch: &Batch<'_>) -> bool {
        (self.topic.as_str(), self.partition, self.base_offset, self.count)
            == (batch.topic, batch.partition, batch.base_offset, batch.count)
    }
}

impl HttpSink {
    /// With another way out than the host's, for tests.
    pub fn over(config: &str, transport: Box<dyn Transport>) -> Result<Self> {
        let config = serde_json::from_str(config).map_err(Error::fatal)?;
        Ok(HttpSink { transport, ..HttpSink::new(config, &Setup::default())? })
    }

    /// Sends a run. One that the service refuses is sent again by halves, until it is known which records
    /// it refuses.
    fn deliver(
        &mut self,
        batch: &Batch<'_>,
        pieces: &Pieces,
        run: Range<usize>,
        next_offset: &mut i64,
        rejected: &mut Rejections,
    ) -> Result<()> {
        let delivered = pieces.list[run.clone()].iter().take_while(|piece| piece.offset < *next_offset);
        let run = run.start + delivered.count()..run.end;
        let (Some(first), Some(last)) = (pieces.list[run.clone()].first(), pieces.list[run.clone()].last())
        else {
            return Ok(());
        };
        let request =
            self.request(batch, first.offset, last.offset, pieces.body(run.clone(), self.config.format));
        let response = match self.transport.send(&request) {
            Ok(response) => response,
            Err(NoAnswer::Denied) => {
                return Err(Error::fatal(format_args!(
                    "{} is not granted: add it to the sink's grant.http",
                    self.origin()
                )));
            }
            Err(NoAnswer::Failed(reason)) => {
                return Err(Error::retry(format_args!("{}: {reason}", self.origin())));
            }
        };
        metrics::counter("requests", 1);
        match response.status {
            200..=299 => *next_offset = last.offset + 1,
            status if self.config.is_retried(status) => return Err(self.later(&response)),
            _ if run.len() == 1 => {
                rejected.push(first.position, self.refusal(&response));
                *next_offset = last.offset + 1;
            }
            _ => {
                let middle = run.start + run.len() / 2;
                self.deliver(batch, pieces, run.start..middle, next_offset, rejected)?;
                self.deliver(batch, pieces, middle..run.end, next_offset, rejected)?;
            }
        }
        Ok(())
    }

    fn request(&self, batch: &Batch<'_>, first: i64, last: i64, body: Vec<u8>) -> Request {
        let content_type = match self.config.format {
            Format::Ndjson => "application/x-ndjson",
            Format::Json | Format::Single => "application/json",
        };
        let mut headers = vec![(
            "user-agent".to_owned(),
            concat!("flumen-http-sink/", env!("CARGO_PKG_VERSION")).to_owned(),
        )];
        let is_set = |name: &str| self.config.headers.keys().any(|key| key.eq_ignore_ascii_case(name));
        if !is_set("content-type") {
            headers.push(("content-type".to_owned(), content_type.to_owned()));
        }
        if let Some(token) = &self.config.bearer {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        if !self.config.idempotency_header.is_empty() {
            let key = format!("{}-{}-{first}..{last}", batch.topic, batch.partition);
            headers.push((self.config.idempotency_header.clone(), key));
        }
        headers.push(("content-length".to_owned(), body.len().to_string()));
        headers.extend(self.config.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        Request {
            method: match self.config.method {
                Method::Post => "POST",
                Method::Put => "PUT",
                Method::Patch => "PATCH",
            },
            https: self.target.https,
            authority: self.target.authority.clone(),
            path: self.target.path.replace("{topic}", batch.topic),
            headers,
            body,
            timeout: self.config.timeout.0,
        }
    }

    fn later(&self, response: &Response) -> Error {
        let now_ms = response.date.as_deref().and_then(retry_after::http_date).unwrap_or_else(now_ms);
        let after: Option<Duration> =
            response.retry_after.as_deref().and_then(|value| retry_after::parse(value, now_ms));
        Error::Retry { reason: self.refusal(response), after }
    }

    fn refusal(&self, response: &Response) -> String {
        let body = String::from_utf8_lossy(&response.body);
        let shown: String = body.trim().chars().take(200).collect();
        let colon = if shown.is_empty() { "" } else { ": " };
        format!("{} answered {}{colon}{shown}", self.origin(), response.status)
    }

    fn origin(&self) -> String {
        let scheme = if self.target.https { "https" } else { "http" };
        format!("{scheme}://{}", self.target.authority)
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
