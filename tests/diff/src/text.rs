//! Reads values as people write them: JSON without the quotes and commas that nobody needs.
//!
//! ```text
//! {acks: -1, topicData: {name: $t, partitionData: [{index: 0, records: batch(a, "b c")}]}}
//! ```
//!
//! Commas and line ends are blank space. `"${name}"` within quotes is a declared name's value, joined by
//! the player.

use anyhow::{Context, Result, bail, ensure};

use crate::value::{Value, is_word_char};

/// A place in a text; what is before it has been read.
pub struct Reader<'a> {
    rest: &'a str,
}

/// Reads a whole text as one value.
pub fn value(text: &str) -> Result<Value> {
    let mut reader = Reader::new(text);
    let value = reader.value()?;
    reader.end()?;
    Ok(value)
}

/// Reads an answer's block: fields without braces, or one value.
pub fn block(text: &str) -> Result<Value> {
    let mut reader = Reader::new(text);
    reader.skip();
    if reader.rest.starts_with(['<', '"']) || reader.rest.starts_with("hex(") {
        return value(text);
    }
    let fields = reader.fields(None)?;
    Ok(Value::Struct(fields))
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Reader<'a> {
        Reader { rest: text }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    pub fn end(&mut self) -> Result<()> {
        self.skip();
        ensure!(self.rest.is_empty(), "this is too much: {}", self.here());
        Ok(())
    }

    pub fn value(&mut self) -> Result<Value> {
        self.skip();
        let Some(first) = self.rest.chars().next() else { bail!("a value is missing at the end") };
        match first {
            '{' => {
                self.take(1);
                Ok(Value::Struct(self.fields(Some('}'))?))
            }
            '[' => {
                self.take(1);
                Ok(Value::List(self.items(']')?))
            }
            '"' => self.quoted(),
            '$' => {
                self.take(1);
                Ok(Value::Var(self.word(|c| c.is_ascii_alphanumeric() || c == '_')?.into()))
            }
            _ => self.bare(),
        }
    }

    fn bare(&mut self) -> Result<Value> {
        let word = self.word(is_word_char)?;
        match self.rest.chars().next() {
            Some('(') if word == "hex" => {
                let end = self.rest.find(')').context("a closing ')' is missing")?;
                let digits = self.rest[1..end].split_whitespace().collect::<String>();
                self.take(end + 1);
                return Ok(Value::made(word, Value::Text(digits)));
            }
            Some('(') => {
                self.take(1);
                return Ok(Value::made(word, Value::List(self.items(')')?)));
            }
            Some('{') => {
                self.take(1);
                return Ok(Value::made(word, Value::Struct(self.fields(Some('}'))?)));
            }
            _ => {}
        }
        Ok(match word {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            word if word.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+') => number(word)?,
            word => Value::text(word),
        })
    }

    fn items(&mut self, close: char) -> Result<Vec<Value>> {
        let mut items = Vec::new();
        while !self.closed(close)? {
            items.push(self.value()?);
        }
        Ok(items)
    }

    /// Up to `close`, or to the end of the text.
    fn fields(&mut self, close: Option<char>) -> Result<Vec<(String, Value)>> {
        let mut fields = Vec::new();
        loop {
            let done = match close {
                Some(close) => self.closed(close)?,
                None => {
                    self.skip();
                    self.rest.is_empty()
                }
            };
            if done {
                return Ok(fields);
            }
            let name = match self.rest.starts_with('"') {
                true => match self.quoted()? {
                    Value::Text(name) => name,
                    other => bail!("{other} cannot be a field's name"),
                },
                false => self.word(is_word_char)?.to_string(),
            };
            self.skip();
            ensure!(self.rest.starts_with(':'), "after the name {name:?} comes ':', not {}", self.here());
            self.take(1);
            let value = self.value().with_context(|| format!("in {name}"))?;
            fields.push((name, value));
        }
    }

    fn closed(&mut self, close: char) -> Result<bool> {
        self.skip();
        ensure!(!self.rest.is_empty(), "a closing '{close}' is missing");
        let closed = self.rest.starts_with(close);
        if closed {
            self.take(1);
        }
        Ok(closed)
    }

    fn quoted(&mut self) -> Result<Value> {
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.take(at + 1);
                    return Ok(Value::Text(text));
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('u') => {
                        let code: String = chars.by_ref().map(|(_, c)| c).take_while(|c| *c != '}').collect();
                        let code = u32::from_str_radix(code.trim_start_matches('{'), 16)?;
                        text.push(char::from_u32(code).context("no such character")?);
                    }
                    Some(c) => text.push(c),
                    None => break,
                },
                c => text.push(c),
            }
        }
        bail!("a closing quote is missing: {}", self.here())
    }

    /// The next word, which has to be there.
    pub fn word(&mut self, part: impl Fn(char) -> bool) -> Result<&'a str> {
        self.skip();
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        ensure!(end > 0, "a word is missing before {}", self.here());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(word)
    }

    pub fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
    }

    fn take(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }

    fn here(&self) -> String {
        match self.rest.lines().next() {
            Some(line) if !line.is_empty() => format!("`{}`", line.chars().take(40).collect::<String>()),
            _ => "the end of the line".into(),
        }
    }
}

fn number(word: &str) -> Result<Value> {
    let plain = word.replace('_', "");
    if let Ok(number) = plain.parse() {
        return Ok(Value::Int(number));
    }
    plain.parse().map(Value::Float).with_context(|| format!("{word} is no number; a text needs quotes"))
}

/// `line` without its comment.
pub fn uncommented(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            '#' if !quoted => return &line[..at],
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let text =
            r#"{a: -1, b: [x, "y z", "1"], c: batch{n: $v, r: null}, d: hex(ff 00), e: <now>, f: 1.5}"#;
        let read = value(text).unwrap_or_else(|e| panic!("{e:#}"));
        assert_eq!(value(&read.to_string()).ok(), Some(read));
    }

    #[test]
    fn a_long_value_is_broken_and_reads_back() {
        let item =
            Value::Struct(vec![("name".into(), Value::text("x".repeat(60))), ("n".into(), Value::Int(1))]);
        let long = Value::Struct(vec![("items".into(), Value::List(vec![item.clone(), item]))]);
        let text = long.block();
        assert!(text.lines().count() > 3, "{text}");
        assert_eq!(block(&text).unwrap_or_else(|e| panic!("{e:#}")), long);
    }

    #[test]
    fn comments_end_lines_but_not_within_quotes() {
        assert_eq!(uncommented(r##"a "b # c" d # e"##), r##"a "b # c" d "##);
    }
}
