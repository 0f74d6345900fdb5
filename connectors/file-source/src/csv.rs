//! CSV rows: where one ends, what its fields are, and how they become a JSON object.
//!
//! RFC 4180 with any one-byte delimiter and quote: a quoted field may hold delimiters, line ends and
//! doubled quotes; a quote inside an unquoted field is a character like any other. Invariant: a row is
//! looked at only when all of it is there.

use std::ops::Range;

use flumen_sdk::{json, time};
use schemars::JsonSchema;
use serde::Deserialize;

/// How the fields of a column become JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A number where it is written as JSON writes one and loses nothing, true and false; else text.
    Auto,
    String,
    Int,
    Float,
    Bool,
    /// What the field holds, as JSON.
    Json,
    /// Milliseconds since 1970.
    Timestamp,
}

/// The signs that make a CSV.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
}

/// A field of a row, between its quotes if it has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) at: Range<usize>,
    pub(crate) quoted: bool,
    /// It has doubled quotes in it.
    doubled: bool,
}

pub(crate) const NOT_CLOSED: &str = "a quote that is not closed";

/// What stands at the beginning of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// A row and the bytes that it takes, its line end with them.
    Row(usize),
    /// So many bytes that are no row, up to the end of a line.
    Bad(usize, &'static str),
    /// Not all of it is there.
    Incomplete,
    /// Not all of it is there, and what is there ends inside quotes.
    Open,
}

impl Dialect {
    /// Reads a row from the beginning of `bytes` into `fields`. `last`: nothing more will come.
    pub(crate) fn scan(&self, bytes: &[u8], last: bool, fields: &mut Vec<Field>) -> Scanned {
        fields.clear();
        let mut at = 0;
        loop {
            let quoted = bytes.get(at) == Some(&self.quote);
            let end = if quoted {
                match self.quoted(bytes, at + 1, last) {
                    Ok(field) => {
                        let end = field.at.end + 1;
                        fields.push(field);
                        end
                    }
                    Err(other) => return other,
                }
            } else {
                let mut end = at;
                while end < bytes.len() && bytes[end] != self.delimiter && bytes[end] != b'\n' {
                    end += 1;
                }
                fields.push(Field { at: at..end, quoted: false, doubled: false });
                end
            };
            match bytes.get(end) {
                Some(byte) if *byte == self.delimiter => at = end + 1,
                Some(_) => {
                    self.strip_return(bytes, fields);
                    let end = if bytes[end] == b'\r' { end + 2 } else { end + 1 };
                    return Scanned::Row(end.min(bytes.len()));
                }
                None if last => {
                    self.strip_return(bytes, fields);
                    return Scanned::Row(end);
                }
                None => return Scanned::Incomplete,
            }
        }
    }

    /// A field from behind its opening quote.
    fn quoted(&self, bytes: &[u8], from: usize, last: bool) -> Result<Field, Scanned> {
        let mut doubled = false;
        let mut at = from;
        loop {
            let Some(next) = memchr::memchr(self.quote, &bytes[at..]) else {
                return Err(match last {
                    // Whatever follows may be good: the line is lost, not the rest of the file.
                    true => Scanned::Bad(first_line(bytes).len(), NOT_CLOSED),
                    false => Scanned::Open,
                });
            };
            at += next;
            match (bytes.get(at + 1), bytes.get(at + 2)) {
                (Some(byte), _) if *byte == self.quote => {
                    doubled = true;
                    at += 2;
                }
                (None, _) if !last => return Err(Scanned::Incomplete),
                (Some(b'\r'), None) if !last => return Err(Scanned::Incomplete),
                (None | Some(b'\n'), _) | (Some(b'\r'), Some(b'\n') | None) => break,
                (Some(byte), _) if *byte == self.delimiter => break,
                _ => {
                    return Err(match memchr::memchr(b'\n', &bytes[at..]) {
                        Some(line) => Scanned::Bad(at + line + 1, "text behind a closing quote"),
                        None if last => Scanned::Bad(bytes.len(), "text behind a closing quote"),
                        None => Scanned::Incomplete,
                    });
                }
            }
        }
        Ok(Field { at: from..at, quoted: true, doubled })
    }

