//! A file as a tree of values that know their line.
//!
//! Invariants: a node's place is that of its key, or of the element in an array. Dotted keys are
//! nested tables here, as TOML has it; `section.rs` reads both ways of writing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::place::Place;
use crate::problem::Problem;

pub(crate) type Table = BTreeMap<String, Node>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

impl Node {
    /// What it is, for a person: `"seven"`, `7`, `a table`.
    pub(crate) fn found(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("\"{text}\""),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Boolean(yes) => yes.to_string(),
            Value::Datetime(text) => text.clone(),
            Value::Array(_) => "a list".into(),
            Value::Table(_) => "a table".into(),
        }
    }

    /// A default, written as JSON in the code. Null has no node.
    pub(crate) fn of_json(json: &serde_json::Value) -> Option<Node> {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => return None,
            Json::Bool(yes) => Value::Boolean(*yes),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(list) => Value::Array(list.iter().filter_map(Node::of_json).collect()),
            Json::Object(map) => Value::Table(
                map.iter().filter_map(|(key, value)| Some((key.clone(), Node::of_json(value)?))).collect(),
            ),
        };
        Some(Node { place: Place::Default, value })
    }

    /// As JSON, for a plugin. `Err` is the place of a number that JSON cannot say.
    pub(crate) fn to_json(&self) -> Result<serde_json::Value, Place> {
        use serde_json::Value as Json;
        Ok(match &self.value {
            Value::Text(text) | Value::Datetime(text) => Json::String(text.clone()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => {
                serde_json::Number::from_f64(*number).ok_or_else(|| self.place.clone())?.into()
            }
            Value::Boolean(yes) => Json::Bool(*yes),
            Value::Array(list) => Json::Array(list.iter().map(Node::to_json).collect::<Result<_, _>>()?),
            Value::Table(table) => Json::Object(
                table
                    .iter()
                    .map(|(key, node)| Ok((key.clone(), node.to_json()?)))
                    .collect::<Result<_, Place>>()?,
            ),
        })
    }
}

/// Reads one file. With a syntax error the table is not to be trusted.
pub(crate) fn parse(text: &str, file: &Arc<Path>) -> (Table, Vec<Problem>) {
    let lines = Lines {
        file,
        starts: std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
    };
    let (root, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = errors.iter().map(|error| lines.syntax(error, text)).collect();
    problems.dedup();
    let table = lines.table(root.get_ref(), &mut problems);
    (table, problems)
}

/// A value by itself, as an environment variable gives it. `None`: not TOML.
pub(crate) fn parse_value(text: &str, place: &Place) -> Option<Node> {
    let nowhere: Arc<Path> = Path::new("").into();
    let lines = Lines { file: &nowhere, starts: vec![0] };
    let mut problems = Vec::new();
    let parsed = DeValue::parse(text.trim()).ok()?;
    let mut node = lines.value(parsed.get_ref(), place.clone(), &mut problems)?;
    settle(&mut node, place);
    problems.is_empty().then_some(node)
}

fn settle(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.value {
        Value::Array(list) => list.iter_mut().for_each(|item| settle(item, place)),
        Value::Table(table) => table.values_mut().for_each(|item| settle(item, place)),
        _ => {}
    }
}

/// Byte offsets to lines of one file.
struct Lines<'a> {
    file: &'a Arc<Path>,
    starts: Vec<usize>,
}

/// What of a dotted key stands before its last part.
fn key_before(text: &str) -> &str {
    let is_key = |c: char| c.is_alphanumeric() || "_-.\"'".contains(c);
    &text[text.trim_end_matches(is_key).len()..]
}

