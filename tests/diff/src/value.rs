//! What a case says and what a broker answers, as one tree that is written the same way in both.
//!
//! Invariants: what [`Value`]'s `Display` writes, `text::value` reads back to the same tree. A list or
//! struct is on one line if it fits.

use std::fmt::{self, Display, Formatter, Write as _};

/// A line that is longer is broken.
const WIDTH: usize = 110;

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// `$name`: what an earlier step has declared or kept.
    Var(String),
    List(Vec<Value>),
    Struct(Vec<(String, Value)>),
    /// `batch{…}`, `hex(…)`: something that is made of other values.
    Made(String, Box<Value>),
}

impl Value {
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }

    pub fn made(what: &str, of: Value) -> Value {
        Value::Made(what.into(), Box::new(of))
    }

    /// A field of a struct.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) => fields.iter().find(|(own, _)| own == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// A list's items; anything else is a list of itself.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            one => std::slice::from_ref(one),
        }
    }

    /// As it stands in an answer's block: a struct without its braces, a field on a line.
    pub fn block(&self) -> String {
        let mut out = String::new();
        match self {
            Value::Struct(fields) => {
                for (name, value) in fields {
                    let _ = write!(out, "  {name}: ");
                    put(&mut out, value, 2, name.len() + 4);
                    out.push('\n');
                }
            }
            other => {
                out.push_str("  ");
                put(&mut out, other, 2, 2);
                out.push('\n');
            }
        }
        out
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Int(number)
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(it) => write!(f, "{it}"),
            Value::Int(it) => write!(f, "{it}"),
            Value::Float(it) => write!(f, "{it:?}"),
            Value::Text(text) if is_word(text) => f.write_str(text),
            Value::Text(text) => quote(f, text),
            Value::Var(name) => write!(f, "${name}"),
            Value::List(items) => {
                f.write_char('[')?;
                inline(f, items)?;
                f.write_char(']')
            }
            Value::Struct(fields) => {
                f.write_char('{')?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{name}: {value}")?;
                }
                f.write_char('}')
            }
            Value::Made(what, of) => match &**of {
                Value::Text(digits) => write!(f, "{what}({digits})"),
                Value::List(items) => {
                    write!(f, "{what}(")?;
                    inline(f, items)?;
                    f.write_char(')')
                }
                of => write!(f, "{what}{of}"),
            },
        }
    }
}

fn inline(f: &mut Formatter<'_>, items: &[Value]) -> fmt::Result {
    for (at, item) in items.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        write!(f, "{comma}{item}")?;
    }
    Ok(())
}

/// Writes `value` at `column` of a line that is indented by `indent`; what does not fit is broken.
fn put(out: &mut String, value: &Value, indent: usize, column: usize) {
    let short = value.to_string();
    if column + short.len() <= WIDTH {
        out.push_str(&short);
        return;
    }
    let (what, of) = match value {
        Value::Made(what, of) => (what.as_str(), &**of),
        of => ("", of),
    };
    let inner = indent + 2;
    match of {
        Value::List(items) => {
            let (open, close) = if what.is_empty() { ('[', ']') } else { ('(', ')') };
            let _ = write!(out, "{what}{open}");
            if let [only] = items.as_slice() {
                put(out, only, indent, column + what.len() + 1);
                out.push(close);
                return;
            }
            for item in items {
                let _ = write!(out, "\n{:inner$}", "");
                put(out, item, inner, inner);
            }
            let _ = write!(out, "\n{:indent$}{close}", "");
        }
        Value::Struct(fields) => {
            let _ = write!(out, "{what}{{");
            for (name, value) in fields {
                let _ = write!(out, "\n{:inner$}{name}: ", "");
                put(out, value, inner, inner + name.len() + 2);
            }
            let _ = write!(out, "\n{:indent$}}}", "");
        }
        _ => out.push_str(&short),
    }
}

/// Whether a text reads back as itself without quotes.
fn is_word(text: &str) -> bool {
    !matches!(text, "" | "null" | "true" | "false")
        && !text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
        && text.chars().all(is_word_char)
}

/// What may stand in a word without quotes.
pub fn is_word_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-./<>*+@=%".contains(c)
}

fn quote(f: &mut Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '$' => f.write_str("\\$")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}
