//! Topics and their settings, as admin clients handle them.

use crate::running::{Client, Running, batch};
use flumen_protocol::messages::alter_configs_request;
use flumen_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use flumen_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use flumen_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use flumen_protocol::messages::delete_topics_request::DeleteTopicState;
use flumen_protocol::messages::describe_configs_request::DescribeConfigsResource;
use flumen_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use flumen_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use flumen_protocol::messages::metadata_request::MetadataRequestTopic;
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

async fn metadata(client: &mut Client, name: &str, version: i16) -> MetadataResponse {
    let topic = message!(MetadataRequestTopic { name: Some(name.into()) });
    client.ask(&message!(MetadataRequest { topics: Some(vec![topic]) }), version).await
}

#[tokio::test]
async fn metadata_names_the_only_node_and_makes_topics() {
    let running = Running::start_with(|options| options.partitions = 3).await;
    let mut client = running.client().await;
    for version in 0..=13 {
        let name = format!("auto-{version}");
        let answer = metadata(&mut client, &name, version).await;
        assert_eq!(answer.brokers.len(), 1);
        let node = &answer.brokers[0];
        assert_eq!((&*node.host, node.port), ("127.0.0.1", i32::from(running.address.port())));
        assert!(version == 0 || answer.controller_id == node.node_id);
        assert_eq!(answer.topics[0].error_code, 0, "{version}");
        assert_eq!(answer.topics[0].partitions.len(), 3);
        assert_eq!(answer.topics[0].partitions[0].leader_id, node.node_id);
    }
    let bad = metadata(&mut client, "no/name", 12).await;
    assert_eq!(bad.topics[0].error_code, ErrorCode::InvalidTopicException.code());
    let internal = metadata(&mut client, "__consumer_offsets", 12).await;
    assert!(internal.topics[0].is_internal);
    assert_eq!(internal.topics[0].partitions.len(), 4);
    let all = client.ask(&message!(MetadataRequest { topics: None }), 12).await;
    assert_eq!(all.topics.len(), 15);
    let none = client.ask(&message!(MetadataRequest { topics: Some(vec![]) }), 12).await;
    assert!(none.topics.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn a_topic_is_found_by_its_id() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let topic_id = wire_id(running.broker.topic("t").unwrap().id());
    // As librdkafka asks, and as Java does.
    for name in [None, Some("".into())] {
        let by_id = |topic_id| {
            let topic = message!(MetadataRequestTopic { topic_id, name: name.clone() });
            message!(MetadataRequest { topics: Some(vec![topic]) })
        };
        let found = client.ask(&by_id(topic_id), 12).await;
        assert_eq!(found.topics[0].name.as_deref(), Some("t"));
        for version in [12, 13] {
            let unknown = client.ask(&by_id(Uuid::from_bytes([9; 16])), version).await;
            assert_eq!(unknown.topics[0].error_code, ErrorCode::UnknownTopicId.code());
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn without_auto_create_an_unknown_topic_stays_unknown() {
    let running = Running::start_with(|options| options.auto_create_topics = false).await;
    let mut client = running.client().await;
    let answer = metadata(&mut client, "t", 12).await;
    assert_eq!(answer.topics[0].error_code, ErrorCode::UnknownTopicOrPartition.code());
    running.stop().await;
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    message!(CreatableTopic { name: name.into(), num_partitions, replication_factor })
}

#[tokio::test]
async fn each_topic_of_a_request_is_made_or_refused_on_its_own() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("taken.name", 1, &[]).await;
    let mut with_config = topic("config", 1, 1);
    with_config.configs =
        vec![message!(CreatableTopicConfig { name: "retention".into(), value: Some("1".into()) })];
    let mut elsewhere = topic("elsewhere", -1, -1);
    elsewhere.assignments =
        vec![message!(CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![5] })];
    let mut assigned = topic("assigned", -1, -1);
    assigned.assignments =
        vec![message!(CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![1] })];
    let wanted = [
        (topic("fine", 2, 1), ErrorCode::None),
        (topic("default", -1, -1), ErrorCode::None),
        (assigned, ErrorCode::None),
        (topic("taken.name", 1, 1), ErrorCode::TopicAlreadyExists),
        (topic("taken_name", 1, 1), ErrorCode::InvalidTopicException),
        (topic("..", 1, 1), ErrorCode::InvalidTopicException),
        (topic("zero", 0, 1), ErrorCode::InvalidPartitions),
        (topic("three", 1, 3), ErrorCode::InvalidReplicationFactor),
        (with_config, ErrorCode::InvalidConfig),
        (elsewhere, ErrorCode::InvalidReplicaAssignment),
        (topic("twice", 1, 1), ErrorCode::InvalidRequest),
        (topic("twice", 1, 1), ErrorCode::InvalidRequest),
    ];
    let (topics, mut errors): (Vec<_>, Vec<_>) = wanted.into_iter().unzip();
    // What is named twice is answered once.
    errors.pop();
    let mut request = message!(CreateTopicsRequest { topics, validate_only: true });
    for validate_only in [true, false] {
        request.validate_only = validate_only;
        let answer = client.ask(&request, 7).await;
        let found: Vec<_> = answer.topics.iter().map(|topic| ErrorCode::from(topic.error_code)).collect();
        assert_eq!(found, errors);
        assert_eq!(running.broker.topic("fine").is_some(), !validate_only);
    }
    assert_eq!(running.broker.topic("fine").unwrap().partitions.len(), 2);
    running.stop().await;
}

#[tokio::test]
async fn topics_grow_and_go() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 2, &[]).await;
    client.create("u", 1, &[]).await;
    let grow = |name: &str, count| {
        let topic = message!(CreatePartitionsTopic { name: name.into(), count, assignments: None });
        message!(CreatePartitionsRequest { topics: vec![topic] })
    };
    for (request, error) in [
        (grow("t", 4), ErrorCode::None),
        (grow("t", 4), ErrorCode::InvalidPartitions),
        (grow("t", 1), ErrorCode::InvalidPartitions),
        (grow("none", 2), ErrorCode::UnknownTopicOrPartition),
    ] {
        let answer = client.ask(&request, 3).await;
        assert_eq!(ErrorCode::from(answer.results[0].error_code), error);
    }
    assert_eq!(client.produce("t", 3, batch(&["new"])).await.error_code, 0);

    let by_name = message!(DeleteTopicsRequest { topic_names: vec!["t".into(), "none".into()] });
    let answer = client.ask(&by_name, 5).await;
    let found: Vec<_> = answer.responses.iter().map(|topic| ErrorCode::from(topic.error_code)).collect();
    assert_eq!(found, [ErrorCode::None, ErrorCode::UnknownTopicOrPartition]);
    let topic_id = wire_id(running.broker.topic("u").unwrap().id());
    let by_id = message!(DeleteTopicsRequest { topics: vec![message!(DeleteTopicState { topic_id })] });
    let answer = client.ask(&by_id, 6).await;
    assert_eq!(answer.responses[0].name.as_deref(), Some("u"));
    assert!(running.broker.topics().all().is_empty());
    assert_eq!(client.ask(&by_id, 6).await.responses[0].error_code, ErrorCode::UnknownTopicId.code());
    running.stop().await;
}

