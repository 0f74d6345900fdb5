//! The sink: sends each batch in as many requests as it takes, and makes of each answer what it means
//! for the records.
//!
//! A batch that fails half way is written again by the host. What of it has been delivered is remembered
//! until then, so that only the rest is sent, in the same requests; after a crash the idempotency keys are
//! what is left. That is why a call gives up well before the host's deadline, which would be such a crash.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flumen_sdk::{Batch, Error, Need, Plugin, Rejections, Result, Setup, Sink, metrics};

use crate::config::{AllRefused, Config, Format, Method, Target, Verdict};
use crate::progress::Progress;
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
    /// Of its records, those that are sent.
    pieces: usize,
    progress: Progress,
}

impl Plugin for HttpSink {
    type Config = Config;

    const NEEDS: &'static [Need] = &[Need::Http];

    fn new(config: Config, _: &Setup) -> Result<Self> {
        config.check()?;
        if let Some(doubt) = config.doubt() {
            flumen_sdk::warn!("{doubt}");
        }
        Ok(HttpSink { target: config.target()?, config, transport: Box::new(Wasi), interrupted: None })
    }
}

impl Sink for HttpSink {
    fn write(&mut self, batch: &Batch<'_>) -> Result<Rejections> {
        let mut rejected = Rejections::new();
        let pieces = Pieces::of(batch, &self.config, &mut rejected);
        let before = self.interrupted.take().filter(|before| before.is_of(batch, &pieces));
        let mut progress = match before {
            Some(before) => before.progress,
            None => Progress::of(pieces.cut(&self.config)),
        };
        if let Err(error) = self.deliver(batch, &pieces, &mut progress) {
            self.interrupted = Some(Interrupted::at(batch, &pieces, progress));
            return Err(error);
        }
        for refused in progress.into_rejected() {
            rejected.push(pieces.list[refused.piece].position, refused.reason);
        }
        Ok(rejected)
    }
}

impl Interrupted {
    fn at(batch: &Batch<'_>, pieces: &Pieces, progress: Progress) -> Self {
        let topic = batch.topic.to_owned();
        let Batch { partition, base_offset, count, .. } = *batch;
        Interrupted { topic, partition, base_offset, count, pieces: pieces.list.len(), progress }
    }

    fn is_of(&self, batch: &Batch<'_>, pieces: &Pieces) -> bool {
        // A topic may have been made anew in between, with other records at the same offsets.
        self.pieces == pieces.list.len()
            && (self.topic.as_str(), self.partition, self.base_offset, self.count)
                == (batch.topic, batch.partition, batch.base_offset, batch.count)
    }
}

impl HttpSink {
    /// With another way out than the host's, for tests.
    pub fn over(config: &str, transport: Box<dyn Transport>) -> Result<Self> {
        let config = serde_json::from_str(config).map_err(Error::fatal)?;
        Ok(HttpSink { transport, ..HttpSink::new(config, &Setup::default())? })
    }

    /// Sends all that is left, as far as the time allows: a request begins within one timeout and ends within
    /// another.
    fn deliver(&mut self, batch: &Batch<'_>, pieces: &Pieces, progress: &mut Progress) -> Result<()> {
        let begun = self.transport.now();
        while let Some(run) = progress.next() {
            if self.transport.now().duration_since(begun) >= self.config.timeout.0 {
                let (left, all) = (progress.left(), pieces.list.len());
                let reason = format!("{} is slow: {left} of {all} records are left", self.origin());
                return Err(Error::retry_after(reason, Duration::ZERO));
            }
            let response = self.send(batch, pieces, run)?;
            match self.config.verdict(response.status) {
                Verdict::Delivered => progress.delivered(),
                Verdict::Later => return Err(self.later(&response)),
                Verdict::Refused => progress.refused(response.status, self.refusal(&response)),
            }
            if self.config.all_refused == AllRefused::Retry
                && let Some((refused, count)) = progress.take_back()
            {
                return Err(Error::retry(format_args!("{} (to {count} records of {count})", refused.reason)));
            }
        }
        Ok(())
    }

    fn send(&mut self, batch: &Batch<'_>, pieces: &Pieces, run: Range<usize>) -> Result<Response> {
        let list = &pieces.list[run.clone()];
        let (first, last) = (list[0].offset, list[list.len() - 1].offset);
        let request = self.request(batch, first, last, pieces.body(run, self.config.format));
        metrics::counter("requests", 1);
        self.transport.send(&request).map_err(|no_answer| match no_answer {
            NoAnswer::Denied => Error::fatal(format_args!(
                "{} is not granted: add it to the sink's grant.http",
                self.origin()
            )),
            NoAnswer::Failed(reason) => Error::retry(format_args!("{}: {reason}", self.origin())),
        })
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
