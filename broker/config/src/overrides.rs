//! `FLUMEN_<TABLE>_<KEY>`: the environment over the file, for containers.
//!
//! | variable | sets |
//! | --- | --- |
//! | `FLUMEN_BROKER_DATA_DIR` | `broker.data.dir` |
//! | `FLUMEN_TOPICS_BIG_ORDERS_RETENTION_MS` | `topics.big-orders.retention.ms` |
//! | `FLUMEN_DATABASES_WAREHOUSE_PASSWORD` | `databases.warehouse.password` |
//! | `FLUMEN_SINKS_ORDERS_DB_LIMITS_MEMORY` | `sinks.orders-db.limits.memory` |
//! | `FLUMEN_SINKS_ORDERS_DB_CONFIG_TABLE` | `sinks.orders-db.config.table`, if the file sets it |
//!
//! Letters become capitals, everything else `_`. Invariants: a topic, database or plugin must be in the
//! file, for a variable cannot say how its name is written; one that fits two keys is a problem, one
//! that fits none a warning (container platforms put their own `FLUMEN_...` there).

use std::collections::BTreeMap;

use crate::broker::{self, Broker};
use crate::database::Database;
use crate::place::Place;
use crate::plugin::{Settings, SinkLinks, SourceLinks, TransformLinks};
use crate::problem::{Problem, nearest};
use crate::section::{Key, Section};
use crate::topic::Topic;
use crate::tree::{self, Node, Table, Value};
use crate::user::User;
use crate::world::World;

/// What each table's keys are; `broker` itself, the others by name below it.
pub(crate) const TABLES: [(&str, &[&[Key]]); 9] = [
    ("broker", &[Broker::KEYS]),
    ("topics", &[Topic::KEYS]),
    ("databases", &[Database::KEYS]),
    ("users", &[User::KEYS]),
    // Rules and quotas have no names that a variable could say.
    ("acls", &[]),
    ("quotas", &[]),
    ("sources", &[SourceLinks::KEYS, Settings::KEYS]),
    ("transforms", &[TransformLinks::KEYS, Settings::KEYS]),
    ("sinks", &[SinkLinks::KEYS, Settings::KEYS]),
];

/// A key that a variable can set.
struct Target {
    /// `["sinks", "orders-db"]`
    table: Vec<String>,
    key: String,
}

impl Target {
    fn path(&self) -> String {
        tree::join(&self.table.join("."), &self.key)
    }
}

/// Puts the variables' values into the tree.
pub(crate) fn apply(
    tree: &mut Table,
    world: &dyn World,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) {
    let variables: Vec<(String, String)> =
        world.variables().into_iter().filter(|(name, _)| is_ours(name)).collect();
    if variables.is_empty() {
        return;
    }
    let targets = targets(tree);
    for (name, value) in variables {
        let place = Place::Variable(name.as_str().into());
        match targets.get(&name).map(Vec::as_slice) {
            None => {
                let problem = Problem::new(place, "this variable sets no key of the file and is ignored");
                let nearest = nearest(&name, targets.keys().map(String::as_str)).map(str::to_string);
                warnings.push(Problem { nearest, ..problem });
            }
            Some([target]) => set(tree, target, Node { place, value: Value::Text(value) }),
            Some(several) => {
                let paths: Vec<String> = several.iter().map(Target::path).collect();
                problems
                    .push(Problem::new(place, format!("this variable could mean {}", paths.join(" or "))));
            }
        }
    }
}

fn is_ours(name: &str) -> bool {
    let rest = name.strip_prefix("FLUMEN_").unwrap_or_default();
    TABLES
        .iter()
        .any(|(table, _)| rest.strip_prefix(&variable(table)).is_some_and(|rest| rest.starts_with('_')))
}

/// A path as a variable says it.
fn variable(path: &str) -> String {
    path.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

fn targets(tree: &Table) -> BTreeMap<String, Vec<Target>> {
    let mut targets: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    let mut add = |table: &[&str], key: &str| {
        let target = Target { table: table.iter().map(|part| part.to_string()).collect(), key: key.into() };
        targets.entry(format!("FLUMEN_{}", variable(&target.path()))).or_default().push(target);
    };
    for (table, sections) in TABLES {
        let keys = || sections.iter().flat_map(|keys| keys.iter()).map(|key| key.name);
        if table == "broker" {
            keys()
                .chain(broker::SHORT_FORMS.iter().map(|(short, _)| *short))
                .for_each(|key| add(&[table], key));
            continue;
        }
        let Some(Node { value: Value::Table(named), .. }) = tree.get(table) else { continue };
        for (name, node) in named {
            keys().filter(|key| *key != "config").for_each(|key| add(&[table, name], key));
            if let Value::Table(inner) = &node.value
                && let Some(config) = inner.get("config")
            {
                let mut leaves = Vec::new();
                tree::leaves("config", config, &mut leaves);
                leaves.iter().for_each(|(key, _)| add(&[table, name], key));
            }
        }
    }
    targets
}

fn set(tree: &mut Table, target: &Target, node: Node) {
    let mut table = tree;
    for part in &target.table {
        let fresh = || Node { place: node.place.clone(), value: Value::Table(Table::new()) };
        let inner = table.entry(part.clone()).or_insert_with(fresh);
        let Value::Table(inner) = &mut inner.value else { return };
        table = inner;
    }
    match target.key.strip_prefix("config.").and_then(|_| tree::find_mut(table, &target.key)) {
        Some(old) => replace(old, node),
        None => {
            for (short, long) in broker::SHORT_FORMS {
                if target.table == ["broker"] && (target.key == *long || target.key == *short) {
                    forget(table, long);
                    if table.get(*short).is_some_and(|node| !matches!(node.value, Value::Table(_))) {
                        table.remove(*short);
                    }
                }
            }
            forget(table, &target.key);
            let key = broker::SHORT_FORMS
                .iter()
                .find(|(short, _)| target.table == ["broker"] && *short == target.key);
            table.insert(key.map_or(target.key.clone(), |(_, long)| long.to_string()), node);
        }
    }
}

fn forget(table: &mut Table, key: &str) {
    while tree::remove(table, key).is_some() {}
}

/// A plugin's setting keeps its type: `"7"` over a text is a text, over a number a number.
fn replace(old: &mut Node, new: Node) {
    let text = matches!(old.value, Value::Text(_));
    let parsed = match &new.value {
        Value::Text(value) if !text => tree::parse_value(value, &new.place),
        _ => None,
    };
    *old = parsed.unwrap_or(new);
}
