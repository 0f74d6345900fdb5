//! Settings of brokers, groups, topics and client metrics through the API: what holds, what lasts, what is refused.

use flumen_protocol::messages::alter_configs_request as whole;
use flumen_protocol::messages::describe_configs_request::DescribeConfigsResource;
use flumen_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use flumen_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};
use flumen_server::{ClientTrait, DeclaredConfigs, DeclaredTopic, SecurityProtocol};
use flumen_types::Millis;

use super::running::*;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;

type Change<'a> = (&'a str, i8, &'a str);

async fn alter(client: &mut Client, of: (i8, &str), changes: &[Change<'_>]) -> (ErrorCode, String) {
    let configs = changes.iter().map(|(name, config_operation, value)| {
        message!(AlterableConfig {
            name: (*name).into(),
            config_operation: *config_operation,
            value: (*config_operation != DELETE).then(|| (*value).into()),
        })
    });
    let resource = message!(AlterConfigsResource {
        resource_type: of.0,
        resource_name: of.1.into(),
        configs: configs.collect(),
    });
    let request = message!(IncrementalAlterConfigsRequest { resources: vec![resource] });
    let answer = client.ask(&request, 1).await.responses.remove(0);
    (answer.error_code.into(), answer.error_message.map(|words| words.to_string()).unwrap_or_default())
}

async fn describe(client: &mut Client, of: (i8, &str)) -> Vec<DescribeConfigsResourceResult> {
    let resource = message!(DescribeConfigsResource {
        resource_type: of.0,
        resource_name: of.1.into(),
        configuration_keys: None,
    });
    let request = message!(DescribeConfigsRequest { resources: vec![resource], include_synonyms: true });
    let result = client.ask(&request, 4).await.results.remove(0);
    assert_eq!(ErrorCode::from(result.error_code), ErrorCode::None, "{:?}", result.error_message);
    result.configs
}

/// A setting's value, and every place that says one, by its number.
async fn setting(client: &mut Client, of: (i8, &str), name: &str) -> (String, Vec<(String, i8)>) {
    let settings = describe(client, of).await;
    let setting = settings.iter().find(|setting| &*setting.name == name).expect(name);
    let text = |value: &Option<StrBytes>| value.as_ref().expect("a value").to_string();
    let synonyms = setting.synonyms.iter().map(|synonym| (text(&synonym.value), synonym.source));
    (text(&setting.value), synonyms.collect())
}

fn told(value: &str, synonyms: &[(&str, i8)]) -> (String, Vec<(String, i8)>) {
    (value.into(), synonyms.iter().map(|(value, source)| ((*value).into(), *source)).collect())
}

#[tokio::test]
async fn a_brokers_setting_holds_at_once_and_after_a_restart_and_goes_back() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let (key, one, all) = ("message.max.bytes", (BROKER, "1"), (BROKER, ""));
    let large = || batch(&["x".repeat(200).as_str()]);
    assert_eq!(client.produce("t", 0, large()).await.error_code, 0);
    assert_eq!(alter(&mut client, all, &[(key, SET, "100")]).await.0, ErrorCode::None);
    let refused = client.produce("t", 0, large()).await.error_code;
    assert_eq!(ErrorCode::from(refused), ErrorCode::MessageTooLarge, "a topic that is there obeys it");
    assert_eq!(alter(&mut client, one, &[(key, SET, "150")]).await.0, ErrorCode::None);
    let expected = told("150", &[("150", 2), ("100", 3), ("1048588", 5)]);

    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(setting(&mut client, one, key).await, expected);
    assert_eq!(setting(&mut client, all, key).await, told("100", &[("100", 3)]));
    let of_topic = setting(&mut client, (TOPIC, "t"), "max.message.bytes").await;
    assert_eq!(of_topic, expected, "and so does its topic tell it");
    let refused = client.produce("t", 0, large()).await.error_code;
    assert_eq!(ErrorCode::from(refused), ErrorCode::MessageTooLarge);

    let nothing = message!(whole::AlterConfigsResource { resource_type: BROKER, resource_name: "1".into() });
    let answer = client.ask(&message!(AlterConfigsRequest { resources: vec![nothing] }), 2).await;
    assert_eq!(answer.responses[0].error_code, 0);
    assert_eq!(setting(&mut client, one, key).await.0, "100", "what holds for all");
    assert_eq!(alter(&mut client, all, &[(key, DELETE, "")]).await.0, ErrorCode::None);
    assert_eq!(setting(&mut client, one, key).await, told("1048588", &[("1048588", 5)]));
    assert_eq!(client.produce("t", 0, large()).await.error_code, 0);
    running.stop().await;
}

