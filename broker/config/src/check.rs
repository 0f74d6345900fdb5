//! What only the whole file can tell: names that refer to each other, addresses, circles.
//!
//! Invariant: looks at what was read without problems, so that one mistake is told once.

use std::collections::{BTreeMap, BTreeSet};

use flumen_types::Millis;

use crate::broker::Broker;
use crate::draft::Draft;
use crate::field::Ctx;
use crate::listener::Address;
use crate::place::Place;
use crate::plugin::{Kind, Plugin};
use crate::problem::Problem;
use crate::tree::{self, Table};

pub(crate) struct Check<'a, 'c> {
    pub(crate) tree: &'a Table,
    pub(crate) ctx: &'a mut Ctx<'c>,
}

pub(crate) fn whole(draft: &Draft, tree: &Table, ctx: &mut Ctx<'_>) {
    let mut check = Check { tree, ctx };
    if let Some(broker) = &draft.broker {
        check.addresses(broker);
        check.sizes(broker);
        check.consumer_groups(broker);
        check.share_groups(broker);
        check.streams_groups(broker);
        check.listeners(broker);
        check.authorizer(broker, draft);
    }
    check.users(draft);
    check.acls(draft);
    check.quotas(draft);
    check.topics(draft);
    let tables =
        [(Kind::Source, &draft.sources), (Kind::Transform, &draft.transforms), (Kind::Sink, &draft.sinks)];
    check.names();
    for (kind, plugins) in tables {
        for (name, plugin) in plugins {
            check.plugin(&format!("{}.{name}", kind.table()), plugin, draft);
        }
    }
    check.circles(&draft.transforms);
}

