//! Quotas over sockets: who uses too much is told, and is not read meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flumen_auth::quota::{Entity, Name};
use flumen_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};
use flumen_server::DeclaredQuota;
use tokio::io::AsyncReadExt;

use crate::running::{PATIENCE, Running, batch, fetch, produce, values};

fn declared(entity: Entity, key: &str, value: f64) -> DeclaredQuota {
    let quotas = BTreeMap::from([(key.to_string(), value)]);
    DeclaredQuota { entity, quotas, place: "flumen.toml:7".into() }
}

async fn limited(entity: Entity, key: &str, value: f64) -> Running {
    let quota = declared(entity, key, value);
    Running::start_with(|options| options.security.quotas = vec![quota]).await
}

fn set(user: &str, key: &str, value: f64) -> AlterClientQuotasRequest {
    let entity = vec![message!(EntityData { entity_type: "user".into(), entity_name: Some(user.into()) })];
    let ops = vec![message!(OpData { key: key.into(), value })];
    message!(AlterClientQuotasRequest { entries: vec![message!(EntryData { entity, ops })] })
}

/// All quotas there are.
async fn described(running: &Running) -> Vec<(String, f64)> {
    let mut client = running.client().await;
    let told = client.ask(&DescribeClientQuotasRequest::default(), 1).await;
    let entries = told.entries.unwrap();
    let values = entries.iter().flat_map(|entry| &entry.values);
    values.map(|value| (value.key.to_string(), value.value)).collect()
}

#[tokio::test]
async fn a_producer_over_its_quota_is_told_and_not_read_meanwhile() {
    let running = limited(Entity::User(Name::Default), "producer_byte_rate", 1000.0).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let small = client.ask(&produce("t", 0, batch(&["a"])), 9).await;
    assert_eq!(small.throttle_time_ms, 0);
    // Eleven seconds' worth may come at once, and a little more takes as much longer.
    let much = "x".repeat(11_500);
    let begun = Instant::now();
    let large = client.ask(&produce("t", 0, batch(&[&much])), 9).await;
    assert_eq!(large.responses[0].partition_responses[0].error_code, 0, "it is written all the same");
    assert!(large.throttle_time_ms > 500, "{}", large.throttle_time_ms);
    client.ask(&MetadataRequest::default(), 9).await;
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_millis(large.throttle_time_ms as u64), "{waited:?}");
}

#[tokio::test]
async fn a_fetch_over_its_quota_is_answered_at_once_and_empty() {
    let running = limited(Entity::Client(Name::Named("test".into())), "consumer_byte_rate", 100.0).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let much = "x".repeat(700);
    for _ in 0..2 {
        client.produce("t", 0, batch(&[&much])).await;
    }
    let first = client.ask(&fetch("t", 0, 0), 11).await;
    assert_eq!(first.throttle_time_ms, 0);
    assert_eq!(values(&first.responses[0].partitions[0]).len(), 1, "ten seconds' worth at once");
    let second = client.ask(&fetch("t", 0, 1), 11).await;
    assert!(second.throttle_time_ms > 0 && second.responses.is_empty(), "{second:?}");
}

#[tokio::test]
async fn a_session_goes_on_where_a_quota_has_stopped_it() {
    let running = limited(Entity::User(Name::Default), "consumer_byte_rate", 100.0).await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let much = "x".repeat(900);
    client.produce("t", 0, batch(&[&much])).await;
    client.produce("t", 0, batch(&["later"])).await;
    let ask = |offset, session_id, session_epoch| {
        let mut request = fetch("t", 0, offset);
        (request.session_id, request.session_epoch) = (session_id, session_epoch);
        request
    };
    let first = client.ask(&ask(0, 0, 0), 11).await;
    assert!(first.session_id > 0 && first.throttle_time_ms == 0);
    let (mut epoch, deadline) = (1, Instant::now() + 3 * PATIENCE);
    loop {
        assert!(Instant::now() < deadline, "the rest never comes");
        let next = client.ask(&ask(1, first.session_id, epoch), 11).await;
        assert_eq!((next.session_id, next.error_code), (first.session_id, 0));
        if let Some(topic) = next.responses.first() {
            assert_eq!(values(&topic.partitions[0])[0].1, "later");
            break;
        }
        assert!(next.throttle_time_ms > 0);
        epoch += 1;
    }
}

#[tokio::test]
async fn time_of_threads_is_limited_and_told_in_any_answer() {
    let running = limited(Entity::User(Name::Default), "request_percentage", 1e-9).await;
    let mut client = running.client().await;
    let answer = client.ask(&MetadataRequest::default(), 9).await;
    assert!((1..=1000).contains(&answer.throttle_time_ms), "{}", answer.throttle_time_ms);
}

#[tokio::test]
async fn quotas_outlive_a_restart_and_the_files_are_changed_there() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let answer = client.ask(&set("alice", "producer_byte_rate", 5000.0), 1).await;
    assert_eq!(answer.entries[0].error_code, 0);
    let running = running.restart().await;
    assert_eq!(described(&running).await, [("producer_byte_rate".to_string(), 5000.0)]);
    let alice = declared(Entity::User(Name::Named("alice".into())), "consumer_byte_rate", 9.0);
    running.broker.security().declare(Vec::new(), Vec::new(), vec![alice]).await;
    assert_eq!(described(&running).await, [("consumer_byte_rate".to_string(), 9.0)], "the file's alone");
    let mut client = running.client().await;
    let refused = client.ask(&set("alice", "producer_byte_rate", 1.0), 1).await.entries.remove(0);
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::PolicyViolation);
    assert!(refused.error_message.unwrap().contains("flumen.toml:7"));
}

#[tokio::test]
async fn an_address_has_no_more_connections_than_it_may() {
    let running = Running::start_with(|options| options.connections_per_ip_max = 1).await;
    let mut first = running.client().await;
    first.ask(&MetadataRequest::default(), 9).await;
    let mut second = running.client().await;
    let read = tokio::time::timeout(PATIENCE, second.socket.read_u8()).await.unwrap();
    assert!(read.is_err(), "it is closed");
    drop(first);
    // Its place is free again as soon as the broker has seen it leave.
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "its place is never free again");
        let mut third = running.client().await;
        third.send(&MetadataRequest::default(), 9).await;
        if third.frame().await.is_some() {
            break;
        }
    }
}

#[tokio::test]
async fn beyond_all_connections_nobody_is_served_until_somebody_leaves() {
    let running = Running::start_with(|options| options.connections_max = 1).await;
    let mut first = running.client().await;
    first.ask(&MetadataRequest::default(), 9).await;
    let mut second = running.client().await;
    second.send(&MetadataRequest::default(), 9).await;
    drop(first);
    assert!(second.frame().await.is_some(), "served when the first had left");
}

#[tokio::test]
async fn an_address_that_begins_too_many_is_held_and_closed() {
    let running = limited(Entity::Ip(Name::Default), "connection_creation_rate", 1.0).await;
    let mut clients = Vec::new();
    // They are there before any of them is answered: eleven, which are one more than ten seconds' worth.
    for _ in 0..11 {
        clients.push(running.client().await);
    }
    let mut late = clients.pop().unwrap();
    for client in &mut clients {
        client.ask(&MetadataRequest::default(), 9).await;
    }
    late.send(&MetadataRequest::default(), 9).await;
    assert!(late.frame().await.is_none(), "closed without an answer");
}
