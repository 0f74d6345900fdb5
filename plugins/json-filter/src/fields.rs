//! The fields of a JSON object that an expression speaks of, and no others: first as they are written,
//! and as CEL's values only where CEL is asked.

use std::collections::HashMap;
use std::fmt;

use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelUInt};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::objects::Key;
use flumen_sdk::json::{self, Kind, Raw};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Takes the values of `names` from a JSON object, in their order. The whole document is checked.
#[inline]
pub(crate) fn read<'a>(
    json: &'a [u8],
    names: &[String],
    values: &mut [Option<Raw<'a>>],
) -> Result<(), json::Invalid> {
    let mut fields = json::fields(json)?;
    while let Some((name, raw)) = fields.next_field()? {
        if let Some(at) = names.iter().position(|wanted| name.is(wanted)) {
            values[at] = Some(raw);
        }
    }
    Ok(())
}

/// What the names of an expression stand for, for one record.
pub(crate) struct Fields<'a> {
    names: &'a [String],
    values: Vec<Option<Field<'a>>>,
}

pub(crate) enum Field<'a> {
    Null(CelNull),
    Bool(CelBool),
    Int(CelInt),
    UInt(CelUInt),
    Double(CelDouble),
    Text(CelString<'a>),
    Nested(Box<dyn Val>),
}

impl<'a> Fields<'a> {
    pub(crate) fn new(names: &'a [String], values: &[Option<Raw<'a>>]) -> serde_json::Result<Self> {
        let values = values.iter().map(|raw| raw.map(Field::of).transpose());
        Ok(Fields { names, values: values.collect::<Result<_, _>>()? })
    }

    /// Sets a name that is no field of the object.
    pub(crate) fn set(&mut self, name: &str, field: Field<'a>) {
        if let Some(index) = self.index(name) {
            self.values[index] = Some(field);
        }
    }

    /// Whether one of the names is absent or null.
    pub(crate) fn has_gap(&self) -> bool {
        self.values.iter().any(|value| matches!(value, None | Some(Field::Null(_))))
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|wanted| wanted == name)
    }
}

impl VariableResolver for Fields<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        static NULL: CelNull = CelNull;
        Some(CowVal::Borrowed(match &self.values[self.index(name)?] {
            None => &NULL,
            Some(Field::Null(null)) => null,
            Some(Field::Bool(bool)) => bool,
            Some(Field::Int(int)) => int,
            Some(Field::UInt(int)) => int,
            Some(Field::Double(double)) => double,
            Some(Field::Text(text)) => text,
            Some(Field::Nested(value)) => value.as_ref(),
        }))
    }
}

impl<'a> Field<'a> {
    fn of(raw: Raw<'a>) -> serde_json::Result<Self> {
        Ok(match raw.kind() {
            Kind::Null => Field::Null(CelNull),
            Kind::Bool => Field::Bool((raw.json() == "true").into()),
            Kind::Text => Field::Text(raw.to_text().into()),
            Kind::Array | Kind::Object => return Field::whole(raw.json().as_bytes()),
            // CEL's plain literals are int: a number that fits is one.
            Kind::Number => match (raw.as_i64(), raw.json().parse::<u64>()) {
                (Some(int), _) => Field::Int(int.into()),
                (None, Ok(int)) => Field::UInt(int.into()),
                (None, Err(_)) => Field::Double(raw.as_f64().unwrap_or(f64::NAN).into()),
            },
        })
    }

    /// A JSON value with all that is in it.
    pub(crate) fn whole(json: &[u8]) -> serde_json::Result<Self> {
        let value = Tree.deserialize(&mut serde_json::Deserializer::from_slice(json))?;
        Box::<dyn Val>::try_from(value).map(Field::Nested).map_err(serde_json::Error::custom)
    }
}

struct Tree;

impl<'de> DeserializeSeed<'de> for Tree {
    type Value = cel::Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<cel::Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = cel::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<cel::Value, E> {
        Ok(cel::Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<cel::Value, E> {
        Ok(cel::Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<cel::Value, E> {
        Ok(cel::Value::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<cel::Value, E> {
        Ok(i64::try_from(value).map_or(cel::Value::UInt(value), cel::Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<cel::Value, E> {
        Ok(cel::Value::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<cel::Value, E> {
        Ok(cel::Value::String(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<cel::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Tree)? {
            list.push(value);
        }
        Ok(cel::Value::List(list.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<cel::Value, A::Error> {
        let mut fields = HashMap::new();
        while let Some(name) = map.next_key::<String>()? {
            fields.insert(Key::String(name.into()), map.next_value_seed(Tree)?);
        }
        Ok(cel::Value::Map(cel::objects::Map { map: fields.into() }))
    }
}
