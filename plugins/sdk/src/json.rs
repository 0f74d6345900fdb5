//! JSON objects field by field, without building a tree: what a plugin does not look at is checked and
//! copied as it was written, numbers keep their digits.
//!
//! Invariants: the whole document is checked by the time [`Fields::next_field`] answers none; nesting is bounded
//! by [`DEPTH_MAX`], so that a hostile document cannot exhaust the stack. A name that comes twice is
//! given twice; the last counts, as everywhere.

use std::borrow::Cow;
use std::fmt;

use crate::json_text::{hex, plain_until, unescape};
pub use crate::json_text::{write_escaped, write_text};

/// Objects and arrays inside each other.
pub const DEPTH_MAX: u32 = 128;

/// Why and where a document is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub what: &'static str,
    /// Bytes from its beginning.
    pub at: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a JSON object: {} at byte {}", self.what, self.at)
    }
}

impl std::error::Error for Invalid {}

impl From<Invalid> for crate::Error {
    fn from(invalid: Invalid) -> crate::Error {
        crate::Error::reject(invalid)
    }
}

/// The fields of the object that `json` is.
pub fn fields(json: &[u8]) -> Result<Fields<'_>, Invalid> {
    let mut scan = Scan { text: text_of(json)?, at: 0 };
    scan.blank();
    scan.expect(b'{', "no opening brace")?;
    Ok(Fields { scan, state: State::First })
}

/// Mostly it is all ASCII, which is seen sixteen bytes at a time.
#[inline]
fn text_of(bytes: &[u8]) -> Result<&str, Invalid> {
    let (chunks, rest) = bytes.as_chunks::<16>();
    let is_ascii = |bytes: &[u8]| bytes.iter().fold(0, |all, byte| all | byte) < 0x80;
    if chunks.iter().all(|chunk| is_ascii(chunk)) && is_ascii(rest) {
        // SAFETY: bytes below 0x80 are characters of their own in UTF-8, and every one has been looked at.
        return Ok(unsafe { std::str::from_utf8_unchecked(bytes) });
    }
    std::str::from_utf8(bytes)
        .map_err(|error| Invalid { what: "a byte that is not UTF-8", at: error.valid_up_to() })
}

/// Checks one whole JSON value of any kind.
pub fn value(json: &str) -> Result<Raw<'_>, Invalid> {
    let mut scan = Scan { text: json, at: 0 };
    scan.blank();
    let from = scan.at;
    scan.value(0)?;
    let to = scan.at;
    scan.end()?;
    Ok(Raw(&json[from..to]))
}

/// Fields in the order in which they are written.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    scan: Scan<'a>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Later,
    Done,
}

impl<'a> Fields<'a> {
    /// The next field; none when the object, and the document, has ended well.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(Name<'a>, Raw<'a>)>, Invalid> {
        if self.state == State::Done {
            return Ok(None);
        }
        let scan = &mut self.scan;
        scan.blank();
        if scan.eat(b'}') {
            self.state = State::Done;
            return scan.end().map(|()| None);
        }
        if self.state == State::Later {
            scan.expect(b',', "neither a comma nor a closing brace")?;
            scan.blank();
        }
        self.state = State::Later;
        let from = scan.at;
        let escaped = scan.string()?;
        let name = Name { text: &scan.text[from + 1..scan.at - 1], escaped };
        scan.blank();
        scan.expect(b':', "no colon after a name")?;
        scan.blank();
        let from = scan.at;
        scan.value(1)?;
        Ok(Some((name, Raw(&scan.text[from..scan.at]))))
    }

    /// The last field of that name; reads to the end.
    pub fn find(mut self, name: &str) -> Result<Option<Raw<'a>>, Invalid> {
        let mut found = None;
        while let Some((candidate, raw)) = self.next_field()? {
            if candidate.is(name) {
                found = Some(raw);
            }
        }
        Ok(found)
    }
}

/// A field's name.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    text: &'a str,
    escaped: bool,
}

impl<'a> Name<'a> {
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        if self.escaped { self.text() == name } else { self.text == name }
    }

    pub fn text(&self) -> Cow<'a, str> {
        if self.escaped { Cow::Owned(unescape(self.text)) } else { Cow::Borrowed(self.text) }
    }

    /// As it is written, without the quotes: what may be written again.
    pub fn raw(&self) -> &'a str {
        self.text
    }
}