impl Check<'_, '_> {
    pub(crate) fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            match (tree::find(self.tree, path), path.rsplit_once('.')) {
                (Some(node), _) => return node.place.clone(),
                (None, Some((above, _))) => path = above,
                (None, None) => return Place::Default,
            }
        }
    }

    pub(crate) fn wrong(&mut self, path: &str, found: String, expected: &str) {
        let problem = Problem::new(self.place(path), found).expected(expected);
        self.ctx.problems.push(problem);
    }

    pub(crate) fn warn(&mut self, path: &str, found: String, expected: &str) {
        let problem = Problem::new(self.place(path), found).expected(expected);
        self.ctx.warnings.push(problem);
    }

    fn addresses(&mut self, broker: &Broker) {
        if broker.listeners.is_empty() {
            let expected = "expected at least one, such as \"PLAINTEXT://127.0.0.1:9092\"";
            self.wrong("broker.listeners", "broker.listeners is an empty list".into(), expected);
        }
        for (path, address) in
            broker.advertised_listeners.iter().flatten().map(|l| ("broker.advertised.listeners", &l.address))
        {
            if matches!(address.host.as_str(), "" | "0.0.0.0" | "::") || address.port == 0 {
                let found = format!("{path} has {address}, which no client can connect to");
                self.wrong(path, found, "expected a host's name or address, and a port");
            }
        }
        let mut all: Vec<(String, &Address)> = Vec::new();
        for (index, listener) in broker.listeners.iter().enumerate() {
            all.push((format!("broker.listeners.{index}"), &listener.address));
        }
        let http_path = if tree::find(self.tree, "broker.http.address").is_some() {
            "broker.http.address"
        } else {
            "broker.http"
        };
        if let Some(address) = &broker.http.0 {
            all.push((http_path.into(), address));
            if !address.is_loopback() && broker.http_token.is_none() {
                let found = format!(
                    "{http_path} is {address}, which other machines reach, and there is no http.token"
                );
                self.wrong(http_path, found, "set \"http.token\" = \"${env:NAME}\", or listen on 127.0.0.1");
            }
        }
        for (index, (path, address)) in all.iter().enumerate() {
            if let Some((other, _)) = all[..index].iter().find(|(_, other)| other.clashes(address)) {
                let found = format!("port {} is taken by {other} at {}", address.port, self.place(other));
                self.wrong(path, found, "expected another port");
            }
        }
        if let Some(token) = &broker.http_token {
            let token = token.reveal();
            if token.len() < 16 || !token.bytes().all(|b| b.is_ascii_graphic()) {
                let found =
                    "broker.http.token is too short, or has characters that HTTP cannot carry".to_string();
                self.wrong("broker.http.token", found, "expected 16 or more letters, digits and -._~+/");
            }
        }
    }

    fn sizes(&mut self, broker: &Broker) {
        if broker.message_max.0 > broker.socket_request_max.0 {
            let found = format!(
                "message.max.bytes ({}) is over socket.request.max.bytes ({})",
                broker.message_max, broker.socket_request_max
            );
            self.wrong(
                "broker.message.max.bytes",
                found,
                "a batch travels in a request, so it must be smaller",
            );
        }
        if broker.group_min_session_timeout > broker.group_max_session_timeout {
            let found = "group.min.session.timeout.ms is over group.max.session.timeout.ms".to_string();
            self.wrong("broker.group.min.session.timeout.ms", found, "expected the smaller of the two");
        }
        if broker.group_consumer_heartbeat_interval >= broker.group_consumer_session_timeout {
            let found = "group.consumer.heartbeat.interval.ms is not below group.consumer.session.timeout.ms"
                .to_string();
            let expected = "expected several heartbeats within a session";
            self.wrong("broker.group.consumer.heartbeat.interval.ms", found, expected);
        }
    }

    /// What a group of the consumer protocol may set for itself lies between something. What holds for all others
    /// need not: shorter times than Kafka's bounds are of use.
    fn consumer_groups(&mut self, broker: &Broker) {
        let bounds = [
            (
                "session.timeout.ms",
                broker.group_consumer_session_timeout_min,
                broker.group_consumer_session_timeout_max,
            ),
            (
                "heartbeat.interval.ms",
                broker.group_consumer_heartbeat_interval_min,
                broker.group_consumer_heartbeat_interval_max,
            ),
            (
                "assignment.interval.ms",
                broker.group_consumer_assignment_interval_min,
                broker.group_consumer_assignment_interval_max,
            ),
        ];
        for (key, min, max) in bounds.into_iter().filter(|(_, min, max)| min > max) {
            let found = format!("group.consumer.min.{key} ({min}) is over group.consumer.max.{key} ({max})");
            let path = format!("broker.group.consumer.min.{key}");
            self.wrong(&path, found, "expected the smaller of the two");
        }
    }

    /// What holds for all share groups lies within what each may choose.
    fn share_groups(&mut self, broker: &Broker) {
        self.heartbeats("share", broker.group_share_heartbeat_interval, broker.group_share_session_timeout);
        self.bounds("share", share_bounds(broker));
        if broker.group_share_delivery_limit.get() > i16::MAX as u32 {
            let found = format!("group.share.delivery.count.limit is {}", broker.group_share_delivery_limit);
            self.wrong("broker.group.share.delivery.count.limit", found, "expected 32767 at most");
        }
    }

    /// What holds for all streams groups lies within what each may choose.
    fn streams_groups(&mut self, broker: &Broker) {
        let heartbeat = broker.group_streams_heartbeat_interval;
        self.heartbeats("streams", heartbeat, broker.group_streams_session_timeout);
        self.bounds("streams", streams_bounds(broker));
        let (replicas, most) =
            (broker.group_streams_standby_replicas, broker.group_streams_standby_replicas_max);
        if replicas > most {
            let found = format!("group.streams.num.standby.replicas ({replicas}) is above {most}");
            let expected = "expected group.streams.max.standby.replicas at most; set this too";
            self.wrong("broker.group.streams.num.standby.replicas", found, expected);
        }
    }

    fn heartbeats(&mut self, kind: &str, heartbeat: Millis, session: Millis) {
        if heartbeat >= session {
            let found =
                format!("group.{kind}.heartbeat.interval.ms is not below group.{kind}.session.timeout.ms");
            let path = format!("broker.group.{kind}.heartbeat.interval.ms");
            self.wrong(&path, found, "expected several heartbeats within a session");
        }
    }

    fn bounds(&mut self, kind: &str, bounds: impl IntoIterator<Item = (&'static str, i64, i64, i64)>) {
        for (key, min, value, max) in bounds {
            if !(min..=max).contains(&value) {
                let found = format!("group.{kind}.{key} ({value}) is not from {min} to {max}");
                let expected = format!(
                    "expected it between group.{kind}.min.{key} and group.{kind}.max.{key}; set these too"
                );
                self.wrong(&format!("broker.group.{kind}.{key}"), found, &expected);
            }
        }
    }

    /// Transactional ids and groups are made of the name alone, so no two plugins share one.
    fn names(&mut self) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        let mut found = Vec::new();
        for kind in Kind::ALL {
            let Some(tree::Node { value: tree::Value::Table(plugins), .. }) = self.tree.get(kind.table())
            else {
                continue;
            };
            for name in plugins.keys() {
                if let Some(other) = seen.insert(name, kind.table()) {
                    found.push((format!("{}.{name}", kind.table()), format!("{other}.{name}")));
                }
            }
        }
        for (path, other) in found {
            let found = format!("{path} has the name of {other} at {}", self.place(&other));
            self.wrong(&path, found, "each source, transform and sink has a name of its own; its group and its progress are kept by it");
        }
    }

    fn plugin(&mut self, path: &str, plugin: &Plugin, draft: &Draft) {
        let name = path.split_once('.').map_or(path, |(_, name)| name);
        for output in plugin.outputs.iter().filter(|output| is_internal(output)) {
            let key = if plugin.kind == Kind::Source { "topic" } else { "to" };
            let found = format!("{path}.{key} is \"{output}\", a topic of the broker's own");
            self.wrong(&format!("{path}.{key}"), found, "names that begin with __ are left to it");
        }
        if let Some(dead) = &plugin.dead_letters {
            if is_internal(dead) {
                let found =
                    format!("dead letters of {name} would go to \"{dead}\", a topic of the broker's own");
                self.wrong(&format!("{path}.errors.topic"), found, "expected another errors.topic");
            } else if plugin.inputs.contains(dead) {
                let found = format!("{name} reads \"{dead}\", where its own dead letters go");
                self.wrong(&format!("{path}.errors.topic"), found, "expected another errors.topic");
            } else if !crate::text::is_name(dead) {
                let found = format!("\"{dead}\" is too long for a topic");
                self.wrong(path, found, "set errors.topic, or shorten the name");
            }
        }
        if plugin.settings.errors_topic.is_some() && !plugin.settings.policy.parks() {
            let found = format!(
                "{path}.errors.topic is never written to with errors.policy \"{}\"",
                plugin.settings.policy
            );
            self.warn(
                &format!("{path}.errors.topic"),
                found,
                "\"dead-letter\" and \"quarantine\" write to it",
            );
        }
        if plugin.settings.backoff_min > plugin.settings.backoff_max {
            let found = format!("{path}.limits.backoff.min is over limits.backoff.max");
            self.wrong(&format!("{path}.limits.backoff.min"), found, "expected the shorter of the two");
        }
        self.databases(path, plugin);
        self.tasks(path, plugin, draft);
    }

    fn databases(&mut self, path: &str, plugin: &Plugin) {
        // By the tree: a database with a problem of its own is there all the same.
        let known: Vec<String> = match self.tree.get("databases").map(|node| &node.value) {
            Some(tree::Value::Table(table)) => table.keys().cloned().collect(),
            _ => Vec::new(),
        };
        for database in plugin.settings.databases.iter().map(|name| name.as_str()) {
            if !known.iter().any(|name| name == database) {
                let path = format!("{path}.grant.databases");
                let problem = Problem::new(
                    self.place(&path),
                    format!("{path} names \"{database}\", and there is no [databases.{database}]"),
                );
                self.ctx.problems.push(problem.near(database, known.iter().map(String::as_str)));
            }
        }
    }

    fn tasks(&mut self, path: &str, plugin: &Plugin, draft: &Draft) {
        let default = draft.broker.as_ref().map_or(1, |broker| broker.num_partitions.get());
        let of = |topic: &String| {
            draft.topics.get(topic).map(|topic| topic.partitions.map_or(default, |p| p.get()))
        };
        let most =
            plugin.inputs.iter().map(of).collect::<Option<Vec<u32>>>().and_then(|all| all.into_iter().max());
        if let Some(most) = most.filter(|most| *most < plugin.settings.tasks.get()) {
            let found =
                format!("{path}.tasks is {}, and its input has {most} partitions", plugin.settings.tasks);
            self.warn(&format!("{path}.tasks"), found, "a task without a partition has nothing to do");
        }
    }

    /// A record that comes back to where it was goes round for ever.
    fn circles(&mut self, transforms: &BTreeMap<String, Plugin>) {
        let mut told: BTreeSet<BTreeSet<&str>> = BTreeSet::new();
        let enabled = || transforms.iter().filter(|(_, plugin)| plugin.settings.enabled);
        for (name, plugin) in enabled() {
            for start in &plugin.inputs {
                let mut trail: Vec<&str> = vec![start];
                if !returns(start, plugin, &mut trail, transforms)
                    || !told.insert(trail.iter().copied().collect())
                {
                    continue;
                }
                let found = format!("a record would go round for ever: {}", trail.join(" -> "));
                self.wrong(
                    &format!("transforms.{name}.to"),
                    found,
                    "expected a \"to\" that does not lead back to \"from\"",
                );
            }
        }
    }
}

