//! A configuration that was read and checked, and where each part of it was written.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::acl::AclRule;
use crate::broker::{self, Broker};
use crate::database::Database;
use crate::place::Place;
use crate::plugin::{Kind, Plugin};
use crate::problem::Problem;
use crate::quota::QuotaRule;
use crate::section::{Entry, Section};
use crate::topic::Topic;
use crate::tree::{self, Table, Value};
use crate::user::User;

/// What the file says, typed and whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub broker: Broker,
    pub topics: BTreeMap<String, Topic>,
    pub databases: BTreeMap<String, Database>,
    pub users: BTreeMap<String, User>,
    pub acls: Vec<AclRule>,
    pub quotas: Vec<QuotaRule>,
    pub sources: BTreeMap<String, Plugin>,
    pub transforms: BTreeMap<String, Plugin>,
    pub sinks: BTreeMap<String, Plugin>,
}

impl Config {
    /// Sources, transforms and sinks; no two have one name.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &Plugin)> {
        [&self.sources, &self.transforms, &self.sinks]
            .into_iter()
            .flat_map(|table| table.iter().map(|(name, plugin)| (name.as_str(), plugin)))
    }

    pub fn plugin(&self, name: &str) -> Option<&Plugin> {
        self.plugins().find(|(known, _)| *known == name).map(|(_, plugin)| plugin)
    }
}

/// A configuration, and where each part of it was written.
#[derive(Clone)]
pub struct Loaded {
    pub config: Config,
    /// Worth a look; nothing that keeps it from running.
    pub warnings: Vec<Problem>,
    /// The first file, then the included ones.
    pub files: Vec<PathBuf>,
    /// Folders in which a new file would be included.
    pub folders: Vec<PathBuf>,
    /// As written, secrets too: not printed.
    pub(crate) tree: Table,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("config", &self.config)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Where the value at a dotted path (`sinks.orders-db.config.key.0`) was written; of what was not
    /// written, where its table was; `Place::Default` if that was not either.
    pub fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(node) = tree::find(&self.tree, path) {
                return node.place.clone();
            }
            match path.rsplit_once('.') {
                Some((above, _)) => path = above,
                None => return Place::Default,
            }
        }
    }

    /// What is declared of the broker, under Kafka's keys and in Kafka's notation, and where.
    pub fn broker_configs(&self) -> BTreeMap<&'static str, (String, Place)> {
        let declared = |entry: Entry| {
            let place = self.origin("broker", entry.key).into_iter().next()?;
            Some((entry.key, (entry.kafka?, place))).filter(|(_, (_, place))| *place != Place::Default)
        };
        self.config.broker.entries().into_iter().filter_map(declared).collect()
    }

    /// Where the settings of a declared topic are, under Kafka's keys.
    pub fn topic_places(&self, name: &str) -> BTreeMap<String, Place> {
        let table = format!("topics.{name}");
        let keys = self.config.topics.get(name).map(Topic::configs).unwrap_or_default().into_keys();
        keys.map(|key| (key.clone(), self.place(&tree::join(&table, &key)))).collect()
    }

    /// Where a value is from, exactly: a default is a default wherever its table stands. More than one
    /// place where the environment sets parts of a plugin's config.
    pub(crate) fn origin(&self, table: &str, key: &str) -> Vec<Place> {
        let short = broker::SHORT_FORMS.iter().find(|(_, long)| table == "broker" && *long == key);
        let node = |key: &str| tree::find(&self.tree, &tree::join(table, key));
        let found =
            node(key).or_else(|| node(short?.0).filter(|node| !matches!(node.value, Value::Table(_))));
        let Some(found) = found else { return vec![Place::Default] };
        let mut leaves = Vec::new();
        tree::leaves("", found, &mut leaves);
        let variables = leaves
            .into_iter()
            .map(|(_, leaf)| &leaf.place)
            .filter(|place| matches!(place, Place::Variable(_)));
        let mut places = vec![found.place.clone()];
        places.extend(variables.filter(|place| **place != found.place).cloned());
        places
    }

    /// A problem with the value at a dotted path: `flumen.toml:31: sinks.orders-db.config: ...`
    pub fn problem(&self, path: &str, what: impl std::fmt::Display) -> Problem {
        Problem::new(self.place(path), format!("{path}: {what}"))
    }

    /// A problem inside a plugin's config, at a JSON pointer (`/key/0`) as schema checkers give it.
    pub fn config_problem(
        &self,
        kind: Kind,
        name: &str,
        pointer: &str,
        what: impl std::fmt::Display,
    ) -> Problem {
        let below = pointer.replace('/', ".").replace("~1", "/").replace("~0", "~");
        self.problem(&format!("{}.{name}.config{below}", kind.table()), what)
    }
}
