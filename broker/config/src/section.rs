//! A table of the file with a closed set of keys, declared once: the type, the reader, the JSON Schema
//! and the reference page come from the same lines.
//!
//! Invariants: a key with dots can be written dotted, nested or quoted, and reads the same. Every key of
//! a section has a doc comment. Unknown keys are problems.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::{Schema, SchemaGenerator};

use crate::field::{At, Ctx, Field};
use crate::place::Place;
use crate::problem::Problem;
use crate::tree::{self, Node, Table, Value};
use crate::world::Nowhere;

/// What is known of a key without a value.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) required: bool,
}

/// A key with its value, for those who look at all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: &'static str,
    /// Null when it is unset; secrets are masked.
    pub value: serde_json::Value,
    /// As Kafka writes it among settings.
    pub kafka: Option<String>,
}

/// How to write one key shorter: (`http`, `http.address`). The short form is a value, never a table.
pub(crate) type ShortForm = (&'static str, &'static str);

/// What a table's keys have beside their types.
pub(crate) struct Habits {
    pub(crate) short: &'static [ShortForm],
    /// Where a key that other programs know is found here.
    pub(crate) elsewhere: fn(&str) -> Option<String>,
    /// What was expected, if a value that reads is wrong all the same.
    pub(crate) judge: fn(key: &str, kafka: &str) -> Option<String>,
}

impl Habits {
    pub(crate) const NONE: Habits = Habits { short: &[], elsewhere: |_| None, judge: |_, _| None };
}

/// The leaves of one table by their dotted keys.
pub(crate) struct Leaves<'a> {
    path: &'a str,
    place: Place,
    found: BTreeMap<&'static str, &'a Node>,
    judge: fn(&str, &str) -> Option<String>,
}

impl<'a> Leaves<'a> {
    /// Sorts a table's values to the keys; what belongs to none becomes a problem.
    pub(crate) fn of(
        path: &'a str,
        place: Place,
        table: &'a Table,
        keys: &[&'static [Key]],
        habits: &Habits,
        ctx: &mut Ctx<'_>,
    ) -> Leaves<'a> {
        let names = keys.iter().flat_map(|keys| keys.iter().map(|key| key.name)).collect();
        let leaves = Leaves { path, place, found: BTreeMap::new(), judge: habits.judge };
        let mut sorter = Sorter { names, habits, leaves };
        sorter.descend(table, "", ctx);
        sorter.leaves
    }

    /// One key's value; the default where it is missing.
    pub(crate) fn get<T: Field>(
        &self,
        key: &'static str,
        default: &serde_json::Value,
        least: Option<i64>,
        ctx: &mut Ctx<'_>,
    ) -> Option<T> {
        let path = tree::join(self.path, key);
        if let Some(node) = self.found.get(key) {
            let value: T = crate::field::read(At { path: &path, node }, ctx)?;
            let too_small = least.filter(|least| value.magnitude().is_some_and(|value| value < *least));
            let expected = too_small
                .map(|least| format!("at least {least}"))
                .or_else(|| value.kafka().and_then(|kafka| (self.judge)(key, &kafka)));
            if let Some(expected) = expected {
                ctx.problem(node, format!("{path} is {}", node.found()), &format!("expected {expected}"));
                return None;
            }
            return Some(value);
        }
        if let Some(node) = Node::of_json(default) {
            return T::read(At { path: &path, node: &node }, ctx);
        }
        let absent = T::absent();
        if absent.is_none() {
            let problem = Problem::new(self.place.clone(), format!("[{}] has no \"{key}\"", self.path));
            ctx.problems.push(problem.expected(T::EXPECTED));
        }
        absent
    }
}

struct Sorter<'a, 'b> {
    names: Vec<&'static str>,
    habits: &'b Habits,
    leaves: Leaves<'a>,
}