impl Lines<'_> {
    fn place(&self, span: Range<usize>) -> Place {
        let line = self.starts.partition_point(|start| *start <= span.start);
        Place::line(self.file, u32::try_from(line).unwrap_or(u32::MAX))
    }

    fn syntax(&self, error: &toml::de::Error, text: &str) -> Problem {
        let place = error.span().map_or_else(|| Place::line(self.file, 0), |span| self.place(span));
        let written = error.span().and_then(|span| text.get(span)).unwrap_or_default();
        match error.message() {
            "duplicate key" => {
                let before = error.span().map_or("", |span| &text[..span.start]);
                let key = format!("{}{written}", key_before(before));
                Problem::new(place, format!("{key} stands here a second time"))
                    .expected("keep one of the two")
            }
            message if message.contains("dotted key") => {
                Problem::new(place, format!("not valid TOML: {message}"))
                    .expected("where one key continues another, quote the longer: \"http.token\" beside http")
            }
            message => Problem::new(place, format!("not valid TOML: {message}")),
        }
    }

    fn table(&self, table: &DeTable<'_>, problems: &mut Vec<Problem>) -> Table {
        table
            .iter()
            .filter_map(|(key, value)| {
                let node = self.value(value.get_ref(), self.place(key.span()), problems)?;
                Some((key.get_ref().to_string(), node))
            })
            .collect()
    }

    fn value(&self, value: &DeValue<'_>, place: Place, problems: &mut Vec<Problem>) -> Option<Node> {
        let value = match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => {
                    problems.push(Problem::new(place, format!("{number} is too large for a number")));
                    return None;
                }
            },
            DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(yes) => Value::Boolean(*yes),
            DeValue::Datetime(when) => Value::Datetime(when.to_string()),
            DeValue::Array(list) => Value::Array(
                list.iter()
                    .filter_map(|item| self.value(item.get_ref(), self.place(item.span()), problems))
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, problems)),
        };
        Some(Node { place, value })
    }
}

/// Adds another file's tables. The same key in both is a problem that names both places.
pub(crate) fn merge(into: &mut Table, other: Table, path: &str, problems: &mut Vec<Problem>) {
    for (key, theirs) in other {
        let path = join(path, &key);
        match into.entry(key) {
            Entry::Vacant(vacant) => {
                vacant.insert(theirs);
            }
            Entry::Occupied(mut ours) => match (&mut ours.get_mut().value, theirs) {
                (Value::Table(ours), Node { value: Value::Table(theirs), .. }) => {
                    merge(ours, theirs, &path, problems);
                }
                (_, theirs) => problems.push(
                    Problem::new(theirs.place, format!("{path} is set already at {}", ours.get().place))
                        .expected("a key stands in one file only"),
                ),
            },
        }
    }
}

/// `sinks` and `orders-db` to `sinks.orders-db`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

/// The dotted names of what is below a node; its own if nothing is.
pub(crate) fn leaves<'a>(name: &str, node: &'a Node, found: &mut Vec<(String, &'a Node)>) {
    match &node.value {
        Value::Table(table) if !table.is_empty() => {
            table.iter().for_each(|(key, node)| leaves(&join(name, key), node, found));
        }
        _ => found.push((name.to_string(), node)),
    }
}

/// The node at a dotted path, whether its keys were written nested, dotted or quoted.
pub(crate) fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Node> {
    if let Some(node) = table.get(path) {
        return Some(node);
    }
    path.match_indices('.').find_map(|(dot, _)| match &table.get(&path[..dot])?.value {
        Value::Table(inner) => find(inner, &path[dot + 1..]),
        Value::Array(list) => match path[dot + 1..].split_once('.') {
            None => list.get(path[dot + 1..].parse::<usize>().ok()?),
            Some((index, rest)) => match &list.get(index.parse::<usize>().ok()?)?.value {
                Value::Table(inner) => find(inner, rest),
                _ => None,
            },
        },
        _ => None,
    })
}

/// Takes the node at a dotted path out.
pub(crate) fn remove(table: &mut Table, path: &str) -> Option<Node> {
    if let Some(node) = table.remove(path) {
        return Some(node);
    }
    path.match_indices('.').find_map(|(dot, _)| match &mut table.get_mut(&path[..dot])?.value {
        Value::Table(inner) => remove(inner, &path[dot + 1..]),
        _ => None,
    })
}

/// As `find`, to change it.
pub(crate) fn find_mut<'a>(table: &'a mut Table, path: &str) -> Option<&'a mut Node> {
    if table.contains_key(path) {
        return table.get_mut(path);
    }
    let dot = path.match_indices('.').map(|(dot, _)| dot).find(|dot| {
        match table.get(&path[..*dot]).map(|n| &n.value) {
            Some(Value::Table(inner)) => find(inner, &path[dot + 1..]).is_some(),
            _ => false,
        }
    })?;
    match &mut table.get_mut(&path[..dot])?.value {
        Value::Table(inner) => find_mut(inner, &path[dot + 1..]),
        _ => None,
    }
}
