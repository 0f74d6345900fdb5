//! What a key's value can be: how it is read, described, shown, and said to Kafka.
//!
//! Invariant: a `read` that returns `None` has left at least one problem behind.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use flumen_types::{ByteSize, Millis};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::place::Place;
use crate::problem::Problem;
use crate::tree::{self, Node, Value};
use crate::world::World;

/// A value and the dotted name of its key.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) path: &'a str,
    pub(crate) node: &'a Node,
}

/// What reading needs and leaves behind.
pub(crate) struct Ctx<'a> {
    pub(crate) world: &'a dyn World,
    /// The first file's folder.
    pub(crate) folder: &'a Path,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

impl Ctx<'_> {
    pub(crate) fn problem(&mut self, node: &Node, found: impl Into<String>, expected: &str) {
        self.problems.push(Problem::new(node.place.clone(), found).expected(expected));
    }

    /// The value is not what the type takes.
    pub(crate) fn wrong<T: Field>(&mut self, at: At<'_>) {
        self.problem(at.node, format!("{} is {}", at.path, at.node.found()), T::EXPECTED);
    }

    /// A path as written, from the folder of the file that it is written in.
    pub(crate) fn resolve(&self, node: &Node, path: &str) -> PathBuf {
        node.place.folder().unwrap_or(self.folder).join(path)
    }
}

pub(crate) trait Field: Sized + Serialize + JsonSchema {
    /// One or two words for the reference.
    const TYPE: &'static str;
    /// `expected a ...`
    const EXPECTED: &'static str;
    /// A variable of the environment is taken as text, not read as TOML.
    const PLAIN_TEXT: bool = false;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<Self>;

    /// What it is when the key is missing and has no default.
    fn absent() -> Option<Self> {
        None
    }

    /// For a key with a least value.
    fn magnitude(&self) -> Option<i64> {
        None
    }

    /// As Kafka writes it among a topic's settings.
    fn kafka(&self) -> Option<String> {
        None
    }
}

/// Reads a value, and one from the environment as if it stood in the file.
pub(crate) fn read<T: Field>(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<T> {
    if let (false, Place::Variable(_), Value::Text(text)) = (T::PLAIN_TEXT, &at.node.place, &at.node.value)
        && let Some(node) = tree::parse_value(text, &at.node.place)
    {
        return T::read(At { node: &node, ..at }, ctx);
    }
    T::read(at, ctx)
}

impl<T: Field> Field for Option<T> {
    const TYPE: &'static str = T::TYPE;
    const EXPECTED: &'static str = T::EXPECTED;
    const PLAIN_TEXT: bool = T::PLAIN_TEXT;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<Self> {
        T::read(at, ctx).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn magnitude(&self) -> Option<i64> {
        self.as_ref()?.magnitude()
    }

    fn kafka(&self) -> Option<String> {
        self.as_ref()?.kafka()
    }
}

impl Field for bool {
    const TYPE: &'static str = "true or false";
    const EXPECTED: &'static str = "expected true or false";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<bool> {
        match at.node.value {
            Value::Boolean(yes) => Some(yes),
            _ => {
                ctx.wrong::<Self>(at);
                None
            }
        }
    }

    fn kafka(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! integer {
    ($type:ty, $describe:literal, $expected:literal) => {
        impl Field for $type {
            const TYPE: &'static str = $describe;
            const EXPECTED: &'static str = $expected;

            fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<$type> {
                if let Value::Integer(number) = at.node.value
                    && let Ok(number) = <$type>::try_from(number)
                {
                    return Some(number);
                }
                ctx.wrong::<Self>(at);
                None
            }

            fn magnitude(&self) -> Option<i64> {
                i64::try_from(*self).ok()
            }

            fn kafka(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
    };
}

integer!(i32, "number", "expected a whole number");
integer!(u32, "number", "expected a whole number from 0 on");
integer!(u64, "number", "expected a whole number from 0 on");

impl Field for NonZeroU32 {
    const TYPE: &'static str = "number";
    const EXPECTED: &'static str = "expected a whole number from 1 on";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<NonZeroU32> {
        // Kafka's counts are 32-bit and signed on the wire.
        if let Value::Integer(number) = at.node.value
            && let Some(number) = i32::try_from(number).ok().and_then(|n| u32::try_from(n).ok())
            && let Some(number) = NonZeroU32::new(number)
        {
            return Some(number);
        }
        ctx.wrong::<Self>(at);
        None
    }

    fn kafka(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Field for f64 {
    const TYPE: &'static str = "fraction";
    const EXPECTED: &'static str = "expected a number from 0 to 1";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<f64> {
        let number = match at.node.value {
            Value::Float(number) => Some(number),
            Value::Integer(number) => Some(number as f64),
            _ => None,
        };
        let number = number.filter(|number| (0.0..=1.0).contains(number));
        if number.is_none() {
            ctx.wrong::<Self>(at);
        }
        number
    }

    fn kafka(&self) -> Option<String> {
        Some(self.to_string())
    }
}

macro_rules! unit {
    ($type:ty, $describe:literal, $expected:literal) => {
        impl Field for $type {
            const TYPE: &'static str = $describe;
            const EXPECTED: &'static str = $expected;

            fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<$type> {
                let value = match &at.node.value {
                    Value::Integer(number) => Some(Self(*number)).filter(|_| *number >= -1),
                    Value::Text(text) => text.parse().ok(),
                    _ => None,
                };
                if value.is_none() {
                    ctx.wrong::<Self>(at);
                }
                value
            }

            fn magnitude(&self) -> Option<i64> {
                Some(self.0)
            }

            fn kafka(&self) -> Option<String> {
                Some(self.0.to_string())
            }
        }
    };
}

unit!(Millis, "time", "expected milliseconds as a number, or a text with ms, s, m, h or d such as \"7d\"");
unit!(
    ByteSize,
    "size",
    "expected bytes as a number, or a text with KiB, MiB, GiB, kB, MB or GB such as \"64MiB\""
);

/// A path, relative to the file it is written in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath {
    written: String,
    /// From the folder that the process started in, or absolute.
    pub path: PathBuf,
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.written)
    }
}

impl JsonSchema for FilePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FilePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "description": "A path, relative to this file", "type": "string", "minLength": 1 })
    }
}

