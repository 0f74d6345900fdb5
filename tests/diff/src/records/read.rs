//! Shows the batches of an answer: what differs from `batch(…)`, and whether their checksums hold.

use anyhow::{Context, Result, ensure};

use super::{CRC_END, TIMESTAMP, codec, crc32c};
use crate::decode::blob;
use crate::value::Value;
use crate::wire::In;

/// Attribute bits.
const APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const HORIZON: i16 = 1 << 6;

/// All that a fetch has brought, but for a batch that is cut at its end: clients pass it over.
pub fn batches(mut bytes: &[u8]) -> Result<Value> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.get(8..12).map(|four| i32::from_be_bytes(four.try_into().expect("four")));
        let whole = length.and_then(|length| bytes.get(..12 + usize::try_from(length).ok()?));
        let Some(whole) = whole else { break };
        all.push(batch(whole)?);
        bytes = &bytes[whole.len()..];
    }
    Ok(Value::List(all))
}

fn batch(bytes: &[u8]) -> Result<Value> {
    let mut shown = Vec::new();
    let mut show = |name: &str, value: Value, usual: Value| {
        if value != usual {
            shown.push((name.to_string(), value));
        }
    };
    let mut input = In(bytes);
    show("baseOffset", input.i64()?.into(), Value::Null);
    input.i32()?;
    show("leaderEpoch", i64::from(input.i32()?).into(), 0.into());
    let magic = input.i8()?;
    show("magic", i64::from(magic).into(), 2.into());
    if magic != 2 {
        show("bytes", (bytes.len() as i64).into(), Value::Null);
        return Ok(Value::made("batch", Value::Struct(shown)));
    }
    show(
        "crc",
        Value::text(if input.u32()? == crc32c(&bytes[CRC_END..]) { "good" } else { "bad" }),
        Value::text("good"),
    );
    let attributes = input.i16()?;
    show("codec", Value::text(codec::name(attributes & 7)), Value::text("none"));
    show(
        "timestampType",
        Value::text(word(attributes & APPEND_TIME != 0, "append", "create")),
        Value::text("create"),
    );
    show("transactional", Value::Bool(attributes & TRANSACTIONAL != 0), Value::Bool(false));
    show("control", Value::Bool(attributes & CONTROL != 0), Value::Bool(false));
    show("deleteHorizon", Value::Bool(attributes & HORIZON != 0), Value::Bool(false));
    let last = i64::from(input.i32()?);
    let (base, latest) = (input.i64()?, input.i64()?);
    show("timestamp", base.into(), TIMESTAMP.into());
    show("maxTimestamp", latest.into(), base.into());
    show("producerId", input.i64()?.into(), (-1).into());
    show("producerEpoch", i64::from(input.i16()?).into(), (-1).into());
    show("baseSequence", i64::from(input.i32()?).into(), (-1).into());
    let count = i64::from(input.i32()?);
    show("lastOffsetDelta", last.into(), (count - 1).into());
    let plain = codec::unpack(attributes & 7, input.0)?;
    let mut input = In(&plain);
    let records: Vec<Value> = (0..count)
        .map(|at| record(&mut input, at, attributes & CONTROL != 0).with_context(|| format!("record {at}")))
        .collect::<Result<_>>()?;
    ensure!(input.0.is_empty(), "{} bytes are left behind the records", input.0.len());
    shown.push(("records".into(), Value::List(records)));
    Ok(Value::made("batch", Value::Struct(shown)))
}

fn record(input: &mut In<'_>, at: i64, control: bool) -> Result<Value> {
    let length = input.varint()?;
    let mut input = In(input.take(usize::try_from(length)?)?);
    input.i8()?;
    let (later, delta) = (input.varint()?, input.varint()?);
    let (key, value) = (part(&mut input)?, part(&mut input)?);
    let headers = (0..input.varint()?).map(|_| header(&mut input)).collect::<Result<Vec<_>>>()?;
    ensure!(input.0.is_empty(), "{} bytes are left", input.0.len());
    if control {
        return Ok(marker(key, value));
    }
    let (key, value) = (key.map_or(Value::Null, blob), value.map_or(Value::Null, blob));
    let plain = key == Value::Null && later == 0 && delta == at && headers.is_empty();
    if plain && value != Value::Null {
        return Ok(value);
    }
    let mut shown = vec![("key".to_string(), key), ("value".to_string(), value)];
    for (name, value, usual) in [("later", later, 0), ("offsetDelta", delta, at)] {
        if value != usual {
            shown.push((name.into(), value.into()));
        }
    }
    if !headers.is_empty() {
        shown.push(("headers".into(), Value::List(headers)));
    }
    Ok(Value::Struct(shown))
}

/// The end of a transaction: `marker(commit, epoch)`.
fn marker(key: Option<&[u8]>, value: Option<&[u8]>) -> Value {
    let kind = match key {
        Some([0, 0, 0, 0]) => Value::text("abort"),
        Some([0, 0, 0, 1]) => Value::text("commit"),
        other => other.map_or(Value::Null, blob),
    };
    let coordinator = match value {
        Some([0, 0, epoch @ ..]) if epoch.len() == 4 => Value::text("<epoch>"),
        other => other.map_or(Value::Null, blob),
    };
    Value::made("marker", Value::List(vec![kind, coordinator]))
}

/// A struct of one field: there may be several of one name.
fn header(input: &mut In<'_>) -> Result<Value> {
    let name = part(input)?.context("a header has no name")?;
    let value = part(input)?.map_or(Value::Null, blob);
    Ok(Value::Struct(vec![(String::from_utf8_lossy(name).into_owned(), value)]))
}

fn part<'a>(input: &mut In<'a>) -> Result<Option<&'a [u8]>> {
    match input.varint()? {
        -1 => Ok(None),
        length => input.take(usize::try_from(length)?).map(Some),
    }
}

fn word(yes: bool, this: &'static str, that: &'static str) -> &'static str {
    if yes { this } else { that }
}
