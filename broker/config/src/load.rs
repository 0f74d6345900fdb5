//! From a path to a checked configuration, or to everything that is wrong with it.
//!
//! Order: the file and what it includes, the environment over it, each table typed, then what only the
//! whole can tell. Syntax errors and clashes end it early: what follows would be noise.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::acl::AclRule;
use crate::broker::{self, Broker};
use crate::database::Database;
use crate::field::Ctx;
use crate::include;
use crate::overrides::{self, TABLES};
use crate::place::Place;
use crate::plugin::{Kind, Plugin, Settings, SinkLinks, SourceLinks, TransformLinks};
use crate::problem::Problem;
use crate::section::{Habits, Leaves, Section};
use crate::text::{NAME_EXPECTED, TopicNames, is_name};
use crate::topic::{self, Topic};
use crate::tree::{self, Node, Table, Value};
use crate::user::{self, User};
use crate::world::World;

/// What the file says, typed and whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub broker: Broker,
    pub topics: BTreeMap<String, Topic>,
    pub databases: BTreeMap<String, Database>,
    pub users: BTreeMap<String, User>,
    pub acls: Vec<AclRule>,
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
    tree: Table,
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

/// Reads `path` and everything that it refers to. Every problem at once, in the order of the lines.
pub fn load(path: &Path, world: &dyn World) -> Result<Loaded, Vec<Problem>> {
    let whole = include::gather(path, world).map_err(|mut problems| {
        in_order(&mut problems, path);
        problems
    })?;
    let mut tree = whole.table;
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let mut ctx = Ctx { world, folder: &folder, problems: Vec::new(), warnings: Vec::new() };
    overrides::apply(&mut tree, world, &mut ctx.problems, &mut ctx.warnings);
    let config = read(&tree, &mut ctx);
    crate::check::whole(&config, &tree, &mut ctx);
    in_order(&mut ctx.problems, path);
    in_order(&mut ctx.warnings, path);
    match config.broker {
        Some(broker) if ctx.problems.is_empty() => Ok(Loaded {
            config: Config {
                broker,
                topics: config.topics,
                databases: config.databases,
                users: config.users,
                acls: config.acls,
                sources: config.sources,
                transforms: config.transforms,
                sinks: config.sinks,
            },
            warnings: ctx.warnings,
            files: whole.files,
            folders: whole.folders,
            tree,
        }),
        _ => Err(ctx.problems),
    }
}

/// By file and line, the first file first; the environment before all.
fn in_order(problems: &mut Vec<Problem>, first: &Path) {
    problems.sort_by(|a, b| {
        let key = |problem: &Problem| match &problem.place {
            Place::Line { file, line } => (1 + u32::from(**file != *first), Some(file.clone()), *line),
            Place::Variable(_) | Place::Default => (0, None, 0),
        };
        key(a).cmp(&key(b))
    });
    problems.dedup();
}

/// What could be read of a file; tables with problems are left out.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) broker: Option<Broker>,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) databases: BTreeMap<String, Database>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) acls: Vec<AclRule>,
    pub(crate) sources: BTreeMap<String, Plugin>,
    pub(crate) transforms: BTreeMap<String, Plugin>,
    pub(crate) sinks: BTreeMap<String, Plugin>,
}

fn read(tree: &Table, ctx: &mut Ctx<'_>) -> Draft {
    for (key, node) in tree {
        if !TABLES.iter().any(|(table, _)| table == key) {
            let problem = Problem::new(node.place.clone(), format!("unknown key \"{key}\""));
            ctx.problems.push(problem.near(key, TABLES.iter().map(|(table, _)| *table).chain(["include"])));
        }
    }
    let empty = Node { place: Place::Default, value: Value::Table(Table::new()) };
    let broker = tree.get("broker").unwrap_or(&empty);
    Draft {
        broker: table("broker", broker, ctx)
            .and_then(|table| section::<Broker>("broker", broker, table, &broker::HABITS, ctx)),
        topics: named("topics", tree, ctx, |path, _, node, table, ctx| {
            section(path, node, table, &topic::HABITS, ctx)
        }),
        databases: named("databases", tree, ctx, |path, _, node, table, ctx| {
            section(path, node, table, &Habits::NONE, ctx)
        }),
        users: named("users", tree, ctx, |path, _, node, table, ctx| {
            section(path, node, table, &Habits::NONE, ctx)
        }),
        acls: rules(tree, ctx),
        sources: named("sources", tree, ctx, |path, name, node, table, ctx| {
            let (links, settings) = plugin::<SourceLinks>(path, node, table, ctx)?;
            Some(assemble(Kind::Source, name, None, Some(links.topic), settings))
        }),
        transforms: named("transforms", tree, ctx, |path, name, node, table, ctx| {
            let (links, settings) = plugin::<TransformLinks>(path, node, table, ctx)?;
            Some(assemble(Kind::Transform, name, Some(links.from), Some(links.to), settings))
        }),
        sinks: named("sinks", tree, ctx, |path, name, node, table, ctx| {
            let (links, settings) = plugin::<SinkLinks>(path, node, table, ctx)?;
            Some(assemble(Kind::Sink, name, Some(links.from), None, settings))
        }),
    }
}