impl Field for FilePath {
    const TYPE: &'static str = "path";
    const EXPECTED: &'static str = "expected a path, relative to this file";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<FilePath> {
        match &at.node.value {
            Value::Text(text) if !text.is_empty() => {
                Some(FilePath { written: text.clone(), path: ctx.resolve(at.node, text) })
            }
            _ => {
                ctx.wrong::<Self>(at);
                None
            }
        }
    }
}

/// The elements of a list, or the one value that stands for a list of one; in the environment, with
/// commas between. Elements that cannot be read leave problems and are left out.
pub(crate) fn list<T>(
    at: At<'_>,
    ctx: &mut Ctx<'_>,
    mut element: impl FnMut(At<'_>, &mut Ctx<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let before = ctx.problems.len();
    let values: Vec<T> = match &at.node.value {
        Value::Array(list) => list.iter().filter_map(|node| element(At { node, ..at }, ctx)).collect(),
        Value::Text(text) if matches!(at.node.place, Place::Variable(_)) => text
            .split(',')
            .filter_map(|part| {
                let node = Node { place: at.node.place.clone(), value: Value::Text(part.trim().into()) };
                element(At { node: &node, ..at }, ctx)
            })
            .collect(),
        _ => element(at, ctx).into_iter().collect(),
    };
    (ctx.problems.len() == before).then_some(values)
}

/// A closed set of words.
macro_rules! choice {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident = $text:literal,)+ } expected $expected:literal) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, schemars::JsonSchema)]
        pub enum $name {
            $($(#[doc = $vdoc])+ #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$variant),+];

            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl crate::field::Field for $name {
            const TYPE: &'static str = concat!("one of ", $expected);
            const EXPECTED: &'static str = concat!("expected ", $expected);
            const PLAIN_TEXT: bool = true;

            fn read(at: crate::field::At<'_>, ctx: &mut crate::field::Ctx<'_>) -> Option<$name> {
                let crate::tree::Value::Text(text) = &at.node.value else {
                    ctx.wrong::<Self>(at);
                    return None;
                };
                let found = $name::ALL.iter().copied().find(|choice| choice.as_str() == text);
                if found.is_none() {
                    let problem = crate::problem::Problem::new(
                        at.node.place.clone(),
                        format!("{} is {}", at.path, at.node.found()),
                    );
                    let names = $name::ALL.iter().map(|choice| choice.as_str());
                    ctx.problems.push(problem.expected(Self::EXPECTED).near(text, names));
                }
                found
            }

            fn kafka(&self) -> Option<String> {
                Some(self.as_str().to_string())
            }
        }
    };
}
pub(crate) use choice;
