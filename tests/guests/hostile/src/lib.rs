//! A guest that misbehaves on demand: its configuration says how.
//!
//! It goes past the SDK's own transform to the raw interface, because the SDK would not lie.

use flumen_sdk::bindings::types;
use flumen_sdk::{Batch, Output, Plugin, RecordRef, Result, Setup, Transform};

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// Nothing: passes everything on.
    Pass,
    Loop,
    /// Memory without end.
    Allocate,
    Trap,
    /// Traps on a batch in which a record has `word` in its value.
    TrapOn,
    /// Fewer records announced than there are.
    LieCountLow,
    LieCountHigh,
    /// A record that says it is longer than the bytes there are.
    LieLength,
    /// An output that was not configured.
    LieOutput,
    /// A rejection of a record that was never handed over.
    LieRejected,
    Recurse,
    /// 1 GiB of records.
    HugeOutput,
    /// Bytes that are no records.
    Garbage,
    /// Sleeps for an hour in one call.
    Sleep,
}

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub deed: Deed,
    pub word: Option<String>,
}

pub struct Hostile(Config);

impl Plugin for Hostile {
    type Config = Config;

    fn new(config: Config, _: &Setup) -> Result<Self> {
        Ok(Hostile(config))
    }
}

impl Transform for Hostile {
    fn transform(&mut self, record: &RecordRef<'_>, out: &mut Output) -> Result<()> {
        out.forward(record);
        Ok(())
    }
}

impl Hostile {
    /// The honest answer, spoiled.
    pub fn answer(&mut self, batch: &types::Batch) -> (Vec<types::OutBatch>, Vec<types::Rejected>) {
        let mut out = types::OutBatch {
            output: 0,
            partition: None,
            base_timestamp: batch.base_timestamp,
            count: batch.count,
            records: self.renumbered(batch),
        };
        let mut rejected = Vec::new();
        match self.0.deed {
            Deed::Pass => {}
            Deed::Loop => spin(),
            Deed::Allocate => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            Deed::Trap => std::process::abort(),
            Deed::TrapOn => {
                let word = self.0.word.as_deref().unwrap_or_default().as_bytes();
                let found = |bytes: &[u8]| !word.is_empty() && bytes.windows(word.len()).any(|w| w == word);
                if found(&batch.records) {
                    std::process::abort();
                }
            }
            Deed::LieCountLow => out.count = out.count.saturating_sub(1),
            Deed::LieCountHigh => out.count = u32::MAX,
            Deed::LieLength => {
                // The length of the first record, as a varint of five bytes that says 2^31 - 2.
                out.records.splice(0..1, [0xfc, 0xff, 0xff, 0xff, 0x0f]);
            }
            Deed::LieOutput => out.output = 4_000_000,
            Deed::LieRejected => {
                rejected.push(types::Rejected { index: batch.count + 7, reason: "lie".into() })
            }
            Deed::Recurse => {
                std::hint::black_box(dig(1));
            }
            Deed::HugeOutput => out.records = vec![0; 1 << 30],
            Deed::Garbage => out.records = vec![0xff; 1000],
            Deed::Sleep => std::thread::sleep(std::time::Duration::from_secs(3600)),
        }
        (vec![out], rejected)
    }

    fn renumbered(&mut self, batch: &types::Batch) -> Vec<u8> {
        let lent = Batch {
            topic: &batch.topic,
            partition: batch.partition,
            base_offset: batch.base_offset,
            base_timestamp: batch.base_timestamp,
            append_timestamp: batch.append_timestamp,
            count: batch.count,
            records: &batch.records,
        };
        let Ok((out, _)) = flumen_sdk::transform::run(self, &lent) else { return Vec::new() };
        out.into_batches().pop().map(|made| made.records).unwrap_or_default()
    }
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

#[allow(unconditional_recursion)] // It is what this guest is for.
fn dig(depth: u64) -> u64 {
    let here = [depth; 32];
    std::hint::black_box(&here);
    dig(depth + 1) + std::hint::black_box(here[31])
}

flumen_sdk::__export! { Hostile as Transform, Hostile, ::core::result::Result::Ok, transform => {
    fn process(
        batch: types::Batch,
    ) -> ::core::result::Result<
        flumen_sdk::bindings::transform::exports::flumen::plugin::transform::Processed,
        types::Error,
    > {
        with(|plugin| {
            let (batches, rejected) = plugin.answer(&batch);
            ::core::result::Result::Ok(flumen_sdk::bindings::transform::exports::flumen::plugin::transform::Processed {
                batches,
                rejected,
            })
        })
    }
} }
