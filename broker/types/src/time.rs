//! Points in time and spans of it, in milliseconds as Kafka counts them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// Milliseconds since 1970-01-01 UTC; -1 is Kafka's "none".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    pub const NONE: Timestamp = Timestamp(-1);

    /// Milliseconds from `earlier` to this; negative if this comes first.
    pub fn since(self, earlier: Timestamp) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    #[must_use]
    pub fn plus(self, span: Millis) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A span in milliseconds. In a file: a number, or `"250ms"`, `"5s"`, `"10m"`, `"24h"`, `"7d"`;
/// -1 is Kafka's "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    pub const UNLIMITED: Millis = Millis(-1);

    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.max(0) as u64)
    }
}

impl From<Duration> for Millis {
    fn from(span: Duration) -> Self {
        Millis(i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not a length of time; write a number of milliseconds, or one with ms, s, m, h or d, such as \"7d\""
)]
pub struct ParseMillisError(pub String);

const UNITS: [(&str, i64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl FromStr for Millis {
    type Err = ParseMillisError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseMillisError(text.to_string());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let count: i64 = number.trim().parse().map_err(|_| wrong())?;
        let factor = match unit {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1,
        };
        if count < 0 && (count != -1 || !unit.is_empty()) {
            return Err(wrong());
        }
        count.checked_mul(factor).map(Millis).ok_or_else(wrong)
    }
}

/// The largest unit that says it exactly.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 <= 0 {
            return self.0.fmt(f);
        }
        let (unit, factor) = UNITS.iter().find(|(_, factor)| self.0 % factor == 0).unwrap_or(&UNITS[4]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(MillisVisitor)
    }
}

struct MillisVisitor;

impl de::Visitor<'_> for MillisVisitor {
    type Value = Millis;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of milliseconds, or a text such as \"7d\"")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Millis, E> {
        if value < -1 {
            return Err(E::custom(ParseMillisError(value.to_string())));
        }
        Ok(Millis(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Millis, E> {
        i64::try_from(value).map(Millis).map_err(|_| E::custom(ParseMillisError(value.to_string())))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Millis, E> {
        value.parse().map_err(E::custom)
    }
}

impl schemars::JsonSchema for Millis {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Millis".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Milliseconds as a number, or a text with a unit: ms, s, m, h, d",
            "anyOf": [{ "type": "integer", "minimum": -1 }, { "type": "string", "pattern": "^\\s*(-1|[0-9]+\\s*(ms|s|m|h|d)?)\\s*$" }]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_parse_and_print_back() {
        for (text, millis) in
            [("7d", 604_800_000), ("24h", 86_400_000), ("90s", 90_000), ("250ms", 250), ("12", 12)]
        {
            assert_eq!(text.parse::<Millis>(), Ok(Millis(millis)), "{text}");
        }
        assert_eq!(Millis(604_800_000).to_string(), "7d");
        assert_eq!(Millis(90_000).to_string(), "90s");
        assert_eq!("-1".parse::<Millis>(), Ok(Millis::UNLIMITED));
    }

    #[test]
    fn nonsense_is_refused_with_the_text() {
        for text in ["", "7 days", "-3", "-1s", "1e9", "99999999999999999d"] {
            assert!(text.parse::<Millis>().is_err(), "{text}");
        }
    }
}
