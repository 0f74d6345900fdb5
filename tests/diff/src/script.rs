//! A case as its file says it: steps, one after the other.
//!
//! ```text
//! # A second batch with the same sequence numbers is answered as the first was.
//! topic t partitions=2
//! InitProducerId 4 {transactionTimeoutMs: 60000}
//!   let p = producerId
//! Produce 9 {acks: -1, topicData: {name: $t, partitionData: {index: 0, records: batch{…}}}}
//! ```
//!
//! A step begins at the beginning of a line; what belongs to it is indented. README.md has the whole
//! language.

use std::ops::RangeInclusive;

use anyhow::{Context, Result, bail, ensure};

use crate::text::{Reader, uncommented};
use crate::value::Value;

#[derive(Debug)]
pub struct Script {
    /// The comment that it begins with.
    pub about: String,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    /// In the file, from 1.
    pub line: usize,
    /// The connection it is for.
    pub connection: String,
    pub act: Act,
    pub extras: Extras,
}

#[derive(Debug)]
pub enum Act {
    /// Makes a topic of the case's own, and waits until it is there.
    Topic {
        name: String,
        partitions: i64,
        configs: Vec<(String, String)>,
    },
    /// Declares names that no other case has.
    New(Vec<String>),
    /// A request in each of the versions; `later`: its answer is received by another step.
    Request {
        api: String,
        versions: RangeInclusive<i16>,
        body: Value,
        later: bool,
    },
    /// The next answer that is due.
    Receive,
    /// Bytes instead of a request; the length in front is right.
    Raw(Value),
    Close,
}

/// The indented lines below a step.
#[derive(Debug, Default)]
pub struct Extras {
    /// `let name = path`
    pub lets: Vec<(String, String)>,
    /// `until path = value`: asked again and again until the answer says so.
    pub until: Vec<(String, Value)>,
    /// `keep path value…`: no other items of a list are looked at.
    pub keep: Vec<(String, Vec<Value>)>,
    /// `ignore path`
    pub ignore: Vec<String>,
    /// `client VALUE`: the client id.
    pub client: Option<Value>,
    /// `cut COUNT`: as many bytes are missing at the end.
    pub cut: usize,
    /// `append VALUE`: more bytes than there should be.
    pub append: Option<Value>,
    /// `answered as VERSION`
    pub answered_as: Option<i16>,
    /// `unanswered`
    pub unanswered: bool,
}

impl Script {
    pub fn parse(text: &str) -> Result<Script> {
        let about = text.lines().take_while(|line| line.starts_with('#'));
        let about: Vec<&str> = about.map(|line| line.trim_start_matches('#').trim()).collect();
        ensure!(!about.is_empty(), "a case begins with a comment that says what it shows");
        let steps = chunks(text)
            .into_iter()
            .map(|(line, chunk)| step(line, &chunk).with_context(|| format!("line {line}")));
        Ok(Script { about: about.join(" "), steps: steps.collect::<Result<_>>()? })
    }

    /// What the answers depend on: all but comments and blank space.
    pub fn fingerprint(text: &str) -> String {
        let plain: Vec<&str> = text.lines().flat_map(|line| uncommented(line).split_whitespace()).collect();
        format!("{:08x}", crate::records::crc32c(plain.join(" ").as_bytes()))
    }
}

/// The lines of each step, without comments, and where the first is.
fn chunks(text: &str) -> Vec<(usize, String)> {
    let mut chunks: Vec<(usize, String)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = uncommented(line).trim_end();
        let belongs = line.starts_with([' ', '\t', '}', ']', ')']);
        match chunks.last_mut() {
            _ if line.is_empty() => {}
            Some((_, chunk)) if belongs => {
                chunk.push('\n');
                chunk.push_str(line);
            }
            _ => chunks.push((at + 1, line.to_string())),
        }
    }
    chunks
}

fn step(line: usize, chunk: &str) -> Result<Step> {
    let mut reader = Reader::new(chunk);
    let mut connection = "main".to_string();
    let mut word = plain(&mut reader)?;
    if let Some(name) = word.strip_prefix('@') {
        connection = name.to_string();
        word = plain(&mut reader)?;
    }
    let act = match word {
        "topic" => topic(&mut reader)?,
        "new" => {
            let names: Vec<String> = reader.rest().split_whitespace().map(String::from).collect();
            ensure!(!names.is_empty(), "new NAME…");
            return Ok(Step { line, connection, act: Act::New(names), extras: Extras::default() });
        }
        "receive" => Act::Receive,
        "close" => Act::Close,
        "raw" => Act::Raw(reader.value()?),
        "send" => {
            let api = plain(&mut reader)?;
            request(api, true, &mut reader)?
        }
        api => request(api, false, &mut reader)?,
    };
    let extras = extras(reader.rest())?;
    Ok(Step { line, connection, act, extras })
}

