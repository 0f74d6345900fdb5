//! Sizes and times as a person writes them: `"1MiB"`, `"5s"`, or a plain number of bytes or milliseconds.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A number of bytes: `4096`, `"4KiB"`, `"1MB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A time: `1500` milliseconds, `"1500ms"`, `"5s"`, `"2m"`, `"1h"`, `"7d"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SIZES: [(&str, u64); 8] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

const SPANS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

struct Units {
    expected: &'static str,
    units: &'static [(&'static str, u64)],
}

impl Visitor<'_> for Units {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::custom(format_args!("{number} is less than nothing")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let parsed = parse(text, self.units);
        parsed.ok_or_else(|| E::custom(format_args!("{text:?}: expected {}", self.expected)))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let units = Units { expected: "a size such as 4096, \"64KiB\" or \"1MiB\"", units: &SIZES };
        from.deserialize_any(units).map(ByteSize)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let units = Units { expected: "a time such as 1500, \"500ms\" or \"5s\"", units: &SPANS };
        from.deserialize_any(units).map(|ms| Span(Duration::from_millis(ms)))
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^[0-9]+ ?(B|kB|KB|MB|GB|KiB|MiB|GiB)$",
            "description": "Bytes, or a string such as \"64KiB\" or \"1MiB\"."
        })
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^[0-9]+ ?(ms|s|m|h|d)$",
            "description": "Milliseconds, or a string such as \"500ms\" or \"5s\"."
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_people_write_them() {
        let size = |json: &str| serde_json::from_str::<ByteSize>(json).map(|size| size.0);
        assert_eq!(size("17").unwrap(), 17);
        assert_eq!(size("\"1MiB\"").unwrap(), 1 << 20);
        assert_eq!(size("\"2 kB\"").unwrap(), 2000);
        let span = |json: &str| serde_json::from_str::<Span>(json).map(|span| span.0);
        assert_eq!(span("\"5s\"").unwrap(), Duration::from_secs(5));
        assert_eq!(span("250").unwrap(), Duration::from_millis(250));
    }

    #[test]
    fn what_is_no_size_is_named() {
        for bad in ["\"1 furlong\"", "\"\"", "\"99999999999GiB\"", "-1"] {
            assert!(serde_json::from_str::<ByteSize>(bad).is_err(), "{bad}");
        }
        let error = serde_json::from_str::<Span>("\"5 parsecs\"").unwrap_err().to_string();
        assert!(error.contains("5 parsecs") && error.contains("500ms"), "{error}");
    }
}
