//! The `config` of an http-sink in flumen.toml.

use std::collections::BTreeMap;

use flumen_sdk::units::{ByteSize, Span};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to, `http://` or `https://`; its origin must be granted (`grant.http`).
    pub url: String,
    #[serde(default)]
    pub method: Method,
    #[serde(default)]
    pub format: Format,
    #[serde(default)]
    pub batch: Batching,
    /// Further headers of each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Sent as `Authorization: Bearer ...`.
    pub bearer: Option<String>,
    /// Name of a field that is put first into each object: `topic-partition-offset`, by which the
    /// service can tell a record that it has already.
    pub id_field: Option<String>,
    /// What becomes of a record without a value.
    #[serde(default)]
    pub tombstones: Tombstones,
    /// How long a request may take.
    #[serde(default = "timeout")]
    #[schemars(default)]
    pub timeout: Option<Span>,
    /// Statuses by which the service refuses the records themselves. A request that is refused so is
    /// halved until the records at fault are found. Any other status than 2xx is tried again.
    #[serde(default = "reject")]
    pub reject: Vec<u16>,
}

fn timeout() -> Option<Span> {
    Some(Span(std::time::Duration::from_secs(30)))
}

fn reject() -> Vec<u16> {
    vec![400, 413, 422]
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
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `[{...},{...}]`, as application/json.
    #[default]
    JsonArray,
    /// A record a line, as application/x-ndjson.
    Ndjson,
    /// A request for each record, its value as it is.
    Single,
}

/// A request is closed at whichever comes first. By age it is closed by the host: what it hands over
/// at once is posted at once, after 100 ms at the latest.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    pub records: u32,
    pub bytes: ByteSize,
}

impl Default for Batching {
    fn default() -> Self {
        Batching { records: 1000, bytes: ByteSize(1 << 20) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tombstones {
    /// Left out.
    #[default]
    Skip,
    /// Sent as `null`.
    Null,
}
