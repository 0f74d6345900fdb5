//! From an answer's bytes to values, in any version.
//!
//! Error codes are told by name. A tagged field that is absent or has its default is left out: to a client
//! they are one.

use anyhow::{Context, Result, ensure};
use flumen_protocol::ErrorCode;
use uuid::Uuid;

use crate::definition::{Field, Kind, Message};
use crate::records;
use crate::value::Value;
use crate::wire::{In, Width};

/// A message's body, all of it.
pub fn message(message: &Message, version: i16, bytes: &[u8]) -> Result<Value> {
    let version = message.layout(version);
    let mut reader = Reader { input: In(bytes), version, flexible: message.flexible.has(version) };
    let value = reader.fields(&message.fields).with_context(|| message.name.clone())?;
    ensure!(reader.input.0.is_empty(), "{} bytes are left behind {value}", reader.input.0.len());
    Ok(value)
}

struct Reader<'a> {
    input: In<'a>,
    version: i16,
    flexible: bool,
}

impl Reader<'_> {
    fn fields(&mut self, fields: &[Field]) -> Result<Value> {
        let version = self.version;
        let mut read = Vec::new();
        for field in fields.iter().filter(|f| f.versions.has(version) && !f.tagged.has(version)) {
            read.push((field.name.clone(), self.field(field).with_context(|| field.name.clone())?));
        }
        if self.flexible {
            for _ in 0..self.input.unsigned_varint()? {
                read.extend(self.tag(fields)?);
            }
        }
        Ok(Value::Struct(read))
    }

    fn tag(&mut self, fields: &[Field]) -> Result<Option<(String, Value)>> {
        let tag = self.input.unsigned_varint()?;
        let length = self.input.unsigned_varint()? as usize;
        let bytes = self.input.take(length)?;
        let known = fields.iter().find(|f| f.tag == Some(tag) && f.tagged.has(self.version));
        let Some(field) = known else { return Ok(Some((format!("tag{tag}"), blob(bytes)))) };
        let mut inner = Reader { input: In(bytes), ..*self };
        let value = inner.field(field).with_context(|| field.name.clone())?;
        ensure!(inner.input.0.is_empty(), "{}: bytes are left", field.name);
        Ok((value != field.default).then(|| (field.name.clone(), value)))
    }

    fn field(&mut self, field: &Field) -> Result<Value> {
        if let Kind::Struct(fields) = &field.kind {
            if field.nullable.has(self.version) && self.input.i8()? < 0 {
                return Ok(Value::Null);
            }
            return self.fields(fields);
        }
        let value = self.kind(&field.kind)?;
        Ok(match (&value, &field.kind) {
            (Value::Int(code), Kind::Int16) if field.name.ends_with("rrorCode") => error_name(*code as i16),
            _ => value,
        })
    }

    fn kind(&mut self, kind: &Kind) -> Result<Value> {
        let width = |plain| if self.flexible { Width::Compact } else { plain };
        Ok(match kind {
            Kind::Bool => Value::Bool(self.input.i8()? != 0),
            Kind::Int8 => Value::Int(self.input.i8()?.into()),
            Kind::Int16 => Value::Int(self.input.i16()?.into()),
            Kind::Uint16 => Value::Int((self.input.i16()? as u16).into()),
            Kind::Int32 => Value::Int(self.input.i32()?.into()),
            Kind::Uint32 => Value::Int((self.input.i32()? as u32).into()),
            Kind::Int64 => Value::Int(self.input.i64()?),
            Kind::Float64 => Value::Float(f64::from_be_bytes(self.input.array()?)),
            Kind::Uuid => match Uuid::from_bytes(self.input.array()?) {
                id if id.is_nil() => Value::Null,
                id => Value::text(id.to_string()),
            },
            Kind::Text => match self.input.length(width(Width::Two))? {
                None => Value::Null,
                Some(length) => Value::text(std::str::from_utf8(self.input.take(length)?)?),
            },
            Kind::Bytes => match self.input.length(width(Width::Four))? {
                None => Value::Null,
                Some(length) => blob(self.input.take(length)?),
            },
            Kind::Records => match self.input.length(width(Width::Four))? {
                None => Value::Null,
                Some(length) => records::read::batches(self.input.take(length)?)?,
            },
            Kind::List(item) => match self.input.length(width(Width::Four))? {
                None => Value::Null,
                Some(count) => {
                    ensure!(count <= self.input.0.len(), "{count} items cannot follow");
                    Value::List((0..count).map(|_| self.kind(item)).collect::<Result<_>>()?)
                }
            },
            Kind::Struct(fields) => self.fields(fields)?,
        })
    }
}

/// Bytes as a text if they are one.
pub fn blob(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() > 64 && text.bytes().all(|byte| byte == b'x') => {
            Value::made("fill", Value::List(vec![Value::Int(bytes.len() as i64)]))
        }
        Ok(text) if !text.chars().any(char::is_control) => Value::text(text),
        _ => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Value::made("hex", Value::Text(digits))
        }
    }
}

fn error_name(code: i16) -> Value {
    match ErrorCode::from(code) {
        error if error.code() == code => Value::text(error.name()),
        _ => Value::Int(code.into()),
    }
}
