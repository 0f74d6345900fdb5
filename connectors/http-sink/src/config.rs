//! What a person may say about the service.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen_sdk::units::{ByteSize, Span};
use flumen_sdk::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// What `limits.call` is where nothing is said; what it is, a plugin is not told.
const CALL_DEFAULT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `http://` or `https://`; its origin must be granted. `{topic}` in its path stands for the topic.
    pub url: String,
    #[serde(default)]
    pub method: Method,
    #[serde(default)]
    pub format: Format,
    /// Sends each record as `{"id","topic","partition","offset","timestamp","key","value"}` instead of
    /// its value alone; the id tells records apart for a receiver that must not take one twice.
    #[serde(default)]
    pub envelope: bool,
    /// More headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Sent as `Authorization: Bearer …`. Write anything here, and give the token by the environment:
    /// `FLUMEN_SINKS_NAME_CONFIG_BEARER`.
    pub bearer: Option<String>,
    /// Limits of one request. A batch of the log is cut to them; the pump decides how old one gets.
    #[serde(default)]
    pub batch: BatchLimits,
    /// How long one request may take, from the connection to the answer. A call takes up to twice as long, which
    /// must be less than the sink's `limits.call`.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// Answers of 4xx after which the same request is sent again later, as after every 3xx and 5xx. Any other 4xx
    /// rejects the record.
    #[serde(default = "retry_statuses")]
    pub retry_statuses: Vec<u16>,
    /// Answers that reject the record, whatever is said of them above.
    #[serde(default)]
    pub reject_statuses: Vec<u16>,
    /// What is done where 8 records or more are refused one by one with the same status, and none is taken.
    #[serde(default)]
    pub all_refused: AllRefused,
    /// What a record without a value does.
    #[serde(default)]
    pub tombstones: Tombstones,
    /// The header that carries `topic-partition-first..last` offset; empty: none.
    #[serde(default = "idempotency_key")]
    pub idempotency_header: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A JSON array of records.
    #[default]
    Json,
    /// A JSON value a line.
    Ndjson,
    /// A request a record, its body the value as it is.
    Single,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tombstones {
    #[default]
    Skip,
    /// Sent as null.
    Null,
    Reject,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllRefused {
    /// It is the service that is at fault: they are sent again later.
    #[default]
    Retry,
    Reject,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BatchLimits {
    #[schemars(range(min = 1))]
    pub records: usize,
    pub bytes: ByteSize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        BatchLimits { records: 500, bytes: ByteSize(1 << 20) }
    }
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

/// What a person can mend, and what time does: never the record's fault. What is left (400, 409, 413, 422 and
/// rarer ones) may be.
fn retry_statuses() -> Vec<u16> {
    vec![
        401, 402, 403, 404, 405, 406, 407, 408, 410, 411, 414, 415, 417, 421, 423, 424, 425, 426, 428, 429,
        431, 451,
    ]
}

fn idempotency_key() -> String {
    "Idempotency-Key".to_owned()
}

/// What an answer means for the records of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// It is no record's fault.
    Later,
    /// One of them, or several, cannot be taken.
    Refused,
}

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) https: bool,
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Config {
    pub(crate) fn target(&self) -> Result<Target> {
        let wrong = |what: &str| Error::fatal(format_args!("url = {:?}: {what}", self.url));
        let (https, rest) = match (self.url.strip_prefix("https://"), self.url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(wrong("expected http:// or https://")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() || authority.contains(['@', '{', ' ']) {
            return Err(wrong("expected a host, without user or password (give `bearer` or `headers`)"));
        }
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if path.contains([' ', '\r', '\n']) {
            return Err(wrong("its path has a blank in it; write %20"));
        }
        Ok(Target { https, authority: authority.to_owned(), path })
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.batch.records == 0 {
            return Err(Error::fatal("batch.records = 0 leaves nothing to send"));
        }
        if self.timeout.0.is_zero() {
            return Err(Error::fatal("timeout = 0 leaves no time for an answer"));
        }
        let statuses = || self.retry_statuses.iter().chain(&self.reject_statuses);
        if let Some(status) = statuses().find(|status| !(300..600).contains(*status)) {
            return Err(Error::fatal(format_args!(
                "retry_statuses, reject_statuses: {status} is none of 300 to 599"
            )));
        }
        let broken = |text: &str| text.bytes().any(|byte| byte < 0x20 || byte == 0x7f);
        let named = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        for (name, value) in &self.headers {
            if !named(name) || broken(value) {
                return Err(Error::fatal(format_args!("headers: {name:?} cannot be a header")));
            }
        }
        if self.bearer.as_deref().is_some_and(broken) {
            return Err(Error::fatal("bearer: it has a line end or another control character in it"));
        }
        if !self.idempotency_header.is_empty() && !named(&self.idempotency_header) {
            return Err(Error::fatal(format_args!(
                "idempotency_header = {:?} cannot be a header",
                self.idempotency_header
            )));
        }
        Ok(())
    }

    /// What is allowed, and likely a mistake.
    pub(crate) fn doubt(&self) -> Option<String> {
        let call = 2 * self.timeout.0;
        (call >= CALL_DEFAULT).then(|| {
            format!("timeout: a call may take {} s, and the sink's limits.call must be more", call.as_secs())
        })
    }

    pub(crate) fn verdict(&self, status: u16) -> Verdict {
        match status {
            200..=299 => Verdict::Delivered,
            _ if self.reject_statuses.contains(&status) => Verdict::Refused,
            400..=499 if !self.retry_statuses.contains(&status) => Verdict::Refused,
            // Redirects are not followed: the file names the wrong address.
            _ => Verdict::Later,
        }
    }
}
