//! Splits a batch into requests, posts them in order, and sorts what comes back.
//!
//! Invariants: records of a partition are posted in order; a request is posted only when the one before
//! it has been answered. What was delivered before a retry is not posted again by the same instance.

use std::collections::HashMap;
use std::time::Duration;

use flumen_sdk::{Batch, Error, Need, Plugin, RecordRef, Rejections, Result, Setup, Sink, json};

use crate::config::{Config, Format, Tombstones};
use crate::request::{Answer, Request, Transport};

pub struct HttpSink<T> {
    config: Config,
    transport: T,
    /// By topic and partition: everything below was delivered.
    delivered: HashMap<(String, u32), i64>,
}

impl<T: Transport> Plugin for HttpSink<T> {
    type Config = Config;
    const NEEDS: &'static [Need] = &[Need::Http];

    fn new(config: Config, _: &Setup) -> Result<Self> {
        if !config.url.starts_with("http://") && !config.url.starts_with("https://") {
            return Err(Error::fatal(format_args!(
                "url {:?} begins with neither http:// nor https://",
                config.url
            )));
        }
        if config.batch.records == 0 {
            return Err(Error::fatal("batch.records = 0: a request needs one record at least"));
        }
        Ok(HttpSink { config, transport: T::default(), delivered: HashMap::new() })
    }
}

/// A record as it will stand in a body.
struct Ready {
    position: u32,
    offset: i64,
    json: Vec<u8>,
}

impl<T: Transport> Sink for HttpSink<T> {
    fn write(&mut self, batch: &Batch<'_>) -> Result<Rejections> {
        let place = (batch.topic.to_owned(), batch.partition);
        let delivered = self.delivered.get(&place).copied().unwrap_or(i64::MIN);
        let mut rejections = Rejections::new();
        let mut ready = Vec::new();
        for record in batch.records().filter(|record| record.offset() >= delivered) {
            match self.ready(batch, &record) {
                Ok(Some(one)) => ready.push(one),
                Ok(None) => {}
                Err(error) => rejections.push(record.position(), error),
            }
        }
        let mut rest = &ready[..];
        while !rest.is_empty() {
            let (request, after) = rest.split_at(self.take(rest));
            self.deliver(batch, request, &mut rejections)?;
            if let Some(last) = request.last() {
                self.delivered.insert(place.clone(), last.offset + 1);
            }
            rest = after;
        }
        Ok(rejections)
    }
}

impl<T: Transport> HttpSink<T> {
    /// None: nothing is to be sent for it.
    fn ready(&self, batch: &Batch<'_>, record: &RecordRef<'_>) -> Result<Option<Ready>> {
        let json = match (record.value(), self.config.tombstones) {
            (None, Tombstones::Skip) => return Ok(None),
            (None, Tombstones::Null) => b"null".to_vec(),
            (Some(value), _) if self.config.format == Format::Single => value.to_vec(),
            (Some(value), _) => self.checked(batch, record, value)?,
        };
        Ok(Some(Ready { position: record.position(), offset: record.offset(), json }))
    }

    /// The value as one line of JSON, with its id in front where one is asked for.
    fn checked(&self, batch: &Batch<'_>, record: &RecordRef<'_>, value: &[u8]) -> Result<Vec<u8>> {
        let text = std::str::from_utf8(value)?;
        let raw = json::value(text)
            .map_err(|wrong| Error::reject(format_args!("the value is not JSON: {wrong}")))?;
        let mut line = Vec::with_capacity(value.len() + 40);
        match (&self.config.id_field, raw.json().strip_prefix('{')) {
            (Some(field), Some(inside)) => {
                line.push(b'{');
                json::write_text(&mut line, field);
                line.push(b':');
                json::write_text(&mut line, &id(batch, record.offset()));
                if !inside.trim_start().starts_with('}') {
                    line.push(b',');
                }
                line.extend_from_slice(inside.as_bytes());
            }
            _ => line.extend_from_slice(raw.json().as_bytes()),
        }
        // Between tokens a line end is as good as a blank; inside a string JSON allows none.
        line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
        Ok(line)
    }

