//! The filter: an expression compiled once, evaluated against the fields of each record.

use std::borrow::Cow;
use std::sync::Arc;

use cel::parser::{Expression, PrattParser};
use cel::{Context, Env, ExecutionError, Value};
use flumen_sdk::json::Raw;
use flumen_sdk::{Batch, Error, Filter, Plugin, RecordRef, Result, Setup};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::fields::{self, Field, Fields};
use crate::quick::Quick;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A CEL expression over the fields of the value, such as `amount > 100 && country in ["FR", "DE"]`.
    /// `_key`, `_topic`, `_partition`, `_offset` and `_timestamp` (ms) speak of the record, `_value` of
    /// the whole object.
    #[serde(rename = "where")]
    pub condition: String,
    /// What happens to a record for which the expression has no answer, because a field that it
    /// speaks of is missing or null.
    #[serde(default)]
    pub missing: Missing,
    /// What happens to records without a value (deletes).
    #[serde(default)]
    pub tombstones: Tombstones,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// As in SQL, where unknown is not true.
    #[default]
    Drop,
    Keep,
    Reject,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tombstones {
    /// So that deletes reach what stands behind the filter.
    #[default]
    Keep,
    Drop,
}

pub struct JsonFilter {
    expression: Expression,
    /// None where the expression is more than that, or speaks of more than fields.
    quick: Option<Quick>,
    env: Arc<Env>,
    names: Vec<String>,
    wants_value: bool,
    wants_record: bool,
    config: Config,
    topic: String,
    partition: u32,
}

/// So many fields are looked up without taking memory.
const NAMES_IN_PLACE: usize = 16;

const RECORD_NAMES: [&str; 5] = ["_key", "_topic", "_partition", "_offset", "_timestamp"];

/// Names that CEL gives a meaning of its own.
const TYPE_NAMES: [&str; 10] =
    ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type"];

impl Plugin for JsonFilter {
    type Config = Config;

    fn new(config: Config, _: &Setup) -> Result<Self> {
        let env = Arc::new(Env::stdlib());
        // The newer of the crate's two parsers: the older brings ANTLR's runtime, half of the plugin's size.
        let expression = PrattParser::new()
            .parse(&config.condition)
            .map_err(|error| Error::fatal(format_args!("where = {:?}: {error}", config.condition)))?;
        let references = expression.references();
        let mut names: Vec<String> = references
            .variables()
            .into_iter()
            .filter(|name| !name.starts_with('@') && !TYPE_NAMES.contains(name))
            .map(str::to_owned)
            .collect();
        names.sort();
        let wants_value = names.iter().any(|name| name == "_value");
        let wants_record = names.iter().any(|name| RECORD_NAMES.contains(&name.as_str()));
        let only_fields = !wants_value && !wants_record;
        let quick = Quick::of(&expression.expr, &names).filter(|_| only_fields);
        Ok(JsonFilter {
            wants_value,
            wants_record,
            quick,
            topic: String::new(),
            partition: 0,
            expression,
            env,
            names,
            config,
        })
    }
}

impl Filter for JsonFilter {
    fn begin(&mut self, batch: &Batch<'_>) {
        batch.topic.clone_into(&mut self.topic);
        self.partition = batch.partition;
    }

    fn keep(&mut self, record: &RecordRef<'_>) -> Result<bool> {
        let Some(json) = record.value() else {
            return Ok(self.config.tombstones == Tombstones::Keep);
        };
        let mut room = [None; NAMES_IN_PLACE];
        let mut more;
        let values = match room.get_mut(..self.names.len()) {
            Some(values) => values,
            None => {
                more = vec![None; self.names.len()];
                &mut more[..]
            }
        };
        fields::read(json, &self.names, values)?;
        match self.quick.as_ref().and_then(|quick| quick.answer(values)) {
            Some(keep) => Ok(keep),
            None => self.ask(record, json, values),
        }
    }
}

impl JsonFilter {
    /// Asks CEL.
    fn ask(&self, record: &RecordRef<'_>, json: &[u8], values: &[Option<Raw<'_>>]) -> Result<bool> {
        let mut fields = Fields::new(&self.names, values)?;
        if self.wants_value {
            fields.set("_value", Field::whole(json)?);
        }
        if self.wants_record {
            self.speak_of(record, &mut fields);
        }
        self.evaluate(&fields)
    }

    fn speak_of<'a>(&'a self, record: &RecordRef<'a>, fields: &mut Fields<'a>) {
        if let Some(key) = record.key() {
            fields.set("_key", Field::Text(String::from_utf8_lossy(key).into()));
        }
        fields.set("_topic", Field::Text(Cow::Borrowed(self.topic.as_str()).into()));
        fields.set("_partition", Field::Int(i64::from(self.partition).into()));
        fields.set("_offset", Field::Int(record.offset().into()));
        fields.set("_timestamp", Field::Int(record.timestamp().into()));
    }

    fn evaluate(&self, fields: &Fields<'_>) -> Result<bool> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.set_variable_resolver(fields);
        match Value::resolve(&self.expression, &context) {
            Ok(Value::Bool(keep)) => Ok(keep),
            Ok(other) => Err(Error::reject(format_args!(
                "where = {:?} gives {:?}, which is neither true nor false",
                self.config.condition,
                other.type_of()
            ))),
            Err(error) if matches!(error, ExecutionError::NoSuchKey(_)) || fields.has_gap() => {
                match self.config.missing {
                    Missing::Drop => Ok(false),
                    Missing::Keep => Ok(true),
                    Missing::Reject => Err(self.failed(&error)),
                }
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn failed(&self, error: &ExecutionError) -> Error {
        Error::reject(format_args!("where = {:?}: {error}", self.config.condition))
    }
}
