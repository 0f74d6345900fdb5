//! The map: what becomes of each field is looked up by its name, and written at once.

use std::collections::BTreeMap;

use flumen_sdk::json::{self, Raw};
use flumen_sdk::{Error, NewRecord, Output, Plugin, RecordRef, Result, Setup, Transform, time};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Cast;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Keep only these fields; empty: all.
    pub select: Vec<String>,
    /// Leave these fields out.
    pub drop: Vec<String>,
    /// Give fields another type: `{ amount = "float" }`.
    pub cast: BTreeMap<String, Cast>,
    /// Give fields another name: `{ old = "new" }`; one that has it already is replaced.
    pub rename: BTreeMap<String, String>,
    /// Add fields from inside others: `{ city = "address.city" }`; null where there is nothing.
    pub copy: BTreeMap<String, String>,
    /// Add or replace fields with constants, copied ones too: `{ source = "import" }`.
    pub set: BTreeMap<String, serde_json::Value>,
    /// Take the record's key from this field, `a.b` for a nested one.
    pub key: Option<String>,
    /// Take the record's timestamp from this field.
    pub timestamp: Option<String>,
}

pub struct JsonMap {
    select_all: bool,
    /// What is special about a field, by its name in the input.
    rules: Vec<Rule>,
    added: Vec<Added>,
    key: Option<Path>,
    timestamp: Option<Path>,
    /// The value being written; kept for its room.
    value: Vec<u8>,
}

struct Rule {
    name: String,
    keep: bool,
    cast: Option<Cast>,
    /// Escaped as JSON wants it; none: the name as it is written.
    rename: Option<Vec<u8>>,
    /// Fields that are given its name: where the input has one of them, this one is left out.
    yields_to: Vec<String>,
}

impl Rule {
    /// Rarely a field is there whose name another is given: only then the input is read twice.
    fn yields(&self, input: &[u8]) -> Result<bool> {
        for from in &self.yields_to {
            if json::fields(input)?.find(from)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// A field behind those of the input.
struct Added {
    /// `"name":`
    label: Vec<u8>,
    from: Origin,
}

enum Origin {
    Path(Path),
    Constant(Vec<u8>),
}

/// A name, and names inside of it.
struct Path {
    whole: String,
    inner: Vec<String>,
    first: String,
}

impl Path {
    fn new(path: &str) -> Result<Self> {
        let mut names = path.split('.').map(str::to_owned);
        let first = names.next().unwrap_or_default();
        let inner: Vec<String> = names.collect();
        if first.is_empty() || inner.iter().any(String::is_empty) {
            return Err(Error::fatal(format_args!("{path:?} is no path of field names such as a.b")));
        }
        Ok(Path { whole: path.to_owned(), inner, first })
    }

    fn of<'a>(&self, outer: Option<Raw<'a>>) -> Option<Raw<'a>> {
        outer?.at_path(self.inner.iter().map(String::as_str)).filter(|raw| !raw.is_null())
    }
}

impl Plugin for JsonMap {
    type Config = Config;

