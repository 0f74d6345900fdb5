//! Rust: the rdkafka crate.

use flumen_e2e::client::{CODECS, Client};
use flumen_harness::clients::rdkafka;
use serde_json::json;

const CLIENT: Client = Client { name: "rdkafka", codecs: &CODECS, command: rdkafka };

#[test]
fn rdkafka_writes() {
    CLIENT.writes();
}

#[test]
fn rdkafka_reads() {
    CLIENT.reads();
}

#[test]
fn rdkafka_shares_a_group() {
    CLIENT.shares_a_group();
}

#[test]
fn rdkafka_commits_and_aborts() {
    CLIENT.commits_and_aborts();
}

#[test]
fn rdkafka_copies_exactly_once() {
    CLIENT.copies_exactly_once();
}

#[test]
fn rdkafka_administers() {
    CLIENT.administers(&json!({
        "created": true,
        "again": "TopicAlreadyExists (Broker: Topic already exists)",
        "partitions": [[0, 1], [1, 1], [2, 1]],
        // Where librdkafka's own partitioner puts the keys k0 to k29.
        "ends": [[0, 10], [0, 8], [0, 12]],
        "groups": [["askers", "Empty", "consumer"]],
        "committed": [10, 8, 12],
        "retention": "3600000",
        "cut": [[2, 10], [0, 8], [0, 12]],
        "gone": true,
        "deleted": true,
    }));
}
