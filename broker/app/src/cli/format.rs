//! How a record is printed: kcat's format strings, and JSON.
//!
//! `%k` key, `%v` or `%s` value, `%o` offset, `%p` partition, `%t` topic, `%T` timestamp in
//! milliseconds, `%h` headers as `name=value,...`, `%K` and `%S` the lengths of key and value (-1 for
//! null), `%%` a percent sign; `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH`. A null key or value prints as
//! nothing.

use std::io::{self, Write};

use base64::Engine;
use flumen_client::Received;
use flumen_types::TopicPartition;
use indicatif::BinaryBytes;
use serde_json::{Value, json};

/// A parsed format string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Key,
    Value,
    Offset,
    Partition,
    Topic,
    Timestamp,
    Headers,
    KeyLength,
    ValueLength,
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        let text = unescape(text)?;
        let mut pieces = vec![Piece::Text(Vec::new())];
        let mut bytes = text.into_iter();
        while let Some(byte) = bytes.next() {
            let piece = match (byte, pieces.last_mut()) {
                (b'%', last) => match (bytes.next(), last) {
                    (Some(b'%'), Some(Piece::Text(text))) => {
                        text.push(b'%');
                        continue;
                    }
                    (Some(b'%'), _) => Piece::Text(b"%".to_vec()),
                    (Some(letter), _) => field(letter)?,
                    (None, _) => return Err("a lone % at the end; write %% for a percent sign".into()),
                },
                (byte, Some(Piece::Text(text))) => {
                    text.push(byte);
                    continue;
                }
                (byte, _) => Piece::Text(vec![byte]),
            };
            pieces.push(piece);
        }
        Ok(Format(pieces))
    }
}

fn field(letter: u8) -> Result<Piece, String> {
    Ok(match letter {
        b'k' => Piece::Key,
        b'v' | b's' => Piece::Value,
        b'o' => Piece::Offset,
        b'p' => Piece::Partition,
        b't' => Piece::Topic,
        b'T' => Piece::Timestamp,
        b'h' => Piece::Headers,
        b'K' => Piece::KeyLength,
        b'S' => Piece::ValueLength,
        other => {
            return Err(format!(
                "%{} is unknown; there are %k %v %o %p %t %T %h %K %S %%",
                char::from(other)
            ));
        }
    })
}

/// Escapes of a text on the command line.
pub(crate) fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match chars.next() {
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('r') => b'\r',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits} is not two hex digits"))?
            }
            other => return Err(format!("\\{} is unknown", other.map(String::from).unwrap_or_default())),
        });
    }
    Ok(bytes)
}

impl Format {
    pub(crate) fn write(
        &self,
        to: &mut impl Write,
        partition: &TopicPartition,
        received: &Received,
    ) -> io::Result<()> {
        let record = &received.record;
        let length = |bytes: Option<usize>| bytes.map_or(-1, |length| length as i64);
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => to.write_all(text)?,
                Piece::Key => to.write_all(record.key.as_deref().unwrap_or_default())?,
                Piece::Value => to.write_all(record.value.as_deref().unwrap_or_default())?,
                Piece::Offset => write!(to, "{}", received.offset)?,
                Piece::Partition => write!(to, "{}", partition.partition)?,
                Piece::Topic => to.write_all(partition.topic.as_bytes())?,
                Piece::Timestamp => write!(to, "{}", record.timestamp)?,
                Piece::KeyLength => write!(to, "{}", length(record.key.as_ref().map(|key| key.len())))?,
                Piece::ValueLength => {
                    write!(to, "{}", length(record.value.as_ref().map(|value| value.len())))?
                }
                Piece::Headers => {
                    for (at, (name, value)) in record.headers.iter().enumerate() {
                        to.write_all(if at == 0 { b"" } else { b"," })?;
                        to.write_all(name)?;
                        to.write_all(b"=")?;
                        to.write_all(value.as_deref().unwrap_or(b"NULL"))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// A record as JSON; what is not UTF-8 becomes `{"base64": "..."}`.
pub(crate) fn json(partition: &TopicPartition, received: &Received) -> Value {
    let record = &received.record;
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| json!({ "name": bytes(Some(name)), "value": bytes(value.as_deref()) }));
    json!({
        "topic": partition.topic,
        "partition": partition.partition,
        "offset": received.offset,
        "timestamp": record.timestamp,
        "key": bytes(record.key.as_deref()),
        "value": bytes(record.value.as_deref()),
        "headers": headers.collect::<Vec<_>>(),
    })
}

pub(crate) fn bytes(bytes: Option<&[u8]>) -> Value {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => Value::Null,
        Some((_, Ok(text))) => Value::from(text),
        Some((bytes, Err(_))) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

/// How far a start is: `loading partitions: 3 of 7; read again 1 GiB of 4 GiB; about 40 s left`.
pub(crate) fn opening(now: &flumen_http::Opening) -> String {
    let mut text =
        format!("it is starting: {} of {} partitions are loaded", now.partitions_done, now.partitions);
    if now.bytes > 0 {
        let (done, of) = (BinaryBytes(now.bytes_done), BinaryBytes(now.bytes));
        text.push_str(&format!("; after a crash, {done} of {of} are read again"));
    }
    if let Some(left) = now.left_ms {
        text.push_str(&format!("; about {} s left", left.div_ceil(1000)));
    }
    text
}

/// A point in time for a person, in UTC.
pub(crate) fn time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) if ms >= 0 => format!("{time:.3}"),
        _ => "-".into(),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use flumen_client::Record;
    use flumen_types::{Offset, Timestamp};

    use super::*;

    fn received() -> Received {
        Received {
            offset: Offset(7),
            record: Record {
                timestamp: Timestamp(1_000),
                key: Some(Bytes::from_static(b"key")),
                value: None,
                headers: vec![
                    (Bytes::from_static(b"a"), Some(Bytes::from_static(b"1"))),
                    (Bytes::from_static(b"b"), None),
                ],
            },
        }
    }

    fn print(format: &str) -> String {
        let mut text = Vec::new();
        format
            .parse::<Format>()
            .unwrap()
            .write(&mut text, &TopicPartition::new("t", 3), &received())
            .unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_field_is_printed() {
        assert_eq!(
            print(r"%t/%p@%o %T %k=%v|%s %K %S %h %%k\n\x41"),
            "t/3@7 1000 key=| 3 -1 a=1,b=NULL %k\nA"
        );
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for wrong in ["%q", "%", r"\q", r"\xg1"] {
            assert!(wrong.parse::<Format>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_keeps_what_is_not_text() {
        let mut received = received();
        received.record.value = Some(Bytes::from_static(b"\xff"));
        let json = json(&TopicPartition::new("t", 3), &received);
        assert_eq!(json["value"]["base64"], "/w==");
        assert_eq!((&json["key"], &json["headers"][1]["value"]), (&Value::from("key"), &Value::Null));
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(-1), "-");
    }
}
