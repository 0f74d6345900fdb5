//! A guest that costs itself nothing, and its host memory: what it asks for it never gives back.

#![cfg(target_family = "wasm")]

use flumen_sdk::{Error, Output, Plugin, RecordRef, Result, Setup, Transform};
use wasip2::clocks::monotonic_clock;
use wasip2::http::types::Fields;
use wasip2::random::random;

#[derive(Clone, Copy, Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Header fields without end.
    Fields,
    /// 20 KB of header fields in one set.
    Headers,
    /// Alarms that nobody waits for.
    Alarms,
    /// 32 MiB of random bytes at a time.
    Random,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub deed: Deed,
}

pub struct Hoarder(Config);

impl Plugin for Hoarder {
    type Config = Config;

    fn new(config: Config, _: &Setup) -> Result<Self> {
        Ok(Hoarder(config))
    }
}

impl Transform for Hoarder {
    fn transform(&mut self, record: &RecordRef<'_>, out: &mut Output) -> Result<()> {
        match self.0.deed {
            Deed::Fields => loop {
                std::mem::forget(Fields::new());
            },
            Deed::Headers => {
                let fields = Fields::new();
                for n in 0..20 {
                    fields
                        .append(&format!("x-{n}"), &[b'x'; 1000])
                        .map_err(|full| Error::reject(format_args!("{full:?}")))?;
                }
            }
            Deed::Alarms => loop {
                std::mem::forget(monotonic_clock::subscribe_duration(1 << 60));
            },
            Deed::Random => {
                std::hint::black_box(random::get_random_bytes(32 << 20));
            }
        }
        out.forward(record);
        Ok(())
    }
}

flumen_sdk::export_transform!(Hoarder);
