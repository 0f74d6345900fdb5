//! Apache Kafka's own Java client: its releases 2.8 and 3.9, which many still have, and 4.3 with the
//! group protocol that it brings.

use std::process::Command;

use flumen_e2e::client::{CODECS, Client};
use flumen_harness::clients::java_client;
use flumen_harness::tools;
use serde_json::json;

fn java_2_8() -> Client {
    let command = |words: &[&str]| -> Command { java_client("2.8.2", "Plain", words) };
    Client { name: "java", codecs: &CODECS, command }
}

fn java_3_9() -> Client {
    let command = |words: &[&str]| -> Command { java_client("3.9.1", "Plain", words) };
    Client { name: "java", codecs: &CODECS, command }
}

fn java_4_3() -> Client {
    let command = |words: &[&str]| -> Command { java_client(tools::KAFKA, "Plain", words) };
    Client { name: "java", codecs: &CODECS, command }
}

/// What all releases are told.
fn told() -> serde_json::Value {
    json!({
        "created": 2,
        "again": "TopicExistsException",
        // The broker says which topics are internal, and the client leaves them out.
        "topics": ["asked"],
        "starts": [0, 0, 0],
        "ends": [8, 12, 10],
        "retention": 3_600_000,
        "brokers": "127.0.0.1",
        "groups": ["askers"],
        "state": "Empty",
        "committed": [8, 12, 10],
        "set": [0, 1, 2],
        "without_one": [0, 2],
        "cut": [2, 0, 0],
        "groups_after": [],
        "topics_after": [],
    })
}

#[test]
fn java_2_8_writes() {
    java_2_8().writes();
}

#[test]
fn java_2_8_reads() {
    java_2_8().reads();
}

#[test]
fn java_2_8_shares_a_group() {
    java_2_8().shares_a_group();
}

#[test]
fn java_2_8_commits_and_aborts() {
    java_2_8().commits_and_aborts();
}

#[test]
fn java_2_8_copies_exactly_once() {
    java_2_8().copies_exactly_once();
}

#[test]
fn java_2_8_administers() {
    java_2_8().administers(&told());
}

#[test]
fn java_3_9_writes() {
    java_3_9().writes();
}

#[test]
fn java_3_9_reads() {
    java_3_9().reads();
}

#[test]
fn java_3_9_shares_a_group() {
    java_3_9().shares_a_group();
}

#[test]
fn java_3_9_commits_and_aborts() {
    java_3_9().commits_and_aborts();
}

#[test]
fn java_3_9_copies_exactly_once() {
    java_3_9().copies_exactly_once();
}

#[test]
fn java_3_9_administers() {
    java_3_9().administers(&told());
}

#[test]
fn java_4_3_writes() {
    java_4_3().writes();
}

#[test]
fn java_4_3_reads_in_a_group_of_the_consumer_protocol() {
    java_4_3().reads_with(&["group.protocol=consumer"]);
}

#[test]
fn java_4_3_shares_a_group_of_the_consumer_protocol() {
    java_4_3().shares_a_group_with(&["group.protocol=consumer"]);
}

#[test]
fn java_4_3_shares_a_group_cooperatively() {
    let cooperative = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
    java_4_3().shares_a_group_with(&[&format!("partition.assignment.strategy={cooperative}")]);
}

#[test]
fn java_4_3_commits_and_aborts() {
    java_4_3().commits_and_aborts();
}

#[test]
fn java_4_3_copies_exactly_once_in_a_group_of_the_consumer_protocol() {
    java_4_3().copies_exactly_once_with(&["group.protocol=consumer"]);
}

#[test]
fn java_4_3_administers() {
    java_4_3().administers(&told());
}
