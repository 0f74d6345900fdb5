//! Values into other types, as JSON text.

use flumen_sdk::json::{self, Kind, Raw};
use flumen_sdk::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The type that a field is to have. Null stays null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cast {
    /// A whole number: from a string, from a float without a fraction, from true and false.
    Int,
    /// A number: from a string, from true and false.
    Float,
    /// Text: numbers, objects and arrays as they are written.
    String,
    /// From "true", "yes", "1", 1 and their opposites.
    Bool,
    /// What a string holds as JSON.
    Json,
    /// Milliseconds since 1970, from a date and time as text or from a number of seconds, ms, us or ns.
    Timestamp,
}

impl Cast {
    /// Appends `raw` as the type, or says why it cannot be.
    pub fn write(self, raw: Raw<'_>, to: &mut Vec<u8>) -> Result<()> {
        if raw.is_null() {
            to.extend_from_slice(b"null");
            return Ok(());
        }
        self.try_write(raw, to).ok_or_else(|| {
            let shown: String = raw.json().chars().take(100).collect();
            Error::reject(format_args!("{shown} is no {}", self.name()))
        })
    }

    fn name(self) -> &'static str {
        match self {
            Cast::Int => "int",
            Cast::Float => "float",
            Cast::String => "string",
            Cast::Bool => "bool",
            Cast::Json => "json",
            Cast::Timestamp => "timestamp",
        }
    }

    fn try_write(self, raw: Raw<'_>, to: &mut Vec<u8>) -> Option<()> {
        let text = raw.to_text();
        let text = text.trim();
        match self {
            Cast::Int => to.extend_from_slice(whole(raw, text)?.to_string().as_bytes()),
            Cast::Float => match raw.as_bool() {
                Some(bool) => to.push(b'0' + u8::from(bool)),
                None => to.extend_from_slice(number(text)?.as_bytes()),
            },
            Cast::String if raw.kind() == Kind::Text => to.extend_from_slice(raw.json().as_bytes()),
            Cast::String => json::write_text(to, raw.json()),
            Cast::Bool => to.extend_from_slice(if truth(text)? { b"true" } else { b"false" }),
            Cast::Json => match raw.as_text() {
                Some(text) => to.extend_from_slice(json::value(&text).ok()?.json().as_bytes()),
                None => to.extend_from_slice(raw.json().as_bytes()),
            },
            Cast::Timestamp => {
                to.extend_from_slice(flumen_sdk::time::parse_millis(text)?.to_string().as_bytes());
            }
        }
        Some(())
    }
}

fn whole(raw: Raw<'_>, text: &str) -> Option<i64> {
    if let Some(bool) = raw.as_bool() {
        return Some(i64::from(bool));
    }
    if let Ok(whole) = text.parse() {
        return Some(whole);
    }
    // Up to 2^53 a float says exactly which whole number it is.
    let float = number(text)?.parse::<f64>().ok()?;
    (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_992.0).then_some(float as i64)
}

/// The digits as they are, where JSON allows it; else as the nearest float is written.
fn number(text: &str) -> Option<String> {
    if json::is_number(text) {
        return Some(text.to_owned());
    }
    let float = text.parse::<f64>().ok()?;
    float.is_finite().then(|| float.to_string())
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "t" | "on" | "1" => Some(true),
        "false" | "no" | "n" | "f" | "off" | "0" => Some(false),
        _ => None,
    }
}