    fn new(config: Config, _: &Setup) -> Result<Self> {
        let mut added = Vec::new();
        for (name, path) in config.copy.iter().filter(|(name, _)| !config.set.contains_key(*name)) {
            added.push(Added { label: label(name), from: Origin::Path(Path::new(path)?) });
        }
        for (name, constant) in &config.set {
            added.push(Added {
                label: label(name),
                from: Origin::Constant(constant.to_string().into_bytes()),
            });
        }
        Ok(JsonMap {
            select_all: config.select.is_empty(),
            rules: rules(&config)?,
            added,
            key: config.key.as_deref().map(Path::new).transpose()?,
            timestamp: config.timestamp.as_deref().map(Path::new).transpose()?,
            value: Vec::new(),
        })
    }
}

fn label(name: &str) -> Vec<u8> {
    let mut label = Vec::new();
    json::write_text(&mut label, name);
    label.push(b':');
    label
}

/// One rule for each field that a setting names.
fn rules(config: &Config) -> Result<Vec<Rule>> {
    let mut names: Vec<&String> = config.select.iter().chain(&config.drop).collect();
    names.extend(config.cast.keys().chain(config.rename.keys()).chain(config.rename.values()));
    names.extend(config.copy.keys().chain(config.set.keys()));
    names.sort();
    names.dedup();
    // What is added replaces a field of that name, whether it comes by that name or is given it.
    let replaced = |name: &String| config.copy.contains_key(name) || config.set.contains_key(name);
    let targets: Vec<&String> = config.rename.values().collect();
    let twice =
        targets.iter().enumerate().find(|(at, name)| targets[..*at].contains(name) && !replaced(name));
    if let Some((_, name)) = twice {
        return Err(Error::fatal(format_args!("rename: two fields would be called {name:?}")));
    }
    let keep = |name: &String| {
        let selected = config.select.is_empty() || config.select.contains(name);
        selected && !config.drop.contains(name) && !replaced(config.rename.get(name).unwrap_or(name))
    };
    // A field that is itself renamed is in nobody's way.
    let yields_to = |name: &String| {
        let renamed = config.rename.iter().filter(|_| !config.rename.contains_key(name));
        renamed.filter(|(from, to)| *to == name && keep(from)).map(|(from, _)| from.clone()).collect()
    };
    Ok(names
        .into_iter()
        .map(|name| Rule {
            keep: keep(name),
            cast: config.cast.get(name).copied(),
            rename: config.rename.get(name).map(|name| label(name)),
            yields_to: yields_to(name),
            name: name.clone(),
        })
        .collect())
}

impl Transform for JsonMap {
    /// Deletes pass as they are.
    fn transform(&mut self, record: &RecordRef<'_>, out: &mut Output) -> Result<()> {
        let Some(input) = record.value() else {
            out.forward(record);
            return Ok(());
        };
        let mut value = std::mem::take(&mut self.value);
        value.clear();
        let made = self.map(record, input, &mut value, out);
        self.value = value;
        made
    }
}

impl JsonMap {
    fn map(&self, record: &RecordRef<'_>, input: &[u8], value: &mut Vec<u8>, out: &mut Output) -> Result<()> {
        let JsonMap { select_all, rules, added, key, timestamp, .. } = self;
        value.push(b'{');
        // The outermost value of each path, in the order of `paths`.
        let paths = added.iter().filter_map(|added| match &added.from {
            Origin::Path(path) => Some(path),
            Origin::Constant(_) => None,
        });
        let paths: Vec<&Path> = key.iter().chain(timestamp.iter()).chain(paths).collect();
        let mut found: Vec<Option<Raw<'_>>> = vec![None; paths.len()];

        let mut fields = json::fields(input)?;
        while let Some((name, raw)) = fields.next_field()? {
            for (path, found) in paths.iter().zip(&mut found) {
                if name.is(&path.first) {
                    *found = Some(raw);
                }
            }
            match rules.iter().find(|rule| name.is(&rule.name)) {
                Some(rule) if rule.yields(input)? => {}
                Some(rule) => write_by(rule, name.raw(), raw, value)?,
                None if *select_all => write_as_is(name.raw(), raw, value),
                None => {}
            }
        }

        let mut found = paths.iter().zip(found).map(|(path, outer)| path.of(outer));
        let key = match key {
            Some(path) => Some(text_of(path, found.next().flatten())?),
            None => None,
        };
        let timestamp = match timestamp {
            Some(path) => moment_of(path, found.next().flatten())?,
            None => record.timestamp(),
        };
        for Added { label, from } in added {
            comma(value);
            value.extend_from_slice(label);
            match from {
                Origin::Constant(json) => value.extend_from_slice(json),
                Origin::Path(_) => {
                    value.extend_from_slice(found.next().flatten().unwrap_or(Raw::NULL).json().as_bytes());
                }
            }
        }
        value.push(b'}');
        let like = NewRecord::like(record, Some(value));
        let key = key.as_ref().map(|key| key.as_bytes());
        out.push(&NewRecord { key: key.or(like.key), timestamp, ..like });
        Ok(())
    }
}

fn write_by(rule: &Rule, name: &str, raw: Raw<'_>, to: &mut Vec<u8>) -> Result<()> {
    if !rule.keep {
        return Ok(());
    }
    comma(to);
    match &rule.rename {
        Some(label) => to.extend_from_slice(label),
        None => write_label(name, to),
    }
    match rule.cast {
        Some(cast) => cast.write(raw, to).map_err(|error| error.prefixed(&rule.name)),
        None => {
            to.extend_from_slice(raw.json().as_bytes());
            Ok(())
        }
    }
}

fn write_as_is(name: &str, raw: Raw<'_>, to: &mut Vec<u8>) {
    comma(to);
    write_label(name, to);
    to.extend_from_slice(raw.json().as_bytes());
}

fn write_label(name: &str, to: &mut Vec<u8>) {
    to.push(b'"');
    to.extend_from_slice(name.as_bytes());
    to.extend_from_slice(b"\":");
}

fn comma(to: &mut Vec<u8>) {
    if to.len() > 1 {
        to.push(b',');
    }
}

fn text_of<'a>(path: &Path, raw: Option<Raw<'a>>) -> Result<std::borrow::Cow<'a, str>> {
    let raw = raw.ok_or_else(|| Error::reject(format_args!("no field {:?} for the key", path.whole)))?;
    Ok(raw.to_text())
}

fn moment_of(path: &Path, raw: Option<Raw<'_>>) -> Result<i64> {
    let what = || format!("field {:?} for the timestamp", path.whole);
    let raw = raw.ok_or_else(|| Error::reject(format_args!("no {}", what())))?;
    let shown = raw.to_text();
    time::parse_millis(&shown)
        .ok_or_else(|| Error::reject(format_args!("{}: {:?} is no date and time", what(), raw.json())))
}