/// A value as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl<'a> Raw<'a> {
    pub const NULL: Raw<'static> = Raw("null");

    #[inline]
    pub fn kind(&self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'n') => Kind::Null,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'"') => Kind::Text,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            _ => Kind::Number,
        }
    }

    /// As it is written.
    pub fn json(&self) -> &'a str {
        self.0
    }

    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    pub fn as_bool(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then_some(self.0 == "true")
    }

    /// A string's text.
    pub fn as_text(&self) -> Option<Cow<'a, str>> {
        let inner = self.0.strip_prefix('"')?.strip_suffix('"')?;
        Some(if inner.as_bytes().contains(&b'\\') {
            Cow::Owned(unescape(inner))
        } else {
            Cow::Borrowed(inner)
        })
    }

    /// A whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok())?
    }

    pub fn as_f64(&self) -> Option<f64> {
        (self.kind() == Kind::Number).then(|| self.0.parse().ok())?
    }

    /// A string's text, anything else as it is written: how a value reads as a key or in a path.
    pub fn to_text(&self) -> Cow<'a, str> {
        self.as_text().unwrap_or(Cow::Borrowed(self.0))
    }

    /// What is found by following names into objects.
    pub fn at_path<'p>(self, path: impl IntoIterator<Item = &'p str>) -> Option<Raw<'a>> {
        path.into_iter().try_fold(self, |raw, name| {
            if raw.kind() != Kind::Object {
                return None;
            }
            fields(raw.0.as_bytes()).and_then(|fields| fields.find(name)).ok().flatten()
        })
    }
}

/// Whether `text` is a number as JSON writes them.
pub fn is_number(text: &str) -> bool {
    let mut scan = Scan { text, at: 0 };
    matches!(text.as_bytes().first(), Some(b'-' | b'0'..=b'9'))
        && scan.number().is_ok()
        && scan.at == text.len()
}

#[derive(Clone, Debug)]
struct Scan<'a> {
    text: &'a str,
    at: usize,
}