async fn setting(client: &mut Client, name: &str) -> (String, i8) {
    let resource = message!(DescribeConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        configuration_keys: Some(vec![name.into()]),
    });
    let answer = client.ask(&message!(DescribeConfigsRequest { resources: vec![resource] }), 4).await;
    let config = &answer.results[0].configs[0];
    (config.value.clone().unwrap().into_string(), config.config_source)
}

#[tokio::test]
async fn settings_are_described_and_changed() {
    let running = Running::start_with(|options| {
        options.broker_configs.insert("log.retention.ms".into(), "1d".into());
    })
    .await;
    let mut client = running.client().await;
    client.create("t", 1, &[("cleanup.policy", "compact")]).await;
    assert_eq!(setting(&mut client, "retention.ms").await, ("86400000".into(), 4));
    assert_eq!(setting(&mut client, "cleanup.policy").await, ("compact".into(), 1));

    let change = |name: &str, config_operation, value: &str| {
        let config =
            message!(AlterableConfig { name: name.into(), config_operation, value: Some(value.into()) });
        let resource = message!(AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![config],
        });
        message!(IncrementalAlterConfigsRequest { resources: vec![resource] })
    };
    for (request, error) in [
        (change("retention.ms", 0, "7000"), ErrorCode::None),
        (change("cleanup.policy", 2, "delete"), ErrorCode::None),
        (change("cleanup.policy", 0, "shred"), ErrorCode::InvalidConfig),
        (change("retention", 0, "1"), ErrorCode::InvalidConfig),
    ] {
        let answer = client.ask(&request, 1).await;
        assert_eq!(ErrorCode::from(answer.responses[0].error_code), error);
    }
    assert_eq!(setting(&mut client, "retention.ms").await, ("7000".into(), 1));
    assert_eq!(setting(&mut client, "cleanup.policy").await, ("compact,delete".into(), 1));

    let whole = message!(alter_configs_request::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: "t".into(),
        configs: vec![],
    });
    client.ask(&message!(AlterConfigsRequest { resources: vec![whole] }), 2).await;
    assert_eq!(setting(&mut client, "cleanup.policy").await, ("delete".into(), 5));

    let broker = message!(DescribeConfigsResource { resource_type: BROKER, resource_name: "1".into() });
    let answer = client.ask(&message!(DescribeConfigsRequest { resources: vec![broker] }), 4).await;
    let retention = answer.results[0].configs.iter().find(|config| &*config.name == "log.retention.ms");
    assert_eq!(retention.unwrap().value.as_deref(), Some("86400000"));
    running.stop().await;
}

