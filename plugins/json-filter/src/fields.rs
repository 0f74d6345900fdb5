//! The fields of a JSON object that an expression speaks of, and no others.
//!
//! The rest of the document is checked and skipped, strings without escapes are borrowed, and scalars
//! need no allocation: building a whole tree would cost several times as much as the filter itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use cel::common::types::{CelBool, CelDouble, CelInt, CelNull, CelString, CelUInt};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::objects::Key;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

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
    pub(crate) fn new(names: &'a [String]) -> Self {
        Fields { names, values: names.iter().map(|_| None).collect() }
    }

    /// Takes the fields from a JSON object.
    pub(crate) fn read(&mut self, json: &'a [u8]) -> serde_json::Result<()> {
        let mut from = serde_json::Deserializer::from_slice(json);
        from.deserialize_map(Object(self))?;
        from.end()
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

struct Object<'f, 'a>(&'f mut Fields<'a>);

impl<'de: 'a, 'a> Visitor<'de> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(wanted) = map.next_key_seed(Wanted(self.0))? {
            match wanted {
                Some(index) => self.0.values[index] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Reads a key as the index of the field that is wanted, if it is.
struct Wanted<'f, 'a>(&'f Fields<'a>);

impl<'de> DeserializeSeed<'de> for Wanted<'_, '_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Wanted<'_, '_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.index(name))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Scalar)
    }
}

struct Scalar;

impl<'de> Visitor<'de> for Scalar {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Field<'de>, E> {
        Ok(Field::Null(CelNull))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Field<'de>, E> {
        Ok(Field::Bool(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Field<'de>, E> {
        Ok(Field::Int(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Field<'de>, E> {
        // CEL's plain literals are int: a number that fits is one.
        Ok(match i64::try_from(value) {
            Ok(value) => Field::Int(value.into()),
            Err(_) => Field::UInt(value.into()),
        })
    }

    fn visit_f64<E>(self, value: f64) -> Result<Field<'de>, E> {
        Ok(Field::Double(value.into()))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Field<'de>, E> {
        Ok(Field::Text(Cow::Borrowed(value).into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Field<'de>, E> {
        Ok(Field::Text(value.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Field<'de>, A::Error> {
        nested(Tree.visit_seq(seq)?)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Field<'de>, A::Error> {
        nested(Tree.visit_map(map)?)
    }
}

fn nested<'a, E: Error>(value: cel::Value) -> Result<Field<'a>, E> {
    Box::<dyn Val>::try_from(value).map(Field::Nested).map_err(E::custom)
}

/// A whole JSON value.
pub(crate) fn whole<'a>(json: &[u8]) -> serde_json::Result<Field<'a>> {
    nested(Tree.deserialize(&mut serde_json::Deserializer::from_slice(json))?)
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