impl Scan<'_> {
    #[inline(always)]
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[cold]
    fn invalid(&self, what: &'static str) -> Invalid {
        Invalid { what, at: self.at }
    }

    #[inline(always)]
    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn eat(&mut self, byte: u8) -> bool {
        let eaten = self.peek() == Some(byte);
        self.at += usize::from(eaten);
        eaten
    }

    #[inline(always)]
    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Invalid> {
        if self.eat(byte) { Ok(()) } else { Err(self.invalid(what)) }
    }

    fn end(&mut self) -> Result<(), Invalid> {
        self.blank();
        if self.at == self.text.len() { Ok(()) } else { Err(self.invalid("more after its end")) }
    }

    #[inline(always)]
    fn value(&mut self, depth: u32) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            Some(b'[' | b'{') => self.nested(depth + 1),
            _ => Err(self.invalid("no value")),
        }
    }

    fn nested(&mut self, depth: u32) -> Result<(), Invalid> {
        if depth > DEPTH_MAX {
            return Err(self.invalid("nesting over the recursion limit of 128"));
        }
        let named = self.peek() == Some(b'{');
        let close = if named { b'}' } else { b']' };
        self.at += 1;
        self.blank();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            if named {
                self.string()?;
                self.blank();
                self.expect(b':', "no colon after a name")?;
                self.blank();
            }
            self.value(depth)?;
            self.blank();
            if self.eat(close) {
                return Ok(());
            }
            self.expect(b',', "neither a comma nor a closing bracket")?;
            self.blank();
        }
    }

    fn word(&mut self, word: &str) -> Result<(), Invalid> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.invalid("no value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Steps over a string; true when it has escapes.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, Invalid> {
        self.expect(b'"', "no quoted name")?;
        let bytes = self.text.as_bytes();
        let mut escaped = false;
        let mut at = self.at;
        loop {
            at = plain_until(bytes, at);
            self.at = at;
            match bytes.get(at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                    at = self.at;
                }
                Some(_) => return Err(self.invalid("a control character in a string")),
                None => return Err(self.invalid("a string without an end")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Invalid> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') if hex(bytes, self.at + 2).is_some() => self.at += 6,
            _ => return Err(self.invalid("an unknown escape")),
        }
        Ok(())
    }

    #[inline(always)]
    fn number(&mut self) -> Result<(), Invalid> {
        self.eat(b'-');
        let from = self.at;
        self.digits()?;
        if self.at - from > 1 && self.text.as_bytes()[from] == b'0' {
            return Err(self.invalid("a number that begins with 0"));
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    #[inline(always)]
    fn digits(&mut self) -> Result<(), Invalid> {
        let bytes = self.text.as_bytes();
        let from = self.at;
        let mut at = from;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        self.at = at;
        if self.at > from { Ok(()) } else { Err(self.invalid("no digit")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(json: &str) -> Result<Vec<(String, String)>, Invalid> {
        let mut fields = fields(json.as_bytes())?;
        let mut all = Vec::new();
        while let Some((name, raw)) = fields.next_field()? {
            all.push((name.text().into_owned(), raw.json().to_owned()));
        }
        Ok(all)
    }

    #[test]
    fn values_are_given_as_they_are_written() {
        let got =
            all(" { \"a\" : 1.50 , \"b\\n\":[1, {\"x\":\"}\"}],\"c\":\"\\\"\", \"d\":null} \n").unwrap();
        let want = [("a", "1.50"), ("b\n", "[1, {\"x\":\"}\"}]"), ("c", "\"\\\"\""), ("d", "null")]
            .map(|(k, v)| (k.into(), v.into()));
        assert_eq!(got, want);
        assert_eq!(all("{}").unwrap(), []);
    }

    #[test]
    fn it_agrees_with_serde_json_on_what_is_an_object() {
        let cases = [
            "{}",
            "{ }",
            "",
            "{",
            "}",
            "[]",
            "1",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":01}",
            "{\"a\":-}",
            "{\"a\":1.}",
            "{\"a\":.5}",
            "{\"a\":1e}",
            "{\"a\":1e+5}",
            "{\"a\":-0}",
            "{\"a\":0.0}",
            "{\"a\":tru}",
            "{\"a\":true}",
            "{\"a\":nulll}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\u12g4\"}",
            "{\"a\":\"\\u1234\"}",
            "{\"a\":\"\n\"}",
            "{\"a\":\"}",
            "{\"a\":[1,]}",
            "{\"a\":[]}",
            "{\"a\":[[],{}]}",
            "{\"a\":{\"b\":1,}}",
            "{\"a\":[1 2]}",
            "{\"a\":1}x",
            "{\"a\":1}{}",
            "{a:1}",
            "{\"a\":'b'}",
            "{\"a\":1,\"a\":2}",
            "{\"a\":1 ,  \"b\":2 }",
            "{\"a\":+1}",
        ];
        for json in cases {
            let serde = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json);
            assert_eq!(all(json).is_ok(), serde.is_ok(), "{json}");
        }
    }

    #[test]
    fn text_survives_writing_and_reading() {
        for text in ["", "plain", "é\"\\/\u{1}\n\r\t\u{1f600}", "\u{7f}"] {
            let mut json = Vec::new();
            write_text(&mut json, text);
            assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), text);
            let json = String::from_utf8(json).unwrap();
            assert_eq!(value(&json).unwrap().as_text().unwrap(), text);
        }
        assert_eq!(value(r#""\ud83d\ude00\/\b\f""#).unwrap().as_text().unwrap(), "\u{1f600}/\u{8}\u{c}");
        assert_eq!(value(r#""\ud83dx""#).unwrap().as_text().unwrap(), "\u{fffd}x");
    }

    #[test]
    fn paths_lead_into_objects_only() {
        let raw = value(r#"{"a": {"b": {"c": 3}, "l": [1]}}"#).unwrap();
        assert_eq!(raw.at_path(["a", "b", "c"]).unwrap().as_i64(), Some(3));
        assert_eq!(raw.at_path(["a", "l", "0"]), None);
        assert_eq!(raw.at_path(["a", "x"]), None);
    }

    #[test]
    fn deep_nesting_is_refused() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(all(&nested(126)).is_ok());
        assert!(all(&nested(100_000)).unwrap_err().what.contains("recursion limit"));
    }

    #[test]
    fn numbers_as_json_writes_them() {
        for yes in ["0", "-1", "12.50", "1e9", "-0.1E-3", "123456789012345678901234567890"] {
            assert!(is_number(yes), "{yes}");
        }
        for no in ["", "-", "01", "+1", "1.", ".5", "1e", "0x1", "NaN", "1 ", " 1", "1,000"] {
            assert!(!is_number(no), "{no}");
        }
    }
}
