//! JavaScript: kafkajs, and Confluent's client over librdkafka.

use std::process::Command;

use flumen_e2e::client::{CODECS, Client};
use flumen_harness::clients::node;
use serde_json::json;

fn kafkajs() -> Client {
    let command = |words: &[&str]| -> Command { node("kafkajs.js", words) };
    Client { name: "kafkajs", codecs: &CODECS, command }
}

fn librdkafka() -> Client {
    let command = |words: &[&str]| -> Command { node("librdkafka.js", words) };
    Client { name: "librdkafka-js", codecs: &CODECS, command }
}

#[test]
fn kafkajs_writes() {
    kafkajs().writes();
}

#[test]
fn kafkajs_reads() {
    kafkajs().reads();
}

#[test]
fn kafkajs_shares_a_group() {
    kafkajs().shares_a_group();
}

#[test]
fn kafkajs_commits_and_aborts() {
    kafkajs().commits_and_aborts();
}

#[test]
fn kafkajs_copies_exactly_once() {
    kafkajs().copies_exactly_once();
}

#[test]
fn kafkajs_administers() {
    kafkajs().administers(&json!({
        "created": true,
        "again": false,
        "topics": ["__consumer_offsets", "__transaction_state", "asked"],
        "partitions": [[0, 1, [1]], [1, 1, [1]], [2, 1, [1]]],
        // Where the keys k0 to k29 come to lie: murmur2, as in every client.
        "ends": [[0, 8], [0, 12], [0, 10]],
        "retention": [["retention.ms", "3600000"]],
        "brokers": ["{broker}"],
        "groups": [{ "groupId": "askers", "protocolType": "consumer" }],
        "state": [[0, "Empty", "consumer"]],
        "committed": [8, 12, 10],
        "set": [0, 1, 2],
        // kafkajs keeps "the earliest" as this number, and looks it up when it consumes.
        "reset": [-2, -2, -2],
        "cut": [2, 0, 0],
        "deleted": [{ "groupId": "askers", "errorCode": 0 }],
        "groups_after": [],
        "topics_after": ["__consumer_offsets", "__transaction_state"],
    }));
}

#[test]
fn librdkafka_writes() {
    librdkafka().writes();
}

#[test]
fn librdkafka_reads() {
    librdkafka().reads();
}

#[test]
fn librdkafka_shares_a_group() {
    librdkafka().shares_a_group();
}

#[test]
fn librdkafka_commits_and_aborts() {
    librdkafka().commits_and_aborts();
}

#[test]
fn librdkafka_administers() {
    librdkafka().administers(&json!({
        "created": true,
        "again": false,
        "topics": ["__consumer_offsets", "__transaction_state", "asked"],
        "partitions": [[0, 1, [1]], [1, 1, [1]], [2, 1, [1]]],
        "ends": [[0, 8], [0, 12], [0, 10]],
        "groups": [{ "groupId": "askers", "protocolType": "consumer" }],
        "members": [[0, "consumer"]],
        "committed": [8, 12, 10],
        "cut": [2, 0, 0],
        "groups_after": [],
        "topics_after": ["__consumer_offsets", "__transaction_state"],
    }));
}
