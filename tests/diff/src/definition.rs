//! Kafka's definition of a message: its fields, and in which versions each is there.
//!
//! Read from the JSON files that Kafka generates its own classes from (`common/message/` in the jar
//! kafka-clients). Fields are called as Kafka's request log calls them: `TopicName` is `topicName`.

use std::collections::HashMap;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::value::Value;

pub struct Message {
    pub name: String,
    pub api_key: Option<i16>,
    pub versions: Versions,
    /// Where lengths are varints and tagged fields follow.
    pub flexible: Versions,
    pub fields: Vec<Field>,
}

#[derive(Clone)]
pub struct Field {
    pub name: String,
    pub kind: Kind,
    pub versions: Versions,
    pub nullable: Versions,
    /// Its number where it is a tagged field.
    pub tag: Option<u64>,
    pub tagged: Versions,
    pub default: Value,
    /// Whether the definition says the default; else it is that of the kind.
    pub has_default: bool,
}

impl Field {
    /// What stands for a field that a request does not give. A case that leaves out what may be null means
    /// null, though Kafka's own classes would say an empty text.
    pub fn unsaid(&self, version: i16) -> &Value {
        match self.has_default || !self.nullable.has(version) {
            true => &self.default,
            false => &Value::Null,
        }
    }
}

#[derive(Clone)]
pub enum Kind {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Text,
    Uuid,
    Bytes,
    Records,
    List(Box<Kind>),
    Struct(Vec<Field>),
}

/// `3-7`, `3+`, `3`, `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    pub min: i16,
    pub max: i16,
}

impl Versions {
    pub const NONE: Versions = Versions { min: 0, max: -1 };

    pub fn has(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl FromStr for Versions {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Versions> {
        let number = |text: &str| text.parse().with_context(|| format!("{text} is no version"));
        Ok(match (text, text.strip_suffix('+'), text.split_once('-')) {
            ("none", ..) => Versions::NONE,
            (_, Some(min), _) => Versions { min: number(min)?, max: i16::MAX },
            (_, _, Some((min, max))) => Versions { min: number(min)?, max: number(max)? },
            _ => Versions { min: number(text)?, max: number(text)? },
        })
    }
}

impl Message {
    /// From a definition file, whose comments are lines of their own.
    pub fn parse(text: &str) -> Result<Message> {
        let plain: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let raw: RawMessage = serde_json::from_str(&plain.join("\n"))?;
        let common = raw.common_structs.iter().map(|one| (one.name.as_str(), one)).collect();
        Ok(Message {
            fields: fields(&raw.fields, &common).with_context(|| raw.name.clone())?,
            name: raw.name,
            api_key: raw.api_key,
            versions: raw.valid_versions.parse()?,
            flexible: raw.flexible_versions.parse()?,
        })
    }

    /// The version whose layout a request of `version` has: the nearest that is defined.
    pub fn layout(&self, version: i16) -> i16 {
        version.clamp(self.versions.min, self.versions.max)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMessage {
    name: String,
    api_key: Option<i16>,
    valid_versions: String,
    flexible_versions: String,
    fields: Vec<RawField>,
    #[serde(default)]
    common_structs: Vec<RawStruct>,
}

#[derive(Deserialize)]
struct RawStruct {
    name: String,
    fields: Vec<RawField>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawField {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    versions: String,
    nullable_versions: Option<String>,
    tag: Option<u64>,
    tagged_versions: Option<String>,
    default: Option<serde_json::Value>,
    #[serde(default)]
    fields: Vec<RawField>,
}

fn fields(raw: &[RawField], common: &HashMap<&str, &RawStruct>) -> Result<Vec<Field>> {
    raw.iter().map(|raw| field(raw, common).with_context(|| raw.name.clone())).collect()
}

fn field(raw: &RawField, common: &HashMap<&str, &RawStruct>) -> Result<Field> {
    let versions = |text: &Option<String>| text.as_deref().map_or(Ok(Versions::NONE), Versions::from_str);
    let kind = kind(&raw.kind, raw, common)?;
    let mut name = raw.name.clone();
    name[..1].make_ascii_lowercase();
    Ok(Field {
        name,
        default: default(&kind, raw.default.as_ref())?,
        has_default: raw.default.is_some(),
        kind,
        versions: raw.versions.parse()?,
        nullable: versions(&raw.nullable_versions)?,
        tag: raw.tag,
        tagged: versions(&raw.tagged_versions)?,
    })
}

fn kind(name: &str, raw: &RawField, common: &HashMap<&str, &RawStruct>) -> Result<Kind> {
    Ok(match name {
        "bool" => Kind::Bool,
        "int8" => Kind::Int8,
        "int16" => Kind::Int16,
        "uint16" => Kind::Uint16,
        "int32" => Kind::Int32,
        "uint32" => Kind::Uint32,
        "int64" => Kind::Int64,
        "float64" => Kind::Float64,
        "string" => Kind::Text,
        "uuid" => Kind::Uuid,
        "bytes" => Kind::Bytes,
        "records" => Kind::Records,
        name => match name.strip_prefix("[]") {
            Some(item) => Kind::List(Box::new(kind(item, raw, common)?)),
            None if !raw.fields.is_empty() => Kind::Struct(fields(&raw.fields, common)?),
            None => match common.get(name) {
                Some(found) => Kind::Struct(fields(&found.fields, common)?),
                None => bail!("the type {name} is not defined"),
            },
        },
    })
}

fn default(kind: &Kind, said: Option<&serde_json::Value>) -> Result<Value> {
    let text = match said {
        Some(serde_json::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    Ok(match (kind, text.as_str()) {
        (_, "null") => Value::Null,
        (Kind::Bool, text) => Value::Bool(text == "true"),
        (Kind::Text, text) => Value::text(text),
        (Kind::Bytes, _) => Value::text(""),
        (Kind::Uuid | Kind::Records, _) => Value::Null,
        (Kind::List(_), _) => Value::List(Vec::new()),
        (Kind::Struct(_), _) => Value::Struct(Vec::new()),
        (Kind::Float64, text) => Value::Float(text.parse().unwrap_or_default()),
        (_, "") => Value::Int(0),
        (_, text) => match text.strip_prefix("0x") {
            Some(hex) => Value::Int(i64::from_str_radix(hex, 16)?),
            None => Value::Int(text.parse().with_context(|| format!("the default {text}"))?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_kafka_writes_them() {
        let versions = |text: &str| text.parse::<Versions>().unwrap();
        assert_eq!(versions("4-18"), Versions { min: 4, max: 18 });
        assert_eq!(versions("2+"), Versions { min: 2, max: i16::MAX });
        assert!(versions("3").has(3) && !versions("none").has(0));
    }
}