fn plain<'a>(reader: &mut Reader<'a>) -> Result<&'a str> {
    reader.word(|c| !c.is_whitespace() && c != '{')
}

fn topic(reader: &mut Reader<'_>) -> Result<Act> {
    let name = plain(reader)?.to_string();
    let (mut partitions, mut configs) = (1, Vec::new());
    while !reader.rest().trim().is_empty() {
        let word = plain(reader)?;
        let (key, value) = word.split_once('=').with_context(|| format!("{word}: KEY=VALUE"))?;
        match key {
            "partitions" => partitions = value.parse().context("partitions=COUNT")?,
            _ => configs.push((key.to_string(), value.to_string())),
        }
    }
    Ok(Act::Topic { name, partitions, configs })
}

fn request(api: &str, later: bool, reader: &mut Reader<'_>) -> Result<Act> {
    ensure!(api.starts_with(|c: char| c.is_ascii_uppercase()), "there is no step {api}");
    let said = plain(reader).with_context(|| format!("{api} VERSION {{BODY}}"))?;
    let number = |text: &str| text.parse::<i16>().with_context(|| format!("{said} is no version"));
    let versions = match said.split_once("..") {
        Some((first, last)) => number(first)?..=number(last)?,
        None => number(said)?..=number(said)?,
    };
    let body = match reader.rest().trim_start().starts_with('{') {
        true => reader.value()?,
        false => Value::Struct(Vec::new()),
    };
    Ok(Act::Request { api: api.into(), versions, body, later })
}

fn extras(text: &str) -> Result<Extras> {
    let mut extras = Extras::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let said = || {
            let (left, right) = rest.split_once(" = ").with_context(|| format!("{word} … = …: {line}"))?;
            anyhow::Ok((left.trim().to_string(), right.trim()))
        };
        let value = |text| {
            let mut reader = Reader::new(text);
            let value = reader.value()?;
            reader.end()?;
            anyhow::Ok(value)
        };
        match word {
            "let" => {
                let (name, path) = said()?;
                extras.lets.push((name, path.into()));
            }
            "until" => {
                let (path, wanted) = said()?;
                extras.until.push((path, value(wanted)?));
            }
            "keep" => {
                let (path, items) = rest.split_once(' ').context("keep PATH VALUE…")?;
                extras.keep.push((path.into(), value(&format!("[{items}]"))?.items().to_vec()));
            }
            "ignore" => extras.ignore.push(rest.into()),
            "client" => extras.client = Some(value(rest)?),
            "cut" => extras.cut = rest.parse().context("cut COUNT")?,
            "append" => extras.append = Some(value(rest)?),
            "answered" => {
                let version = rest.strip_prefix("as ").context("answered as VERSION")?;
                extras.answered_as = Some(version.parse().context("answered as VERSION")?);
            }
            "unanswered" => extras.unanswered = true,
            _ => bail!("{line}: a step has no {word:?}"),
        }
    }
    Ok(extras)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_goes_on_over_indented_lines() {
        let script = Script::parse("# About.\ntopic t partitions=2 cleanup.policy=compact\n@b Fetch 4..6 {\n  a: 1 # one\n}\n  let x = a.b[0]\n  until e = NONE\n").unwrap();
        assert_eq!(script.about, "About.");
        assert_eq!(script.steps.len(), 2);
        let step = &script.steps[1];
        assert_eq!((step.line, step.connection.as_str()), (3, "b"));
        assert_eq!(step.extras.lets, [("x".to_string(), "a.b[0]".to_string())]);
        assert!(
            matches!(&step.act, Act::Request { api, versions, .. } if api == "Fetch" && *versions == (4..=6))
        );
    }

    #[test]
    fn comments_do_not_count_in_the_fingerprint() {
        assert_eq!(Script::fingerprint("# a\nx  y\n"), Script::fingerprint("# b\nx y # z\n"));
        assert_ne!(Script::fingerprint("x"), Script::fingerprint("y"));
    }
}