#[tokio::test]
async fn offsets_have_names_and_times() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    for _ in 0..3 {
        client.produce("t", 0, batch(&["a", "b"])).await;
    }
    let delete = |offset| {
        let partition = message!(DeleteRecordsPartition { partition_index: 0, offset });
        let topic = message!(DeleteRecordsTopic { name: "t".into(), partitions: vec![partition] });
        message!(DeleteRecordsRequest { topics: vec![topic] })
    };
    for (offset, error, start) in
        [(3, ErrorCode::None, 3), (1, ErrorCode::None, 3), (7, ErrorCode::OffsetOutOfRange, -1)]
    {
        let answer = client.ask(&delete(offset), 2).await;
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((ErrorCode::from(partition.error_code), partition.low_watermark), (error, start));
    }
    let ask = |timestamp| {
        let partition = message!(ListOffsetsPartition { timestamp, current_leader_epoch: -1 });
        let topic = message!(ListOffsetsTopic { name: "t".into(), partitions: vec![partition] });
        message!(ListOffsetsRequest { replica_id: -1, topics: vec![topic] })
    };
    // Each from the version on that knows it.
    for (timestamp, offset, since) in [
        (-1, 6, 1),
        (-2, 3, 1),
        (-3, 3, 7),
        (-4, 3, 8),
        (-5, -1, 9),
        (-6, -1, 11),
        (1_700_000_000_000, 3, 1),
        (1_700_000_000_001, -1, 1),
    ] {
        for version in [1, 3, 4, 6, 7, 8, 9, 10, 11] {
            let answer = client.ask(&ask(timestamp), version).await;
            let partition = &answer.topics[0].partitions[0];
            let expected = if version >= since { (0, offset) } else { (35, -1) };
            assert_eq!((partition.error_code, partition.offset), expected, "{timestamp} in {version}");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn topics_are_described_a_page_at_a_time() {
    let running = Running::start().await;
    let mut client = running.client().await;
    for name in ["a", "b", "c"] {
        client.create(name, 2, &[]).await;
    }
    let mut request = message!(DescribeTopicPartitionsRequest { response_partition_limit: 3 });
    let mut seen = Vec::new();
    loop {
        let answer = client.ask(&request, 0).await;
        for topic in &answer.topics {
            let name = topic.name.as_deref().unwrap_or_default();
            seen.extend(
                topic.partitions.iter().map(|partition| format!("{name}-{}", partition.partition_index)),
            );
        }
        let Some(next) = answer.next_cursor else { break };
        request.cursor = Some(message!(describe_topic_partitions_request::Cursor {
            topic_name: next.topic_name,
            partition_index: next.partition_index,
        }));
    }
    assert_eq!(seen, ["a-0", "a-1", "b-0", "b-1", "c-0", "c-1"]);
    running.stop().await;
}

#[tokio::test]
async fn many_topics_of_one_request_are_made_and_deleted_each_with_its_own_answer() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let names: Vec<_> = (0..40).map(|n| format!("new.{n}")).chain(["new_7".into()]).collect();
    let topics = names.iter().map(|name| topic(name, 1, 1)).collect();
    let made = client.ask(&message!(CreateTopicsRequest { topics }), 7).await.topics;
    assert!(made.iter().map(|topic| &*topic.name).eq(names.iter().map(String::as_str)));
    let refused: Vec<_> = made.iter().filter(|topic| topic.error_code != 0).collect();
    // It collides with one that comes before it.
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (&*refused[0].name, refused[0].error_code),
        ("new_7", ErrorCode::InvalidTopicException.code())
    );
    client.produce("new.7", 0, batch(&["kept until then"])).await;
    let doomed = |name: &String| message!(DeleteTopicState { name: Some(name.as_str().into()) });
    let topics = names.iter().map(doomed).collect();
    let gone = client.ask(&message!(DeleteTopicsRequest { topics }), 6).await.responses;
    let errors: Vec<_> = gone.iter().map(|topic| topic.error_code).collect();
    assert!(errors[..40].iter().all(|error| *error == 0));
    assert_eq!(errors[40], ErrorCode::UnknownTopicOrPartition.code());
    let ids = made.iter().zip(&gone).take(40);
    assert!(ids.into_iter().all(|(made, gone)| made.topic_id == gone.topic_id));
    assert!(running.restart().await.broker.topic("new.7").is_none());
}
