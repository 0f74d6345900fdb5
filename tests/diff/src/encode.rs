//! From values to a request's bytes, in any version.
//!
//! A field that the version does not have is left out, so that one body does for many versions; a name
//! that no version has is an error. What is not said has its default, or is null. Nothing is checked: a null or a
//! number where there can be none is written as it would be, since bad requests are what this is for.

use anyhow::{Context, Result, bail, ensure};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::definition::{Field, Kind, Message};
use crate::records;
use crate::value::Value;
use crate::wire::{Out, Width};

/// A message's body.
pub fn message(message: &Message, version: i16, value: &Value, catalog: &Catalog) -> Result<Vec<u8>> {
    let version = message.layout(version);
    let mut writer =
        Writer { out: Out::default(), version, flexible: message.flexible.has(version), catalog };
    writer.fields(&message.fields, value).with_context(|| message.name.clone())?;
    Ok(writer.out.0)
}

struct Writer<'a> {
    out: Out,
    version: i16,
    flexible: bool,
    catalog: &'a Catalog,
}

impl Writer<'_> {
    fn fields(&mut self, fields: &[Field], value: &Value) -> Result<()> {
        let Value::Struct(given) = value else { bail!("{value} is no struct") };
        for (name, _) in given {
            let known = fields.iter().any(|field| field.name == *name) || unknown_tag(name).is_some();
            ensure!(known, "there is no {name}; there are {}", names(fields));
        }
        let version = self.version;
        for field in fields.iter().filter(|f| f.versions.has(version) && !f.tagged.has(version)) {
            let value = value.get(&field.name).unwrap_or(field.unsaid(version));
            self.field(field, value).with_context(|| field.name.clone())?;
        }
        if self.flexible { self.tags(fields, value, given) } else { Ok(()) }
    }

    /// Those that are given, in the order of their numbers; `tag99: hex(…)` is one that nobody knows.
    fn tags(&mut self, fields: &[Field], value: &Value, given: &[(String, Value)]) -> Result<()> {
        let (mut tags, version) = (Vec::new(), self.version);
        for field in fields.iter().filter(|f| f.versions.has(version) && f.tagged.has(version)) {
            let (Some(value), Some(tag)) = (value.get(&field.name), field.tag) else { continue };
            let before = std::mem::take(&mut self.out);
            self.field(field, value).with_context(|| field.name.clone())?;
            tags.push((tag, std::mem::replace(&mut self.out, before).0));
        }
        for (name, value) in given {
            if let Some(tag) = unknown_tag(name) {
                tags.push((tag, bytes(value, self.catalog)?));
            }
        }
        tags.sort();
        self.out.unsigned_varint(tags.len() as u64);
        for (tag, bytes) in tags {
            self.out.unsigned_varint(tag);
            self.out.unsigned_varint(bytes.len() as u64);
            self.out.put(&bytes);
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, value: &Value) -> Result<()> {
        if let Kind::Struct(fields) = &field.kind {
            // Only a struct that may be null says whether it is.
            if field.nullable.has(self.version) {
                let null = *value == Value::Null;
                self.out.put(&(if null { -1i8 } else { 1 }).to_be_bytes());
                if null {
                    return Ok(());
                }
            }
            return self.fields(fields, value);
        }
        self.kind(&field.kind, value)
    }

    fn kind(&mut self, kind: &Kind, value: &Value) -> Result<()> {
        match kind {
            Kind::Bool => self.out.put(&[u8::from(*value == Value::Bool(true))]),
            Kind::Int8 => self.out.put(&(number(value)? as i8).to_be_bytes()),
            Kind::Int16 | Kind::Uint16 => self.out.put(&(number(value)? as i16).to_be_bytes()),
            Kind::Int32 | Kind::Uint32 => self.out.put(&(number(value)? as i32).to_be_bytes()),
            Kind::Int64 => self.out.put(&number(value)?.to_be_bytes()),
            Kind::Float64 => match value {
                Value::Float(number) => self.out.put(&number.to_be_bytes()),
                other => self.out.put(&(number(other)? as f64).to_be_bytes()),
            },
            Kind::Uuid => match value {
                Value::Null => self.out.put(&[0; 16]),
                Value::Text(text) => self.out.put(text.parse::<Uuid>()?.as_bytes()),
                other => bail!("{other} is no uuid"),
            },
            Kind::Text => self.blob(value, Width::Two)?,
            Kind::Bytes | Kind::Records => self.blob(value, Width::Four)?,
            Kind::List(item) => self.list(item, value)?,
            Kind::Struct(fields) => self.fields(fields, value)?,
        }
        Ok(())
    }

    fn list(&mut self, item: &Kind, value: &Value) -> Result<()> {
        let width = if self.flexible { Width::Compact } else { Width::Four };
        if *value == Value::Null {
            self.out.length(None, width);
            return Ok(());
        }
        self.out.length(Some(value.items().len()), width);
        for (at, one) in value.items().iter().enumerate() {
            self.kind(item, one).with_context(|| format!("[{at}]"))?;
        }
        Ok(())
    }

    fn blob(&mut self, value: &Value, width: Width) -> Result<()> {
        let width = if self.flexible { Width::Compact } else { width };
        if *value == Value::Null {
            self.out.length(None, width);
            return Ok(());
        }
        let bytes = bytes(value, self.catalog)?;
        self.out.length(Some(bytes.len()), width);
        self.out.put(&bytes);
        Ok(())
    }
}

pub fn number(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        other => bail!("{other} is no number"),
    }
}

/// The bytes that a text, or something made, stands for.
pub fn bytes(value: &Value, catalog: &Catalog) -> Result<Vec<u8>> {
    let Value::Made(what, of) = value else {
        return match value {
            Value::Text(text) => Ok(text.clone().into_bytes()),
            Value::Int(number) => Ok(number.to_string().into_bytes()),
            Value::List(items) => items.iter().try_fold(Vec::new(), |mut all, item| {
                all.extend(bytes(item, catalog)?);
                Ok(all)
            }),
            other => bail!("{other} stands for no bytes"),
        };
    };
    match what.as_str() {
        "hex" => hex(of),
        "fill" => match of.items() {
            [Value::Int(count)] => Ok(vec![b'x'; usize::try_from(*count)?]),
            _ => bail!("fill(COUNT)"),
        },
        "batch" => records::write::batch(of, catalog),
        "messages" => records::old::messages(of, catalog),
        // A versioned message of Kafka's, such as ConsumerProtocolSubscription/1{…}.
        what => {
            let (name, version) = what.split_once('/').with_context(|| format!("{what} cannot be made"))?;
            let version: i16 = version.parse().with_context(|| format!("the version of {what}"))?;
            let mut bytes = version.to_be_bytes().to_vec();
            bytes.extend(message(&*catalog.message(name)?, version, of, catalog)?);
            Ok(bytes)
        }
    }
}

fn hex(of: &Value) -> Result<Vec<u8>> {
    let Value::Text(digits) = of else { bail!("hex(DIGITS)") };
    let pair = |at: usize| {
        let pair = digits.get(at..at + 2).context("hex digits come in pairs")?;
        u8::from_str_radix(pair, 16).with_context(|| format!("{pair} is no hex number"))
    };
    (0..digits.len()).step_by(2).map(pair).collect()
}

fn unknown_tag(name: &str) -> Option<u64> {
    name.strip_prefix("tag")?.parse().ok()
}

fn names(fields: &[Field]) -> String {
    fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().join(", ")
}