impl<'a> Sorter<'a, '_> {
    fn descend(&mut self, table: &'a Table, above: &str, ctx: &mut Ctx<'_>) {
        for (key, node) in table {
            let name = tree::join(above, key);
            let long = match node.value {
                Value::Table(_) => None,
                _ => self.habits.short.iter().find(|(short, _)| *short == name).map(|(_, long)| *long),
            };
            let known = long.or_else(|| self.names.iter().copied().find(|known| *known == name));
            match (known, &node.value) {
                (Some(known), _) => {
                    if let Some(other) = self.leaves.found.insert(known, node) {
                        let path = tree::join(self.leaves.path, known);
                        let found = format!("{path} is set already at {}", other.place);
                        ctx.problem(node, found, "a key stands once, dotted, nested or quoted");
                    }
                }
                (None, Value::Table(inner)) if self.is_start(&name) => self.descend(inner, &name, ctx),
                (None, _) => ctx.problems.push(self.unknown(&name, node)),
            }
        }
    }

    fn is_start(&self, name: &str) -> bool {
        self.names.iter().any(|known| known.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    fn unknown(&self, name: &str, node: &Node) -> Problem {
        let mut leaves = Vec::new();
        tree::leaves(name, node, &mut leaves);
        // `eror.policy = ...` is one key to who wrote it; `[sinks.x.confg]` with many is a table.
        let (full, node) =
            if let [(full, leaf)] = leaves.as_slice() { (full.as_str(), *leaf) } else { (name, node) };
        let problem = |name: &str| {
            Problem::new(node.place.clone(), format!("unknown key \"{name}\" in [{}]", self.leaves.path))
        };
        if let Some((leaf, hint)) =
            leaves.iter().find_map(|(leaf, _)| Some((leaf, (self.habits.elsewhere)(leaf)?)))
        {
            return problem(leaf).expected(hint);
        }
        if self.is_start(full) {
            return problem(full).expected(format!("\"{full}\" is the start of other keys"));
        }
        let near = problem(full).near(full, self.names.iter().copied());
        if near.nearest.is_some() || full == name {
            return near;
        }
        let firsts = self.names.iter().filter_map(|known| known.split_once('.')).map(|(first, _)| first);
        problem(name).near(name, self.names.iter().copied().chain(firsts))
    }
}

/// A declared table.
pub(crate) trait Section: Sized {
    const KEYS: &'static [Key];
    /// Reads every key; `None` after a problem.
    fn read(leaves: &Leaves<'_>, ctx: &mut Ctx<'_>) -> Option<Self>;
    fn defaults() -> Vec<serde_json::Value>;
    fn schemas(generator: &mut SchemaGenerator) -> Vec<Schema>;
    fn entries(&self) -> Vec<Entry>;
}

/// The section of a file that says nothing; `None` if a key is required.
pub(crate) fn defaults<S: Section>() -> Option<S> {
    let mut ctx = Ctx { world: &Nowhere, folder: Path::new(""), problems: Vec::new(), warnings: Vec::new() };
    let leaves =
        Leaves { path: "", place: Place::Default, found: BTreeMap::new(), judge: Habits::NONE.judge };
    S::read(&leaves, &mut ctx)
}

/// ```text
/// section! {
///     /// What the table is.
///     pub struct Name {
///         /// What the key does.
///         pub field: Type = ["kafka.key", default; min 1],
///     }
/// }
/// ```
/// Without a default the key is required, unless the type is an Option. `null` says "unset".
macro_rules! section {
    (
        $(#[doc = $doc:literal])+
        $vis:vis struct $name:ident {
            $($(#[doc = $field_doc:literal])+ $field_vis:vis $field:ident: $type:ty = [$key:literal $(, $default:tt)? $(; min $least:literal)?],)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        $vis struct $name {
            $($(#[doc = $field_doc])+ $field_vis $field: $type,)+
        }

        impl crate::section::Section for $name {
            const KEYS: &'static [crate::section::Key] = &[
                $(crate::section::Key {
                    name: $key,
                    doc: concat!($($field_doc, "\n"),+),
                    kind: <$type as crate::field::Field>::TYPE,
                    required: crate::section::default!(@required $($default)?),
                },)+
            ];

            fn read(leaves: &crate::section::Leaves<'_>, ctx: &mut crate::field::Ctx<'_>) -> Option<Self> {
                $(let $field: Option<$type> =
                    leaves.get($key, &crate::section::default!($($default)?), crate::section::least!($($least)?), ctx);)+
                Some($name { $($field: $field?,)+ })
            }

            fn defaults() -> Vec<serde_json::Value> {
                vec![$(crate::section::default!($($default)?)),+]
            }

            fn schemas(generator: &mut schemars::SchemaGenerator) -> Vec<schemars::Schema> {
                vec![$(generator.subschema_for::<$type>()),+]
            }

            fn entries(&self) -> Vec<crate::section::Entry> {
                vec![$(crate::section::Entry {
                    key: $key,
                    value: serde_json::to_value(&self.$field).expect("a setting is plain JSON"),
                    kafka: crate::field::Field::kafka(&self.$field),
                }),+]
            }
        }
    };
}

macro_rules! default {
    (@required) => {
        true
    };
    (@required $default:tt) => {
        false
    };
    () => {
        serde_json::Value::Null
    };
    ($default:tt) => {
        serde_json::json!($default)
    };
}

macro_rules! least {
    () => {
        None
    };
    ($least:literal) => {
        Some($least)
    };
}

pub(crate) use {default, least, section};