/// `[[acls]]`: tables without names, in the order of the file.
fn rules(tree: &Table, ctx: &mut Ctx<'_>) -> Vec<AclRule> {
    let Some(node) = tree.get("acls") else { return Vec::new() };
    let Value::Array(list) = &node.value else {
        ctx.problem(node, format!("acls is {}", node.found()), "expected [[acls]], once for each rule");
        return Vec::new();
    };
    let mut rules = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("acls.{index}");
        let table = table(&path, node, ctx);
        rules.extend(table.and_then(|table| section(&path, node, table, &Habits::NONE, ctx)));
    }
    rules
}

fn assemble(
    kind: Kind,
    name: &str,
    from: Option<TopicNames>,
    to: Option<TopicNames>,
    settings: Settings,
) -> Plugin {
    let texts = |names: Option<TopicNames>| -> Vec<String> {
        names.into_iter().flat_map(|names| names.0).map(|name| name.to_string()).collect()
    };
    let topic = || settings.errors_topic.as_ref().map_or_else(|| format!("{name}-dlq"), ToString::to_string);
    let dead_letters = settings.policy.parks().then(topic);
    Plugin { kind, inputs: texts(from), outputs: texts(to), dead_letters, settings }
}

fn table<'a>(path: &str, node: &'a Node, ctx: &mut Ctx<'_>) -> Option<&'a Table> {
    match &node.value {
        Value::Table(table) => Some(table),
        _ => {
            ctx.problem(node, format!("{path} is {}", node.found()), &format!("expected a table, [{path}]"));
            None
        }
    }
}

fn named<T>(
    of: &str,
    tree: &Table,
    ctx: &mut Ctx<'_>,
    read: impl Fn(&str, &str, &Node, &Table, &mut Ctx<'_>) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut all = BTreeMap::new();
    let Some(node) = tree.get(of) else { return all };
    for (name, node) in table(&format!("{of}.NAME"), node, ctx).into_iter().flatten() {
        let path = tree::join(of, name);
        let (legal, expected) = match of {
            "users" => (user::is_name(name), user::NAME_EXPECTED),
            _ => (is_name(name), NAME_EXPECTED),
        };
        if !legal {
            ctx.problem(node, format!("\"{name}\" cannot be a name in [{of}]"), expected);
        }
        if let Some(table) = table(&path, node, ctx)
            && let Some(value) = read(&path, name, node, table, ctx)
        {
            all.insert(name.clone(), value);
        }
    }
    all
}

fn section<S: Section>(
    path: &str,
    node: &Node,
    table: &Table,
    habits: &Habits,
    ctx: &mut Ctx<'_>,
) -> Option<S> {
    let leaves = Leaves::of(path, node.place.clone(), table, &[S::KEYS], habits, ctx);
    S::read(&leaves, ctx)
}

fn plugin<L: Section>(path: &str, node: &Node, table: &Table, ctx: &mut Ctx<'_>) -> Option<(L, Settings)> {
    let habits = Habits { elsewhere: plugin_elsewhere, ..Habits::NONE };
    let leaves = Leaves::of(path, node.place.clone(), table, &[L::KEYS, Settings::KEYS], &habits, ctx);
    let links = L::read(&leaves, ctx);
    let settings = Settings::read(&leaves, ctx);
    Some((links?, settings?))
}

/// Names that other tools use for the same thing, and ends that a kind does not have.
fn plugin_elsewhere(key: &str) -> Option<String> {
    let hint = match key {
        "from" => "a source reads the outside world; where it writes is \"topic\"",
        "to" => "a source's output is \"topic\"; a sink has none in the log",
        "topic" | "topics" => "a transform or sink has \"from\" (and \"to\"); a source has \"topic\"",
        "tasks.max" => "the key is \"tasks\"",
        "errors.tolerance" | "errors.deadletterqueue.topic.name" => {
            "the keys are errors.policy and errors.topic"
        }
        "connector.class" | "type" => "the key is \"plugin\"",
        _ => return None,
    };
    Some(hint.to_string())
}

/// For `--json`.
impl Serialize for Config {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::show::document(self).serialize(serializer)
    }
}