/// Follows outputs from a transform; true when `start` is reached again, with the way there in `trail`.
fn returns<'a>(
    start: &str,
    plugin: &'a Plugin,
    trail: &mut Vec<&'a str>,
    all: &'a BTreeMap<String, Plugin>,
) -> bool {
    for output in &plugin.outputs {
        if output == start {
            trail.push(output);
            return true;
        }
        if trail.contains(&output.as_str()) {
            continue;
        }
        trail.push(output);
        let readers = all.values().filter(|next| next.settings.enabled && next.inputs.contains(output));
        for next in readers {
            if returns(start, next, trail, all) {
                return true;
            }
        }
        trail.pop();
    }
    false
}

/// Keys of share groups: the least that a group may set, what holds for all, the most.
fn share_bounds(broker: &Broker) -> [(&'static str, i64, i64, i64); 6] {
    [
        (
            "session.timeout.ms",
            broker.group_share_session_timeout_min.0,
            broker.group_share_session_timeout.0,
            broker.group_share_session_timeout_max.0,
        ),
        (
            "heartbeat.interval.ms",
            broker.group_share_heartbeat_interval_min.0,
            broker.group_share_heartbeat_interval.0,
            broker.group_share_heartbeat_interval_max.0,
        ),
        (
            "assignment.interval.ms",
            broker.group_share_assignment_interval_min.0,
            broker.group_share_assignment_interval.0,
            broker.group_share_assignment_interval_max.0,
        ),
        (
            "record.lock.duration.ms",
            broker.group_share_lock_duration_min.0,
            broker.group_share_lock_duration.0,
            broker.group_share_lock_duration_max.0,
        ),
        (
            "delivery.count.limit",
            broker.group_share_delivery_limit_min.get().into(),
            broker.group_share_delivery_limit.get().into(),
            broker.group_share_delivery_limit_max.get().into(),
        ),
        (
            "partition.max.record.locks",
            broker.group_share_record_locks_min.get().into(),
            broker.group_share_record_locks.get().into(),
            broker.group_share_record_locks_max.get().into(),
        ),
    ]
}

/// Keys of streams groups: the least that a group may set, what holds for all, the most.
fn streams_bounds(broker: &Broker) -> [(&'static str, i64, i64, i64); 3] {
    [
        (
            "session.timeout.ms",
            broker.group_streams_session_timeout_min.0,
            broker.group_streams_session_timeout.0,
            broker.group_streams_session_timeout_max.0,
        ),
        (
            "heartbeat.interval.ms",
            broker.group_streams_heartbeat_interval_min.0,
            broker.group_streams_heartbeat_interval.0,
            broker.group_streams_heartbeat_interval_max.0,
        ),
        (
            "assignment.interval.ms",
            broker.group_streams_assignment_interval_min.0,
            broker.group_streams_assignment_interval.0,
            broker.group_streams_assignment_interval_max.0,
        ),
    ]
}

/// `__consumer_offsets` and its like.
pub(crate) fn is_internal(topic: &str) -> bool {
    topic.starts_with("__")
}