#[tokio::test]
async fn more_connections_are_let_in_as_soon_as_they_may_be() {
    let running = Running::start().await;
    let mut first = running.client().await;
    let limit = |most| [("max.connections", SET, most)];
    assert_eq!(alter(&mut first, (BROKER, "1"), &limit("1")).await.0, ErrorCode::None);
    let mut second = running.client().await;
    second.send(&MetadataRequest::default(), 9).await;
    assert_eq!(alter(&mut first, (BROKER, "1"), &limit("2")).await.0, ErrorCode::None);
    assert!(second.frame().await.is_some());
}

#[tokio::test]
async fn what_a_broker_does_not_change_or_cannot_be_is_refused_and_changes_nothing() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[("min.compaction.lag.ms", "100000")]).await;
    for (of, key, value, words) in [
        ("1", "num.partitions", "3", "dynamically"),
        ("1", "no.such.key", "3", "dynamically"),
        ("1", "log.retention.ms", "soon", "log.retention.ms"),
        ("", "max.connections", "0", "from 1"),
        ("1", "log.cleaner.threads", "4", "more than twice"),
        ("1", "log.cleaner.max.compaction.lag.ms", "1000", "\"t\""),
        ("7", "max.connections", "5", "no broker 7"),
    ] {
        let good = ("log.retention.bytes", SET, "1000");
        let (error, said) = alter(&mut client, (BROKER, of), &[good, (key, SET, value)]).await;
        assert_eq!(error, ErrorCode::InvalidRequest, "{key}: {said}");
        assert!(said.contains(words), "{key}: {said}");
    }
    assert_eq!(setting(&mut client, (BROKER, "1"), "log.retention.bytes").await.0, "-1");
    let read_only = |settings: &[DescribeConfigsResourceResult], name: &str| {
        settings.iter().find(|setting| &*setting.name == name).expect(name).read_only
    };
    let settings = describe(&mut client, (BROKER, "1")).await;
    assert!(read_only(&settings, "num.partitions") && !read_only(&settings, "log.retention.bytes"));
}

#[tokio::test]
async fn what_the_configuration_declares_wins_and_is_changed_there() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let set = [("log.retention.ms", SET, "5000")];
    assert_eq!(alter(&mut client, (BROKER, "1"), &set).await.0, ErrorCode::None);
    let declare = |options: &mut flumen_server::Options| {
        options.broker_configs.insert("log.retention.ms".into(), "86400000".into());
        options.declared.broker.insert("log.retention.ms".into(), "flumen.toml:4".into());
    };
    let running = Running::over_as(running.stop().await, SecurityProtocol::Plaintext, declare).await;
    let mut client = running.client().await;
    let expected = told("86400000", &[("86400000", 4), ("604800000", 5)]);
    assert_eq!(setting(&mut client, (BROKER, "1"), "log.retention.ms").await, expected);
    for changes in [set, [("log.retention.ms", DELETE, "")]] {
        let (error, said) = alter(&mut client, (BROKER, "1"), &changes).await;
        assert_eq!(error, ErrorCode::PolicyViolation);
        assert!(said.contains("flumen.toml:4"), "{said}");
    }

    client.create("t", 1, &[("retention.ms", "7000")]).await;
    let keys = [("retention.ms".to_string(), "flumen.toml:8".to_string())].into();
    let topic = DeclaredTopic { place: "flumen.toml:7".into(), keys };
    let declared = DeclaredConfigs { topics: [("t".into(), topic)].into(), ..DeclaredConfigs::default() };
    running.broker.declare_configs(declared);
    for (change, place) in [
        (("retention.ms", SET, "1"), "flumen.toml:8"),
        (("retention.ms", DELETE, ""), "flumen.toml:8"),
        (("segment.ms", SET, "1"), "flumen.toml:7"),
    ] {
        let (error, said) = alter(&mut client, (TOPIC, "t"), &[change]).await;
        assert_eq!(error, ErrorCode::PolicyViolation);
        assert!(said.contains(place), "{said}");
    }
    let same = alter(&mut client, (TOPIC, "t"), &[("retention.ms", SET, "7000")]).await;
    assert_eq!(same.0, ErrorCode::None, "it is so already");
}