    /// The carriage return of a line end is no part of an unquoted last field.
    fn strip_return(&self, bytes: &[u8], fields: &mut [Field]) {
        if let Some(last) = fields.last_mut().filter(|last| !last.quoted)
            && bytes[last.at.clone()].last() == Some(&b'\r')
        {
            last.at.end -= 1;
        }
    }

    /// The text of a field; `scratch` holds it where quotes are doubled.
    pub(crate) fn text<'a>(&self, field: &Field, row: &'a str, scratch: &'a mut String) -> &'a str {
        let text = &row[field.at.clone()];
        if !field.doubled {
            return text;
        }
        scratch.clear();
        let quote = char::from(self.quote);
        let mut chars = text.chars();
        while let Some(char) = chars.next() {
            scratch.push(char);
            if char == quote {
                chars.next();
            }
        }
        scratch
    }
}

/// With its line end.
pub(crate) fn first_line(bytes: &[u8]) -> &[u8] {
    memchr::memchr(b'\n', bytes).map_or(bytes, |end| &bytes[..=end])
}

/// Appends `text` as JSON of a type, or says what it is not.
pub(crate) fn write_as(kind: Type, text: &str, to: &mut Vec<u8>) -> Result<(), &'static str> {
    match kind {
        Type::Auto if is_lossless_number(text) || matches!(text, "true" | "false") => {
            to.extend_from_slice(text.as_bytes());
        }
        Type::Auto | Type::String => json::write_text(to, text),
        Type::Int => {
            let whole: i64 = text.trim().parse().map_err(|_| "int")?;
            to.extend_from_slice(whole.to_string().as_bytes());
        }
        Type::Float => {
            let text = text.trim();
            let float: f64 = text.parse().map_err(|_| "float")?;
            if !float.is_finite() {
                return Err("float");
            }
            match json::is_number(text) {
                // With all its digits.
                true => to.extend_from_slice(text.as_bytes()),
                false => to.extend_from_slice(float.to_string().as_bytes()),
            }
        }
        Type::Bool => to.extend_from_slice(match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" => b"true".as_slice(),
            "false" | "f" | "no" | "n" | "0" => b"false",
            _ => return Err("bool"),
        }),
        Type::Json => to.extend_from_slice(json::value(text).map_err(|_| "json")?.json().as_bytes()),
        Type::Timestamp => {
            let millis = time::parse_millis(text).ok_or("timestamp")?;
            to.extend_from_slice(millis.to_string().as_bytes());
        }
    }
    Ok(())
}

