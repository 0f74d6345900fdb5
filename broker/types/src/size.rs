//! Sizes in bytes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A number of bytes. In a file: a number, or `"64KiB"`, `"64MiB"`, `"1GiB"` (powers of 1024), or
/// `"64MB"` (powers of 1000); -1 is Kafka's "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub i64);

impl ByteSize {
    pub const UNLIMITED: ByteSize = ByteSize(-1);

    /// As a length in memory; no limit reads as the largest.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not a size; write a number of bytes, or one with KiB, MiB, GiB, TiB, kB, MB or GB, such as \"64MiB\""
)]
pub struct ParseSizeError(pub String);

const UNITS: [(&str, i64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ParseSizeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseSizeError(text.to_string());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let count: i64 = number.trim().parse().map_err(|_| wrong())?;
        let factor = match unit {
            "" => 1,
            "KB" => 1_000,
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        if count < 0 && (count != -1 || !unit.is_empty()) {
            return Err(wrong());
        }
        count.checked_mul(factor).map(ByteSize).ok_or_else(wrong)
    }
}

/// The largest power of 1024 that says it exactly.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= 0 {
            return self.0.fmt(f);
        }
        match UNITS[..4].iter().find(|(_, factor)| self.0 % factor == 0) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => self.0.fmt(f),
        }
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SizeVisitor)
    }
}

struct SizeVisitor;

impl de::Visitor<'_> for SizeVisitor {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or a text such as \"64MiB\"")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ByteSize, E> {
        if value < -1 {
            return Err(E::custom(ParseSizeError(value.to_string())));
        }
        Ok(ByteSize(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<ByteSize, E> {
        i64::try_from(value).map(ByteSize).map_err(|_| E::custom(ParseSizeError(value.to_string())))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<ByteSize, E> {
        value.parse().map_err(E::custom)
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Bytes as a number, or a text with a unit: KiB, MiB, GiB, TiB (1024), kB, MB, GB, TB (1000)",
            "anyOf": [{ "type": "integer", "minimum": -1 }, { "type": "string", "pattern": "^\\s*(-1|[0-9]+\\s*([KMGT]iB|[kKMGT]B|B)?)\\s*$" }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_parse_and_print_back() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1GiB", 1 << 30), ("10kB", 10_000), ("17", 17)] {
            assert_eq!(text.parse::<ByteSize>(), Ok(ByteSize(bytes)), "{text}");
        }
        assert_eq!(ByteSize(64 << 20).to_string(), "64MiB");
        assert_eq!(ByteSize(1000).to_string(), "1000");
    }

    #[test]
    fn nonsense_is_refused_with_the_text() {
        for text in ["", "64 megs", "-5", "-1KiB", "MiB", "99999999TiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }
}
