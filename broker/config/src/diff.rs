//! What changing from one configuration to another takes.
//!
//! Invariants: nothing here deletes data: a topic that is gone from the file, or that would lose
//! partitions, is reported for a person to decide. A plugin appears only if something of its own, or a
//! database that it uses, differs. Secrets are not told, only that they changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use crate::database::Database;
use crate::loaded::Config;
use crate::plugin::{Kind, Plugin};
use crate::section::{Entry, Section};
use crate::show::inline;
use crate::topic::Topic;

/// One step of a reload, or a reason why one is not taken.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum Change {
    CreateTopic {
        topic: String,
    },
    /// `None`: back to the broker's default.
    AlterTopic {
        topic: String,
        key: String,
        to: Option<String>,
    },
    GrowTopic {
        topic: String,
        to: u32,
    },
    /// Would lose data: not done.
    KeepTopic {
        topic: String,
        why: String,
        instead: String,
    },
    AddPlugin {
        kind: Kind,
        name: String,
    },
    /// Swapped between two transactions.
    ReplacePlugin {
        kind: Kind,
        name: String,
        why: Vec<String>,
    },
    StopPlugin {
        kind: Kind,
        name: String,
    },
    /// Made, or given another password or other keys.
    SetUser {
        user: String,
    },
    RemoveUser {
        user: String,
    },
    /// The rules are no longer what they were.
    SetAcls {
        rules: usize,
    },
    /// The quotas are no longer what they were.
    SetQuotas {
        quotas: usize,
    },
    /// Takes effect at the next start.
    Restart {
        key: String,
        from: String,
        to: String,
    },
}

impl Change {
    /// A reload leaves this to a person.
    pub fn is_left_alone(&self) -> bool {
        matches!(self, Change::KeepTopic { .. } | Change::Restart { .. })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::CreateTopic { topic } => write!(f, "create topic {topic}"),
            Change::AlterTopic { topic, key, to: Some(to) } => write!(f, "alter topic {topic}: {key} = {to}"),
            Change::AlterTopic { topic, key, to: None } => {
                write!(f, "alter topic {topic}: {key} to its default")
            }
            Change::GrowTopic { topic, to } => write!(f, "grow topic {topic} to {to} partitions"),
            Change::KeepTopic { topic, why, instead } => write!(f, "keep topic {topic}: {why}; {instead}"),
            Change::AddPlugin { kind, name } => write!(f, "start {kind} {name}"),
            Change::ReplacePlugin { kind, name, why } => {
                write!(f, "replace {kind} {name}: {}", why.join(", "))
            }
            Change::StopPlugin { kind, name } => write!(f, "stop {kind} {name}"),
            Change::SetUser { user } => write!(f, "set user {user}"),
            Change::RemoveUser { user } => write!(f, "remove user {user}"),
            Change::SetAcls { rules } => write!(f, "set the access rules ({rules} tables)"),
            Change::SetQuotas { quotas } => write!(f, "set the quotas ({quotas} tables)"),
            Change::Restart { key, from, to } => {
                write!(f, "needs a restart: broker.{key} from {from} to {to}")
            }
        }
    }
}

/// A topic as the broker has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Existing {
    pub partitions: u32,
    pub configs: BTreeMap<String, String>,
}

impl Topic {
    /// What makes a topic what the file says; nothing if it is.
    pub fn changes(&self, name: &str, existing: Option<&Existing>) -> Vec<Change> {
        let topic = || name.to_string();
        let Some(existing) = existing else { return vec![Change::CreateTopic { topic: topic() }] };
        let mut changes = Vec::new();
        // A topic that does not say how many keeps what it has.
        let partitions = self.partitions.map_or(existing.partitions, |partitions| partitions.get());
        if partitions > existing.partitions {
            changes.push(Change::GrowTopic { topic: topic(), to: partitions });
        } else if partitions < existing.partitions {
            changes.push(Change::KeepTopic {
                topic: topic(),
                why: format!("it has {} partitions and the file says {partitions}", existing.partitions),
                instead: format!(
                    "partitions are never taken away; \"flumen topic delete {name}\" deletes it with its data"
                ),
            });
        }
        let wanted = self.configs();
        let keys: BTreeSet<&String> = existing.configs.keys().chain(wanted.keys()).collect();
        changes.extend(keys.into_iter().filter(|key| existing.configs.get(*key) != wanted.get(*key)).map(
            |key| Change::AlterTopic { topic: topic(), key: key.clone(), to: wanted.get(key).cloned() },
        ));
        changes
    }
}

