//! What holds of a configuration once it is loaded: what it shows, what it hides, what a change is.

mod texts;

use std::collections::BTreeMap;
use std::path::Path;

use flumen_config::{Change, Config, Existing, Kind, Loaded, Place, Problem, load};
use texts::Texts;

fn config(text: &str) -> Loaded {
    Texts::new(text).load().unwrap_or_else(|problems| panic!("{text}: {problems:#?}"))
}

fn changes(old: &str, new: &str) -> Vec<String> {
    Config::diff(&config(old).config, &config(new).config).iter().map(Change::to_string).collect()
}

const PIPELINE: &str = r#"
[topics.orders]
partitions = 2
retention.ms = "1h"

[databases.warehouse]
url = "postgres://ada@db/warehouse"
password = "hunter2-and-hunter2"

[transforms.big]
plugin = "json-filter"
from = "orders"
to = "big"
config = { where = "amount > 100", nested = { a = [1, 2.5, "x"] } }

[sinks.db]
plugin = "db-sink"
from = ["big"]
grant.databases = ["warehouse"]
grant.files = { "out dir" = "write" }
"#;

#[test]
fn a_missing_file_says_how_to_make_one() {
    let problems = load(Path::new("nowhere.toml"), &Texts::new("")).expect_err("there is none");
    let [problem] = problems.as_slice() else { panic!("{problems:?}") };
    let said = problem.to_string();
    assert!(said.starts_with("nowhere.toml: cannot be read") && said.contains("flumen init"), "{said}");
}

#[test]
fn what_is_shown_reads_back_to_the_same_configuration() {
    let loaded = config(&PIPELINE.replace("password", "# password"));
    let shown = loaded.to_toml();
    let again = config(&shown);
    // A topic's inherited settings are its own once they are written down.
    let values = |loaded: &Loaded| {
        let mut json = loaded.to_json();
        strip(&mut json);
        json
    };
    assert_eq!(values(&loaded), values(&again), "{shown}");
}

