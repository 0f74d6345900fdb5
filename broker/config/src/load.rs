//! From a path to a checked configuration, or to everything that is wrong with it.
//!
//! Order: the file and what it includes, the environment over it, each table typed, then what only the
//! whole can tell. Syntax errors and clashes end it early: what follows would be noise.

use std::collections::BTreeMap;
use std::path::Path;

use crate::broker::{self, Broker};
use crate::draft::Draft;
use crate::field::Ctx;
use crate::include;
use crate::loaded::{Config, Loaded};
use crate::overrides::{self, TABLES};
use crate::place::Place;
use crate::plugin::{Kind, Plugin, Settings, SinkLinks, SourceLinks, TransformLinks};
use crate::problem::Problem;
use crate::section::{Habits, Leaves, Section};
use crate::text::{NAME_EXPECTED, TopicNames, is_name};
use crate::topic;
use crate::tree::{self, Node, Table, Value};
use crate::user;
use crate::world::World;

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
                quotas: config.quotas.into_iter().map(|(_, rule)| rule).collect(),
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
        acls: listed("acls", tree, ctx).into_iter().map(|(_, rule)| rule).collect(),
        quotas: listed("quotas", tree, ctx),
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
            let sink = assemble(Kind::Sink, name, Some(links.from), None, settings);
            Some(Plugin { tombstones_hold: links.tombstones_hold, ..sink })
        }),
    }
}

/// `[[acls]]` and `[[quotas]]`: tables without names, in the order of the file.
fn listed<S: Section>(name: &str, tree: &Table, ctx: &mut Ctx<'_>) -> Vec<(usize, S)> {
    let Some(node) = tree.get(name) else { return Vec::new() };
    let Value::Array(list) = &node.value else {
        let found = format!("{name} is {}", node.found());
        ctx.problem(node, found, &format!("expected [[{name}]], once for each"));
        return Vec::new();
    };
    let mut rules = Vec::new();
    for (index, node) in list.iter().enumerate() {
        let path = format!("{name}.{index}");
        let table = table(&path, node, ctx);
        let rule = table.and_then(|table| section(&path, node, table, &Habits::NONE, ctx));
        rules.extend(rule.map(|rule| (index, rule)));
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
    Plugin { kind, inputs: texts(from), outputs: texts(to), dead_letters, tombstones_hold: None, settings }
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