/// Digits that mean the same as a number and as text: no leading zeros, no exponent, a whole one fits
/// 64 bits. What fails this (`007`, `1e5`, a card number of 20 digits) stays text.
fn is_lossless_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    if !matches!(bytes.first(), Some(b'-' | b'0'..=b'9')) || bytes.len() > 40 {
        return false;
    }
    let mut dot = false;
    for byte in bytes {
        match byte {
            b'0'..=b'9' | b'-' => {}
            b'.' => dot = true,
            _ => return false,
        }
    }
    json::is_number(text) && (dot || bytes.len() <= 18 || text.parse::<i64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: Dialect = Dialect { delimiter: b',', quote: b'"' };

    fn row(bytes: &str, last: bool) -> (Scanned, Vec<String>) {
        let mut fields = Vec::new();
        let scanned = CSV.scan(bytes.as_bytes(), last, &mut fields);
        let mut scratch = String::new();
        let texts = fields.iter().map(|field| CSV.text(field, bytes, &mut scratch).to_owned()).collect();
        (scanned, texts)
    }

    #[test]
    fn fields_with_and_without_quotes() {
        for (bytes, want) in [
            ("a,b,c\n", vec!["a", "b", "c"]),
            ("a,,\r\n", vec!["a", "", ""]),
            ("\"a\",\"b,\n\"\"c\"\"\"\n", vec!["a", "b,\n\"c\""]),
            ("\"\",x\"y\n", vec!["", "x\"y"]),
            ("\"a\"\r\n", vec!["a"]),
            ("é,ü\n", vec!["é", "ü"]),
            ("\n", vec![""]),
        ] {
            assert_eq!(
                row(bytes, false),
                (Scanned::Row(bytes.len()), want.iter().map(|s| s.to_string()).collect()),
                "{bytes:?}"
            );
            assert_eq!(row(bytes, true).0, Scanned::Row(bytes.len()), "{bytes:?}");
        }
    }

    #[test]
    fn every_beginning_of_a_row_is_incomplete() {
        let whole = "a,\"b\"\"\n\",c\r\n";
        for cut in 0..whole.len() {
            let scanned = row(&whole[..cut], false).0;
            assert!(matches!(scanned, Scanned::Incomplete | Scanned::Open), "{:?}", &whole[..cut]);
        }
    }

    #[test]
    fn the_last_row_needs_no_line_end() {
        assert_eq!(row("a,b", true), (Scanned::Row(3), vec!["a".into(), "b".into()]));
        assert_eq!(row("a,\"b\"", true), (Scanned::Row(5), vec!["a".into(), "b".into()]));
        assert_eq!(row("a,b\r", true).1, ["a", "b"]);
    }

    #[test]
    fn broken_quotes_are_bad_up_to_the_end_of_the_line() {
        assert_eq!(row("\"a\"b,c\nd\n", false).0, Scanned::Bad(7, "text behind a closing quote"));
        assert_eq!(row("\"a", true).0, Scanned::Bad(2, "a quote that is not closed"));
        assert_eq!(row("\"a\nb\n", true).0, Scanned::Bad(3, "a quote that is not closed"));
        assert_eq!(row("\"a\nb\n", false).0, Scanned::Open);
    }

    #[test]
    fn types_are_written_as_json_or_refused() {
        let written = |kind, text: &str| {
            let mut to = Vec::new();
            write_as(kind, text, &mut to).map(|()| String::from_utf8(to).unwrap())
        };
        for (text, want) in [
            ("12", "12"),
            ("-1.50", "-1.50"),
            ("007", "\"007\""),
            ("1e5", "\"1e5\""),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "\"9223372036854775808\""),
            ("true", "true"),
            ("TRUE", "\"TRUE\""),
            ("2026-11-21", "\"2026-11-21\""),
            ("-", "\"-\""),
            ("a\"b", "\"a\\\"b\""),
        ] {
            assert_eq!(written(Type::Auto, text).unwrap(), want);
        }
        assert_eq!(written(Type::String, "12").unwrap(), "\"12\"");
        assert_eq!(written(Type::Int, " 007").unwrap(), "7");
        assert_eq!(written(Type::Float, "+1.5").unwrap(), "1.5");
        assert_eq!(written(Type::Bool, "Yes").unwrap(), "true");
        assert_eq!(written(Type::Json, "[1]").unwrap(), "[1]");
        assert_eq!(written(Type::Timestamp, "1970-01-02").unwrap(), "86400000");
        for (kind, text) in [
            (Type::Int, "1.5"),
            (Type::Float, "NaN"),
            (Type::Bool, "maybe"),
            (Type::Json, "{"),
            (Type::Timestamp, "soon"),
        ] {
            assert!(written(kind, text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_float_is_one_that_there_is() {
        let read = |text: &str| {
            let mut out = Vec::new();
            write_as(Type::Float, text, &mut out).map(|()| String::from_utf8(out).unwrap())
        };
        assert_eq!(read(" 12345678901234567.89 "), Ok("12345678901234567.89".into()));
        assert_eq!(read("+.5"), Ok("0.5".into()));
        for none in ["1e999", "-1e999", "NaN", "inf", "ten", ""] {
            assert_eq!(read(none), Err("float"), "{none}");
        }
    }
}