/// Leaves the values.
fn strip(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::Object(map) if map.contains_key("from") && map.contains_key("value") => {
            *json = map["value"].take();
        }
        serde_json::Value::Object(map) => map.values_mut().for_each(strip),
        serde_json::Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

#[test]
fn nothing_that_prints_a_configuration_prints_a_secret() {
    let secret = "hunter2-and-hunter2";
    let loaded = config(&format!(
        "[broker]\nhttp.token = '{secret}'\n{PIPELINE}\n[databases.two]\nurl = 'postgres://ada:{secret}@db/two'\n"
    ));
    let everything = [
        loaded.to_toml(),
        loaded.to_json().to_string(),
        serde_json::to_string(&loaded.config).expect("JSON"),
        format!("{:?}", loaded.config),
        format!("{loaded:?}"),
    ];
    for text in &everything {
        assert!(!text.contains(secret), "{text}");
    }
    let password = loaded.config.databases["warehouse"].password.as_ref().expect("a password");
    assert_eq!(password.reveal(), secret);
}

#[test]
fn a_place_is_found_for_what_is_written_and_for_what_is_missing() {
    let loaded = config(PIPELINE);
    let line = |path: &str| loaded.place(path).to_string();
    assert_eq!(line("topics.orders.retention.ms"), "flumen.toml:4");
    assert_eq!(line("transforms.big.config.nested.a.1"), "flumen.toml:14");
    assert_eq!(line("sinks.db.config.table"), "flumen.toml:16", "the table's own place");
    assert_eq!(loaded.place("nothing.here"), Place::Default);
    let problem = loaded.config_problem(Kind::Transform, "big", "/nested/a/0", "1 is not a text");
    assert_eq!(problem.to_string(), "flumen.toml:14: transforms.big.config.nested.a.0: 1 is not a text");
    let whole: Problem = loaded.config_problem(Kind::Sink, "db", "", "\"table\" is missing");
    assert_eq!(whole.to_string(), "flumen.toml:16: sinks.db.config: \"table\" is missing");
}

#[test]
fn the_same_file_changes_nothing() {
    assert_eq!(changes(PIPELINE, PIPELINE), [] as [String; 0]);
}

#[test]
fn only_what_differs_is_touched() {
    let new = PIPELINE.replace("amount > 100", "amount > 200");
    assert_eq!(changes(PIPELINE, &new), ["replace transform big: config"]);
    let new = PIPELINE.replace("partitions = 2", "partitions = 4").replace("\"1h\"", "\"2h\"");
    assert_eq!(
        changes(PIPELINE, &new),
        ["grow topic orders to 4 partitions", "alter topic orders: retention.ms = 7200000"]
    );
    let new = PIPELINE.replace("retention.ms = \"1h\"\n", "");
    assert_eq!(changes(PIPELINE, &new), ["alter topic orders: retention.ms to its default"]);
    // The same value written otherwise is the same value.
    assert_eq!(changes(PIPELINE, &PIPELINE.replace("\"1h\"", "3600000")), [] as [String; 0]);
}

#[test]
fn plugins_start_stop_and_keep_their_name_only_within_their_kind() {
    let without = PIPELINE.split("[sinks.db]").next().expect("the rest");
    assert_eq!(changes(without, PIPELINE), ["start sink db"]);
    assert_eq!(changes(PIPELINE, without), ["stop sink db"]);
    assert_eq!(changes(PIPELINE, &format!("{PIPELINE}enabled = false\n")), ["stop sink db"]);
    let source = format!("{without}[sources.db]\nplugin = 'file-source'\ntopic = 'orders'\n");
    assert_eq!(changes(PIPELINE, &source), ["stop sink db", "start source db"]);
}

#[test]
fn a_changed_database_replaces_those_who_use_it_and_tells_no_secret() {
    let new = PIPELINE.replace("hunter2-and-hunter2", "correct-horse");
    assert_eq!(changes(PIPELINE, &new), ["replace sink db: database warehouse (a secret)"]);
    let new = PIPELINE.replace("ada@db", "ada@other");
    assert_eq!(changes(PIPELINE, &new), ["replace sink db: database warehouse (url)"]);
}

#[test]
fn what_would_lose_data_is_told_and_left_alone() {
    let fewer = PIPELINE.replace("partitions = 2", "partitions = 1");
    let gone = PIPELINE.replace("[topics.orders]\npartitions = 2\nretention.ms = \"1h\"\n", "");
    for (new, why) in [(fewer, "it has 2 partitions and the file says 1"), (gone, "it is gone from the file")]
    {
        let changes = Config::diff(&config(PIPELINE).config, &config(&new).config);
        let [change @ Change::KeepTopic { .. }] = changes.as_slice() else { panic!("{changes:?}") };
        assert!(change.is_left_alone());
        let said = change.to_string();
        assert!(said.contains(why) && said.contains("flumen topic delete orders"), "{said}");
    }
}

#[test]
fn broker_keys_wait_for_a_restart() {
    let old = "[broker]\nlog.retention.ms = '1d'\nhttp.token = 'a-token-of-some-length'";
    assert_eq!(
        changes(old, &old.replace("1d", "2d")),
        ["needs a restart: broker.log.retention.ms from \"1d\" to \"2d\""]
    );
    assert_eq!(
        changes(old, &old.replace("some", "more")),
        ["needs a restart: broker.http.token from *** to ***"]
    );
}

#[test]
fn a_topic_is_brought_to_what_the_file_says_from_what_the_broker_has() {
    let loaded = config(PIPELINE);
    let topic = &loaded.config.topics["orders"];
    let told = |existing: Option<&Existing>| -> Vec<String> {
        topic.changes("orders", existing).iter().map(Change::to_string).collect()
    };
    assert_eq!(told(None), ["create topic orders"]);
    let mut existing = Existing { partitions: 1, configs: Default::default() };
    existing.configs.insert("segment.bytes".into(), "1048576".into());
    assert_eq!(
        told(Some(&existing)),
        [
            "grow topic orders to 2 partitions",
            "alter topic orders: retention.ms = 3600000",
            "alter topic orders: segment.bytes to its default"
        ]
    );
    let same = Existing { partitions: 2, configs: topic.configs() };
    assert_eq!(told(Some(&same)), [] as [String; 0]);
}

#[test]
fn the_log_reads_every_default_and_every_setting() {
    let loaded = config(
        "[broker]\nlog.retention.ms = '1d'\n[topics.t]\ncleanup.policy = 'compact'\nsegment.ms = '1h'",
    );
    let set: BTreeMap<String, String> =
        loaded.broker_configs().into_iter().map(|(key, (value, _))| (key.to_string(), value)).collect();
    assert_eq!(set, [("log.retention.ms".to_string(), "86400000".to_string())].into(), "what is declared");
    let topic = loaded.config.topics["t"].configs();
    let config = flumen_log::config::TopicConfig::resolve(&topic, &set).expect("the log takes it");
    assert_eq!(
        (config.retention.0, config.segment.0, config.cleanup_policy.compact),
        (86_400_000, 3_600_000, true)
    );
    let defaults = flumen_log::config::TopicConfig::resolve(&broker_defaults(), &Default::default());
    assert_eq!(defaults.expect("defaults are valid"), flumen_log::config::TopicConfig::default());
}

#[test]
fn what_is_declared_has_a_place_though_it_is_the_default() {
    let loaded = config(
        "[broker]\nmax.connections = 2147483647\n[broker.log]\nretention.ms = '7d'\n\
         [topics.'a.b']\nretention.ms = '1d'\n[topics.'a.b'.segment]\nbytes = '1MiB'",
    );
    let told =
        |(key, (value, place)): (&str, (String, flumen_config::Place))| format!("{key} = {value} ({place})");
    let broker: Vec<_> = loaded.broker_configs().into_iter().map(told).collect();
    assert_eq!(
        broker,
        ["log.retention.ms = 604800000 (flumen.toml:4)", "max.connections = 2147483647 (flumen.toml:2)",]
    );
    let topic: Vec<_> =
        loaded.topic_places("a.b").iter().map(|(key, place)| format!("{key} {place}")).collect();
    assert_eq!(topic, ["retention.ms flumen.toml:6", "segment.bytes flumen.toml:8"]);
    assert_eq!(loaded.place("topics.a.b").to_string(), "flumen.toml:5");
}

fn broker_defaults() -> std::collections::BTreeMap<String, String> {
    flumen_config::Broker::default().topic_defaults()
}

#[test]
fn deep_nesting_and_garbage_are_problems_and_no_crash() {
    let deep = format!("a = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let dotted = format!("a{} = 1", ".a".repeat(100_000));
    let tables = format!("[a{}]\nx = 1", ".a".repeat(10_000));
    for text in [
        deep.as_str(),
        dotted.as_str(),
        tables.as_str(),
        "\u{0}",
        "= = =",
        "[[[",
        "\u{feff}[x]",
        "[sinks]\nx = 1",
    ] {
        let problems = Texts::new(text).load().expect_err("not a configuration");
        assert!(!problems.is_empty());
    }
}

const SECURED: &str = r#"
[broker]
authorizer.class.name = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
super.users = "User:admin"

[users.alice]
password = "hunter2-and-hunter2"

[users.bob]
password = "hunter3-and-hunter3"

[[acls]]
principal = ["User:alice", "User:bob"]
operation = ["Read", "Write"]
topic = ["a", "b"]
host = ["10.0.0.1", "::1"]
"#;

#[test]
fn users_and_rules_change_while_the_broker_runs() {
    let new = SECURED.replace("hunter2-", "hunter4-");
    assert_eq!(changes(SECURED, &new), ["set user alice"]);
    let new = SECURED.replace("[users.bob]\npassword = \"hunter3-and-hunter3\"\n", "");
    assert_eq!(changes(SECURED, &new), ["remove user bob"]);
    assert_eq!(
        changes(SECURED, &SECURED.replace("\"Write\"", "\"Create\"")),
        ["set the access rules (1 tables)"]
    );
    let new = SECURED.replace("User:admin", "User:root");
    assert_eq!(
        changes(SECURED, &new),
        ["needs a restart: broker.super.users from \"User:admin\" to \"User:root\""]
    );
}

#[test]
fn a_table_of_rules_stands_for_each_with_each() {
    let loaded = config(SECURED);
    let acls = loaded.config.acls[0].acls();
    assert_eq!(acls.len(), 2 * 2 * 2 * 2);
    assert!(acls.iter().all(|acl| acl.check().is_ok()));
    assert!(acls.iter().any(|acl| acl.host == "0:0:0:0:0:0:0:1"), "as Kafka names an IPv6 address");
    assert_eq!(loaded.place("acls.0").to_string(), "flumen.toml:12");
}

#[test]
fn no_password_of_a_user_is_printed() {
    let loaded = config(SECURED);
    let everything = [loaded.to_toml(), loaded.to_json().to_string(), format!("{loaded:?}")].concat();
    assert!(everything.contains("alice") && !everything.contains("hunter2"), "{everything}");
    let json = serde_json::to_value(&loaded.config).expect("JSON");
    assert_eq!(json["acls"][0]["topic"], serde_json::json!(["a", "b"]));
}