    /// How many records go into the next request: one at least.
    fn take(&self, ready: &[Ready]) -> usize {
        if self.config.format == Format::Single {
            return 1;
        }
        let mut bytes = 2;
        let fits = ready.iter().take(self.config.batch.records as usize).take_while(|one| {
            bytes += one.json.len() as u64 + 1;
            bytes <= self.config.batch.bytes.0
        });
        fits.count().max(1)
    }

    /// Posts; a request that is refused for its records is halved until the ones at fault are found.
    fn deliver(&mut self, batch: &Batch<'_>, records: &[Ready], rejections: &mut Rejections) -> Result<()> {
        let request = request(&self.config, batch, records);
        let sent = self.transport.send(&request);
        let answer = sent.map_err(|why| Error::retry(format_args!("{}: {why}", self.config.url)))?;
        if (200..300).contains(&answer.status) {
            return Ok(());
        }
        if !self.config.reject.contains(&answer.status) {
            return Err(self.later(&answer));
        }
        match records {
            [one] => {
                rejections.push(one.position, format_args!("the service answered {}", told(&answer)));
                Ok(())
            }
            _ => {
                let (front, back) = records.split_at(records.len() / 2);
                self.deliver(batch, front, rejections)?;
                self.deliver(batch, back, rejections)
            }
        }
    }

    /// The service is at fault, or the url: neither fills a dead-letter topic.
    fn later(&self, answer: &Answer) -> Error {
        let reason = format!("{} answered {}", self.config.url, told(answer));
        match answer.retry_after.as_deref().and_then(|after| self.wait(after)) {
            Some(after) => Error::retry_after(reason, after),
            None => Error::retry(reason),
        }
    }

    /// Retry-After is seconds or a date (RFC 9110, 10.2.3).
    fn wait(&self, after: &str) -> Option<Duration> {
        if let Ok(seconds) = after.trim().parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let date = httpdate::parse_http_date(after.trim()).ok()?;
        let then = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        let now = Duration::from_millis(u64::try_from(self.transport.now_ms()).ok()?);
        Some(then.saturating_sub(now))
    }
}

fn request<'c>(config: &'c Config, batch: &Batch<'_>, records: &[Ready]) -> Request<'c> {
    let media = match config.format {
        Format::Ndjson => "application/x-ndjson",
        Format::JsonArray | Format::Single => "application/json",
    };
    let mut headers = vec![
        ("content-type".to_owned(), media.to_owned()),
        ("idempotency-key".to_owned(), key(batch, records)),
    ];
    if let Some(bearer) = &config.bearer {
        headers.push(("authorization".to_owned(), format!("Bearer {bearer}")));
    }
    for (name, value) in &config.headers {
        headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        headers.push((name.clone(), value.clone()));
    }
    Request {
        url: &config.url,
        method: config.method,
        headers,
        body: body(config.format, records),
        timeout: config.timeout.map(|span| span.0),
    }
}

fn id(batch: &Batch<'_>, offset: i64) -> String {
    format!("{}-{}-{offset}", batch.topic, batch.partition)
}

/// `orders-0-17` for one record, `orders-0-17..99` for several: the same records, the same key.
fn key(batch: &Batch<'_>, records: &[Ready]) -> String {
    match records {
        [] => String::new(),
        [one] => id(batch, one.offset),
        [first, .., last] => format!("{}..{}", id(batch, first.offset), last.offset),
    }
}

fn body(format: Format, records: &[Ready]) -> Vec<u8> {
    let bytes: usize = records.iter().map(|one| one.json.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes + 2);
    let (open, between, close): (&[u8], &[u8], &[u8]) = match format {
        Format::JsonArray => (b"[", b",", b"]"),
        Format::Ndjson => (b"", b"\n", b"\n"),
        Format::Single => (b"", b"", b""),
    };
    body.extend_from_slice(open);
    for (i, one) in records.iter().enumerate() {
        if i > 0 {
            body.extend_from_slice(between);
        }
        body.extend_from_slice(&one.json);
    }
    body.extend_from_slice(close);
    body
}

fn told(answer: &Answer) -> String {
    match answer.body.trim() {
        "" => answer.status.to_string(),
        said => format!("{}: {said}", answer.status),
    }
}
