//! The effective file: every key, its value, and where that comes from. Secrets are masked.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::broker;
use crate::loaded::{Config, Loaded};
use crate::plugin::Plugin;
use crate::section::{Entry, Section};

/// Tables without names.
const LISTED: [&str; 2] = ["acls", "quotas"];

/// `[table]` and its keys.
struct Shown {
    /// `broker`, or `sinks` and `orders-db`, or `acls` and a number.
    table: &'static str,
    name: Option<String>,
    entries: Vec<Entry>,
}

impl Shown {
    fn path(&self) -> String {
        self.name.as_ref().map_or_else(|| self.table.to_string(), |name| format!("{}.{name}", self.table))
    }
}

/// For `--json`.
impl Serialize for Config {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        document(self).serialize(serializer)
    }
}

fn tables(config: &Config) -> Vec<Shown> {
    fn each<T>(
        table: &'static str,
        all: &BTreeMap<String, T>,
        entries: impl Fn(&T) -> Vec<Entry>,
    ) -> Vec<Shown> {
        all.iter()
            .map(|(name, value)| Shown { table, name: Some(name.clone()), entries: entries(value) })
            .collect()
    }
    let mut tables = vec![Shown { table: "broker", name: None, entries: config.broker.entries() }];
    tables.extend(each("topics", &config.topics, Section::entries));
    tables.extend(each("databases", &config.databases, Section::entries));
    tables.extend(each("users", &config.users, Section::entries));
    let listed = |table, index: usize, entries| Shown { table, name: Some(index.to_string()), entries };
    let rules = config.acls.iter().enumerate();
    tables.extend(rules.map(|(index, rule)| listed("acls", index, rule.entries())));
    let quotas = config.quotas.iter().enumerate();
    tables.extend(quotas.map(|(index, rule)| listed("quotas", index, rule.entries())));
    tables.extend(each("sources", &config.sources, Plugin::entries));
    tables.extend(each("transforms", &config.transforms, Plugin::entries));
    tables.extend(each("sinks", &config.sinks, Plugin::entries));
    tables
}

/// The values alone, keys dotted: `{"broker": {"data.dir": "data"}}`.
pub(crate) fn document(config: &Config) -> Json {
    nest(tables(config).into_iter().map(|shown| {
        let keys: Map<String, Json> =
            shown.entries.iter().map(|entry| (entry.key.to_string(), entry.value.clone())).collect();
        (shown, Json::Object(keys))
    }))
}

fn nest(tables: impl Iterator<Item = (Shown, Json)>) -> Json {
    let mut root = Map::new();
    for (shown, keys) in tables {
        match shown.name {
            None => drop(root.insert(shown.table.to_string(), keys)),
            Some(_) if LISTED.contains(&shown.table) => {
                if let Json::Array(rules) = root.entry(shown.table).or_insert_with(|| json!([])) {
                    rules.push(keys);
                }
            }
            Some(name) => {
                let table = root.entry(shown.table).or_insert_with(|| json!({}));
                table[name] = keys;
            }
        }
    }
    Json::Object(root)
}

/// Below a key with a value TOML has none, but quoted.
fn written(key: &str, beside: &[Entry]) -> String {
    let below = |other: &Entry| key.strip_prefix(other.key).is_some_and(|rest| rest.starts_with('.'));
    if beside.iter().any(below) { format!("\"{key}\"") } else { key.to_string() }
}

impl Loaded {
    /// A topic's key that is not set has the broker's default.
    fn effective(&self, shown: &Shown, entry: &Entry) -> (Json, String) {
        let places = self.origin(&shown.path(), entry.key);
        let from = places.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if shown.table == "topics" && entry.value.is_null() {
            let key = match entry.key {
                "partitions" => Some("num.partitions"),
                key => broker::default_of_topic_key(key),
            };
            let broker = self.config.broker.entries();
            if let Some(default) = key.and_then(|key| broker.iter().find(|entry| entry.key == key)) {
                return (default.value.clone(), format!("broker.{}", default.key));
            }
        }
        (entry.value.clone(), from)
    }

    /// As TOML that reads back to the same configuration, but for masked secrets.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for shown in tables(&self.config) {
            let header = match &shown.name {
                Some(_) if LISTED.contains(&shown.table) => format!("[[{}]]", shown.table),
                Some(name) => format!("[{}.{}]", shown.table, key(name)),
                None => format!("[{}]", shown.table),
            };
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("{header}\n"));
            for entry in &shown.entries {
                let (value, from) = self.effective(&shown, entry);
                let key = written(entry.key, &shown.entries);
                let line = match value {
                    Json::Null => format!("# {key} is unset"),
                    value => format!("{key} = {}", inline(&value)),
                };
                text.push_str(&format!("{line:<56} # {from}\n"));
            }
        }
        text
    }

    /// `{"broker": {"data.dir": {"value": "data", "from": "default"}}}`
    pub fn to_json(&self) -> Json {
        nest(tables(&self.config).into_iter().map(|shown| {
            let keys: Map<String, Json> = shown
                .entries
                .iter()
                .map(|entry| {
                    let (value, from) = self.effective(&shown, entry);
                    (entry.key.to_string(), json!({ "value": value, "from": from }))
                })
                .collect();
            (shown, Json::Object(keys))
        }))
    }
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if bare { name.to_string() } else { toml::Value::String(name.to_string()).to_string() }
}

/// A value on one line.
pub(crate) fn inline(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".into(),
        Json::Bool(yes) => yes.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => toml::Value::String(text.clone()).to_string(),
        Json::Array(list) => format!("[{}]", list.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Json::Object(map) if map.is_empty() => "{}".into(),
        Json::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(name, value)| format!("{} = {}", key(name), inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}
