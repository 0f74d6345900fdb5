//! Records whose content follows from what they are, so that a byte that is torn or from elsewhere shows.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use flumen_client::{Producer, Record};
use flumen_types::Timestamp;

use crate::cluster::{again, mix};

/// A record's text: what it is, and a filler that follows from it.
pub(crate) fn text(what: &str) -> String {
    let mut hash = what.bytes().fold(7, |hash, byte| mix(hash ^ u64::from(byte)));
    let len = (hash % 300) as usize;
    let mut text = String::with_capacity(what.len() + 1 + len);
    text.push_str(what);
    text.push(' ');
    for _ in 0..len {
        hash = mix(hash);
        text.push((b'a' + (hash % 26) as u8) as char);
    }
    text
}

/// What a record says it is, if its text is whole.
pub(crate) fn what(record: &Record) -> Result<&str> {
    let value = record.value.as_deref().unwrap_or_default();
    let value = std::str::from_utf8(value).context("expected a text")?;
    let what = value.rsplit_once(' ').map_or(value, |(what, _)| what);
    if text(what) != value {
        bail!("expected a record of ours, found {value:?}");
    }
    Ok(what)
}

pub(crate) fn record(key: Option<&str>, value: Option<String>) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Record {
        timestamp: Timestamp(now.as_millis() as i64),
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        value: value.map(Bytes::from),
        headers: Vec::new(),
    }
}

/// Queues a record; its topic is asked for with the first one.
pub(crate) async fn send(producer: &mut Producer, topic: &str, partition: i32, record: Record) -> Result<()> {
    Ok(again(async || producer.send(topic, Some(partition), record.clone()).await).await?)
}
