//! Keeps a record by the first byte of its value: what is left is what a call costs.

use flumen_sdk::{Filter, Plugin, RecordRef, Result, Setup};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Values that begin with a byte of this remainder modulo 2 are kept; both if it is left out.
    pub parity: Option<u8>,
}

pub struct ByteFilter(Config);

impl Plugin for ByteFilter {
    type Config = Config;

    fn new(config: Config, _: &Setup) -> Result<Self> {
        Ok(ByteFilter(config))
    }
}

impl Filter for ByteFilter {
    fn keep(&mut self, record: &RecordRef<'_>) -> Result<bool> {
        let first = record.value().and_then(|value| value.first()).copied().unwrap_or_default();
        Ok(self.0.parity.is_none_or(|parity| first % 2 == parity))
    }
}

flumen_sdk::export_filter!(ByteFilter);