impl Config {
    /// From this configuration to another, in the order in which it is to be done: topics before the
    /// plugins that use them, stops before starts.
    pub fn diff(old: &Config, new: &Config) -> Vec<Change> {
        let mut changes = topics(old, new);
        let (mut stops, mut starts) = (Vec::new(), Vec::new());
        for (name, plugin) in old.plugins().filter(|(_, plugin)| plugin.settings.enabled) {
            let kept = running(new, name).is_some_and(|next| next.kind == plugin.kind);
            if !kept {
                stops.push(Change::StopPlugin { kind: plugin.kind, name: name.to_string() });
            }
        }
        for (name, plugin) in new.plugins().filter(|(_, plugin)| plugin.settings.enabled) {
            let (kind, name) = (plugin.kind, name.to_string());
            match running(old, &name).filter(|before| before.kind == kind) {
                None => starts.push(Change::AddPlugin { kind, name }),
                Some(before) => {
                    let why = why_replaced(before, plugin, old, new);
                    if !why.is_empty() {
                        starts.push(Change::ReplacePlugin { kind, name, why });
                    }
                }
            }
        }
        changes.extend(users(old, new));
        if old.acls != new.acls {
            changes.push(Change::SetAcls { rules: new.acls.len() });
        }
        if old.quotas != new.quotas {
            changes.push(Change::SetQuotas { quotas: new.quotas.len() });
        }
        changes.extend(stops);
        changes.extend(starts);
        changes.extend(restarts(old, new));
        changes
    }
}

fn running<'a>(config: &'a Config, name: &str) -> Option<&'a Plugin> {
    config.plugin(name).filter(|plugin| plugin.settings.enabled)
}

fn users(old: &Config, new: &Config) -> impl Iterator<Item = Change> {
    let set = new.users.iter().filter(|(name, user)| old.users.get(*name) != Some(*user));
    let set = set.map(|(name, _)| Change::SetUser { user: name.clone() });
    let gone = old.users.keys().filter(|name| !new.users.contains_key(*name));
    set.chain(gone.map(|name| Change::RemoveUser { user: name.clone() }))
}

fn topics(old: &Config, new: &Config) -> Vec<Change> {
    let mut changes = Vec::new();
    let default = old.broker.num_partitions.get();
    for (name, topic) in &new.topics {
        let existing = old.topics.get(name).map(|topic| Existing {
            partitions: topic.partitions.map_or(default, |partitions| partitions.get()),
            configs: topic.configs(),
        });
        changes.extend(topic.changes(name, existing.as_ref()));
    }
    for name in old.topics.keys().filter(|name| !new.topics.contains_key(*name)) {
        changes.push(Change::KeepTopic {
            topic: name.clone(),
            why: "it is gone from the file".into(),
            instead: format!("\"flumen topic delete {name}\" deletes it with its data"),
        });
    }
    changes
}

fn why_replaced(old: &Plugin, new: &Plugin, old_config: &Config, new_config: &Config) -> Vec<String> {
    let mut why: Vec<String> =
        differing(&old.entries(), &new.entries()).into_iter().map(str::to_string).collect();
    // The same text in a file elsewhere means other paths.
    if why.is_empty() && old != new {
        why.push("paths".into());
    }
    for name in new.settings.databases.iter().map(|name| name.as_str()) {
        let (before, after) = (old_config.databases.get(name), new_config.databases.get(name));
        if before != after {
            why.push(database_change(name, before, after));
        }
    }
    why
}

fn database_change(name: &str, before: Option<&Database>, after: Option<&Database>) -> String {
    let (Some(before), Some(after)) = (before, after) else { return format!("database {name}") };
    let keys = differing(&before.entries(), &after.entries());
    // Masked alike, different underneath.
    let keys = if keys.is_empty() { "a secret".to_string() } else { keys.join(", ") };
    format!("database {name} ({keys})")
}

fn differing(old: &[Entry], new: &[Entry]) -> Vec<&'static str> {
    new.iter().filter(|entry| !old.contains(entry)).map(|entry| entry.key).collect()
}

fn restarts(old: &Config, new: &Config) -> Vec<Change> {
    let (before, after) = (old.broker.entries(), new.broker.entries());
    let mut changes: Vec<Change> = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| before != after)
        .map(|(before, after)| Change::Restart {
            key: before.key.to_string(),
            from: inline(&before.value),
            to: inline(&after.value),
        })
        .collect();
    if old.broker.http_token != new.broker.http_token && before == after {
        let hidden = "***".to_string();
        changes.push(Change::Restart { key: "http.token".into(), from: hidden.clone(), to: hidden });
    }
    changes
}
