//! Makes message sets of magic 0 and 1, as clients of old send them.

use anyhow::Result;

use super::write::{Said, check, timestamp};
use super::{TIMESTAMP, codec};
use crate::catalog::Catalog;
use crate::encode;
use crate::value::Value;
use crate::wire::Out;

/// `messages{magic: 1, codec: gzip, crc: bad, records: […]}`
pub fn messages(said: &Value, catalog: &Catalog) -> Result<Vec<u8>> {
    check(said, &["magic", "codec", "crc", "timestamp", "records"])?;
    let said = Said(said);
    let magic = said.number("magic", 1)?;
    let base = said.number("timestamp", TIMESTAMP)?;
    let codec = codec::number(&said.text("codec", "none"))?;
    let mut set = Out::default();
    for (at, item) in said.records().iter().enumerate() {
        let (key, value) = match item {
            Value::Struct(_) => (item.get("key"), item.get("value")),
            value => (None, Some(value)),
        };
        let head = Head {
            magic,
            attributes: 0,
            timestamp: timestamp(item, base)?,
            broken: said.text("crc", "") == "bad",
        };
        let (key, value) = (blob(key, catalog)?, blob(value, catalog)?);
        put(&mut set, at as i64, &head, key.as_deref(), value.as_deref());
    }
    if codec == 0 {
        return Ok(set.0);
    }
    let mut wrapper = Out::default();
    let head = Head { magic, attributes: codec as u8, timestamp: base, broken: false };
    let last = said.records().len() as i64 - 1;
    put(&mut wrapper, last, &head, None, Some(&codec::pack(codec, &set.0)?));
    Ok(wrapper.0)
}

struct Head {
    magic: i64,
    attributes: u8,
    timestamp: i64,
    broken: bool,
}

fn blob(value: Option<&Value>, catalog: &Catalog) -> Result<Option<Vec<u8>>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => encode::bytes(value, catalog).map(Some),
    }
}

fn put(out: &mut Out, offset: i64, head: &Head, key: Option<&[u8]>, value: Option<&[u8]>) {
    let mut message = Out::default();
    message.put(&[head.magic as u8, head.attributes]);
    if head.magic > 0 {
        message.put(&head.timestamp.to_be_bytes());
    }
    for part in [key, value] {
        message.put(&part.map_or(-1, |part| part.len() as i32).to_be_bytes());
        message.put(part.unwrap_or_default());
    }
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &message.0) as u32;
    out.put(&offset.to_be_bytes());
    out.put(&(message.0.len() as i32 + 4).to_be_bytes());
    out.put(&(crc ^ u32::from(head.broken)).to_be_bytes());
    out.put(&message.0);
}