#[tokio::test]
async fn a_group_obeys_what_it_has_set() {
    let running = Running::start().await;
    let mut client = running.client().await;
    client.create("t", 1, &[]).await;
    let beat = |group: &str| {
        message!(ConsumerGroupHeartbeatRequest {
            group_id: group.into(),
            member_id: "m".into(),
            member_epoch: 0,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: 5000,
            subscribed_topic_names: Some(vec!["t".into()]),
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: Some(vec![]),
        })
    };
    let set =
        [("consumer.heartbeat.interval.ms", SET, "7000"), ("consumer.session.timeout.ms", SET, "50000")];
    assert_eq!(alter(&mut client, (GROUP, "own"), &set).await.0, ErrorCode::None);
    let too_short = [("consumer.session.timeout.ms", SET, "1000")];
    let (error, said) = alter(&mut client, (GROUP, "own"), &too_short).await;
    assert_eq!(error, ErrorCode::InvalidConfig);
    assert!(said.contains("45000 to 60000"), "{said}");

    let running = running.restart().await;
    let mut client = running.client().await;
    for (group, interval) in [("own", 7000), ("other", 5000)] {
        let answer = client.ask(&beat(group), 1).await;
        assert_eq!((answer.error_code, answer.heartbeat_interval_ms), (0, interval), "{group}");
    }
    let session = setting(&mut client, (GROUP, "own"), "consumer.session.timeout.ms").await;
    assert_eq!(session, told("50000", &[("50000", 8), ("45000", 5)]));
}

#[tokio::test]
async fn what_clients_are_asked_to_tell_is_kept_listed_and_described() {
    let running = Running::start().await;
    let mut client = running.client().await;
    let of = (CLIENT_METRICS, "slow-producers");
    let set = [
        ("interval.ms", SET, "1000"),
        ("metrics", SET, "org.apache.kafka.producer."),
        ("match", SET, "client_id=slow-.*"),
    ];
    assert_eq!(alter(&mut client, of, &set).await.0, ErrorCode::None);
    for (name, key, value, error) in [
        ("slow-producers", "interval.ms", "1", ErrorCode::InvalidRequest),
        ("slow-producers", "match", "client=a", ErrorCode::InvalidConfig),
        ("slow-producers", "other", "1", ErrorCode::InvalidRequest),
        ("", "interval.ms", "1000", ErrorCode::InvalidRequest),
    ] {
        let refused = alter(&mut client, (CLIENT_METRICS, name), &[(key, SET, value)]).await;
        assert_eq!(refused.0, error, "{}", refused.1);
    }

    let running = running.restart().await;
    let mut client = running.client().await;
    assert_eq!(setting(&mut client, of, "interval.ms").await, told("1000", &[("1000", 7)]));
    let list = message!(ListConfigResourcesRequest { resource_types: vec![] });
    let listed = client.ask(&list, 0).await.config_resources;
    assert_eq!(listed.iter().map(|one| &*one.resource_name).collect::<Vec<_>>(), ["slow-producers"]);
    let subscriptions = running.broker.client_metrics().subscriptions();
    let [subscription] = subscriptions.as_slice() else { panic!("{subscriptions:?}") };
    assert_eq!(subscription.interval, Millis(1000));
    let is_for = |id| subscription.matches(|about| if about == ClientTrait::ClientId { id } else { "" });
    assert!(is_for("slow-1") && !is_for("fast-1"));

    let clear = set.map(|(key, _, _)| (key, DELETE, ""));
    assert_eq!(alter(&mut client, of, &clear).await.0, ErrorCode::None);
    assert!(client.ask(&list, 0).await.config_resources.is_empty());
    assert!(running.broker.client_metrics().subscriptions().is_empty());
}
