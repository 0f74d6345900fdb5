//! Go: franz-go with the newest versions of everything, and sarama.

use std::process::Command;

use flumen_e2e::client::{CODECS, Client};
use flumen_harness::clients::go;
use serde_json::json;

fn franz() -> Client {
    let command = |words: &[&str]| -> Command { go("franz", words) };
    Client { name: "franz-go", codecs: &CODECS, command }
}

fn sarama() -> Client {
    let command = |words: &[&str]| -> Command { go("sarama", words) };
    Client { name: "sarama", codecs: &CODECS, command }
}

#[test]
fn franz_writes() {
    franz().writes();
}

#[test]
fn franz_reads() {
    franz().reads();
}

#[test]
fn franz_reads_in_a_group_of_the_consumer_protocol() {
    franz().reads_with(&["consumer"]);
}

#[test]
fn franz_shares_a_group() {
    franz().shares_a_group();
}

#[test]
fn franz_shares_a_group_of_the_consumer_protocol() {
    franz().shares_a_group_with(&["consumer"]);
}

#[test]
fn franz_commits_and_aborts() {
    franz().commits_and_aborts();
}

#[test]
fn franz_copies_exactly_once() {
    franz().copies_exactly_once();
}

#[test]
fn franz_copies_exactly_once_in_a_group_of_the_consumer_protocol() {
    franz().copies_exactly_once_with(&["consumer"]);
}

#[test]
fn franz_administers() {
    franz().administers(&json!({
        "created": [2, 1],
        "again": "TOPIC_ALREADY_EXISTS",
        "topics": ["__consumer_offsets", "__transaction_state", "asked"],
        "partitions": [0, 1, 2],
        "ids_are_set": true,
        "ends": [8, 12, 10],
        "retention": ["3600000", "DYNAMIC_TOPIC_CONFIG"],
        "brokers": ["{broker}"],
        "groups": ["askers"],
        "state": ["Empty", "consumer"],
        "committed": [8, 12, 10],
        "set": [0, 1, 2],
        "lag": 27,
        "without_one": [0, 2],
        "cut": [2, 0, 0],
        "groups_after": [],
        "topics_after": ["__consumer_offsets", "__transaction_state"],
    }));
}

#[test]
fn sarama_writes() {
    sarama().writes();
}

#[test]
fn sarama_reads() {
    sarama().reads();
}

#[test]
fn sarama_shares_a_group() {
    sarama().shares_a_group();
}

#[test]
fn sarama_commits_and_aborts() {
    sarama().commits_and_aborts();
}

#[test]
fn sarama_copies_exactly_once() {
    sarama().copies_exactly_once();
}

#[test]
fn sarama_administers() {
    sarama().administers(&json!({
        "created": true,
        "again": "kafka server: Topic with this name already exists - Topic 'asked' already exists.",
        "topics": ["__consumer_offsets", "__transaction_state", "asked"],
        "partitions": [[0, 1, [1]], [1, 1, [1]], [2, 1, [1]]],
        // sarama's partitioner is one of its own.
        "ends": [9, 10, 11],
        "retention": ["retention.ms", "3600000"],
        "brokers": ["{broker}", 1],
        "groups": { "askers": "consumer" },
        "state": ["Empty", "consumer", 0],
        "committed": [9, 10, 11],
        "cut": [2, 0, 0],
        "forgotten": -1,
        "groups_after": {},
        "topics_after": ["__consumer_offsets", "__transaction_state"],
    }));
}
