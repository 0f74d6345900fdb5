//! Makes batches (magic 2) of what a case says.

use anyhow::{Context, Result, ensure};

use super::{CRC_END, LENGTH_AT, LENGTH_END, TIMESTAMP, codec, crc32c};
use crate::catalog::Catalog;
use crate::encode;
use crate::value::Value;
use crate::wire::Out;

/// What can be said of a batch.
const FIELDS: [&str; 19] = [
    "baseOffset",
    "length",
    "leaderEpoch",
    "magic",
    "crc",
    "attributes",
    "codec",
    "timestampType",
    "transactional",
    "control",
    "lastOffsetDelta",
    "timestamp",
    "maxTimestamp",
    "producerId",
    "producerEpoch",
    "baseSequence",
    "count",
    "packed",
    "records",
];

/// `batch(…)` or `batch{…}`.
pub fn batch(said: &Value, catalog: &Catalog) -> Result<Vec<u8>> {
    let said = Said(said);
    said.check()?;
    let records = said.records();
    let base = said.number("timestamp", TIMESTAMP)?;
    let latest = records
        .iter()
        .map(|record| timestamp(record, base))
        .try_fold(base, |latest, one| anyhow::Ok(latest.max(one?)))?;
    let codec = codec::number(&said.text("codec", "none"))?;
    let mut attributes = codec;
    attributes |= i16::from(said.text("timestampType", "create") == "append") << 3;
    attributes |= i16::from(said.flag("transactional")) << 4;
    attributes |= i16::from(said.flag("control")) << 5;

    let mut out = Out::default();
    out.put(&said.number("baseOffset", 0)?.to_be_bytes());
    out.put(&[0; 4]);
    out.put(&(said.number("leaderEpoch", -1)? as i32).to_be_bytes());
    out.put(&[said.number("magic", 2)? as u8]);
    out.put(&[0; 4]);
    out.put(&(said.number("attributes", attributes.into())? as i16).to_be_bytes());
    out.put(&(said.number("lastOffsetDelta", records.len() as i64 - 1)? as i32).to_be_bytes());
    out.put(&base.to_be_bytes());
    out.put(&said.number("maxTimestamp", latest)?.to_be_bytes());
    out.put(&said.number("producerId", -1)?.to_be_bytes());
    out.put(&(said.number("producerEpoch", -1)? as i16).to_be_bytes());
    out.put(&(said.number("baseSequence", -1)? as i32).to_be_bytes());
    out.put(&(said.number("count", records.len() as i64)? as i32).to_be_bytes());

    let mut body = Out::default();
    for (at, item) in records.iter().enumerate() {
        let record = record(item, at as i64, base, catalog).with_context(|| format!("record {at}"))?;
        body.varint(record.len() as i64);
        body.put(&record);
    }
    match said.0.get("packed") {
        Some(packed) => out.put(&encode::bytes(packed, catalog)?),
        None => out.put(&codec::pack(codec, &body.0)?),
    }

    let length = said.number("length", (out.0.len() - LENGTH_END) as i64)? as i32;
    out.0[LENGTH_AT..LENGTH_END].copy_from_slice(&length.to_be_bytes());
    let mut crc = crc32c(&out.0[CRC_END..]);
    if said.text("crc", "") == "bad" {
        crc ^= 1;
    }
    out.0[17..CRC_END].copy_from_slice(&crc.to_be_bytes());
    Ok(out.0)
}

fn record(said: &Value, delta: i64, base: i64, catalog: &Catalog) -> Result<Vec<u8>> {
    let fields = ["key", "value", "timestamp", "offsetDelta", "headers"];
    check(said, &fields)?;
    let blob = |out: &mut Out, value: Option<&Value>| {
        match value {
            None | Some(Value::Null) => out.varint(-1),
            Some(value) => {
                let bytes = encode::bytes(value, catalog)?;
                out.varint(bytes.len() as i64);
                out.put(&bytes);
            }
        }
        anyhow::Ok(())
    };
    let number = |name: &str, default| said.get(name).map_or(Ok(default), encode::number);
    let mut out = Out::default();
    out.put(&[0]);
    out.varint(timestamp(said, base)? - base);
    out.varint(number("offsetDelta", delta)?);
    match said {
        Value::Struct(_) => {
            blob(&mut out, said.get("key"))?;
            blob(&mut out, said.get("value"))?;
        }
        value => {
            out.varint(-1);
            blob(&mut out, Some(value))?;
        }
    }
    let headers = said.get("headers").map_or(&[][..], Value::items).iter().flat_map(|one| match one {
        Value::Struct(fields) => fields.as_slice(),
        _ => &[],
    });
    out.varint(headers.clone().count() as i64);
    for (name, value) in headers {
        out.varint(name.len() as i64);
        out.put(name.as_bytes());
        blob(&mut out, Some(value))?;
    }
    Ok(out.0)
}

pub(super) fn timestamp(record: &Value, base: i64) -> Result<i64> {
    record.get("timestamp").map_or(Ok(base), encode::number)
}

pub(super) fn check(said: &Value, known: &[&str]) -> Result<()> {
    if let Value::Struct(fields) = said {
        for (name, _) in fields {
            ensure!(known.contains(&name.as_str()), "there is no {name}; there are {}", known.join(", "));
        }
    }
    Ok(())
}

/// What is in the parentheses or braces.
pub(super) struct Said<'a>(pub(super) &'a Value);

impl<'a> Said<'a> {
    fn check(&self) -> Result<()> {
        check(self.0, &FIELDS)
    }

    pub(super) fn records(&self) -> &'a [Value] {
        match self.0 {
            Value::List(items) => items,
            said => said.get("records").map_or(&[], Value::items),
        }
    }

    pub(super) fn number(&self, name: &str, default: i64) -> Result<i64> {
        self.0.get(name).map_or(Ok(default), encode::number).with_context(|| name.to_string())
    }

    pub(super) fn text(&self, name: &str, default: &str) -> String {
        self.0.get(name).map_or(default.to_string(), Value::to_string)
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }
}
