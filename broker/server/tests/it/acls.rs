//! Rules: who may do what, over a socket, with Kafka's codes; and the rules themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flumen_auth::{Acl, Operation, Pattern, Permission, Principal, ResourceType};
use flumen_protocol::api::TABLE;
use flumen_protocol::messages::create_acls_request::AclCreation;
use flumen_protocol::messages::delete_acls_request::DeleteAclsFilter;
use flumen_protocol::messages::describe_configs_request::DescribeConfigsResource;
use flumen_protocol::messages::metadata_request::MetadataRequestTopic;
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};
use flumen_server::{DeclaredAcl, Options, SecurityProtocol};

use crate::running::{Client, Running, batch, fetch, produce};
use crate::sasl::{client_of, start, users};

const ANY: i8 = 1;

fn allow(principal: &str, operation: Operation, resource: ResourceType, name: &str) -> AclCreation {
    message!(AclCreation {
        resource_type: resource as i8,
        resource_name: name.into(),
        resource_pattern_type: Pattern::Literal as i8,
        principal: principal.into(),
        host: "*".into(),
        operation: operation as i8,
        permission_type: Permission::Allow as i8,
    })
}

/// An authorizer, alice its super user, and bob with no more than rules give him.
pub(crate) fn guarded(options: &mut Options) {
    users(options);
    options.security.authorizer = true;
    options.security.super_users = vec![Principal::user("alice")];
}

impl Client {
    async fn create_acls(&mut self, creations: Vec<AclCreation>) -> Vec<ErrorCode> {
        let answer = self.ask(&message!(CreateAclsRequest { creations }), 3).await;
        answer.results.iter().map(|result| result.error_code.into()).collect()
    }

    pub(crate) async fn allow(&mut self, operation: Operation, resource: ResourceType, name: &str) {
        let made = self.create_acls(vec![allow("User:bob", operation, resource, name)]).await;
        assert_eq!(made, [ErrorCode::None]);
    }

    async fn describe_acls(&mut self) -> DescribeAclsResponse {
        let request = message!(DescribeAclsRequest {
            resource_name_filter: None,
            principal_filter: None,
            host_filter: None,
            resource_type_filter: ANY,
            pattern_type_filter: ANY,
            operation: ANY,
            permission_type: ANY,
        });
        self.ask(&request, 3).await
    }

    async fn metadata(&mut self, topic: &str, make: bool) -> (ErrorCode, i32) {
        let topic = message!(MetadataRequestTopic { name: Some(topic.into()) });
        let request = message!(MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: make,
            include_topic_authorized_operations: true,
        });
        let topic = self.ask(&request, 9).await.topics.remove(0);
        (topic.error_code.into(), topic.topic_authorized_operations)
    }

    async fn topics(&mut self) -> Vec<String> {
        let all = self.ask(&message!(MetadataRequest { topics: None }), 9).await.topics;
        all.into_iter().map(|topic| topic.name.unwrap().to_string()).collect()
    }

    async fn produced(&mut self, topic: &str) -> ErrorCode {
        let answer = self.ask(&produce(topic, 0, batch(&["v"])), 9).await;
        answer.responses[0].partition_responses[0].error_code.into()
    }

    async fn fetched(&mut self, topic: &str) -> ErrorCode {
        let answer = self.ask(&fetch(topic, 0, 0), 11).await;
        answer.responses[0].partitions[0].error_code.into()
    }
}

fn bits(operations: &[Operation]) -> i32 {
    operations.iter().fold(0, |bits, operation| bits | 1 << *operation as i32)
}

#[tokio::test]
async fn a_topic_is_unseen_until_a_rule_shows_it() {
    use Operation::*;
    let running = start(guarded).await;
    let (mut alice, mut bob) = (client_of(&running, "alice").await, client_of(&running, "bob").await);
    alice.create("t", 1, &[]).await;
    alice.create("other", 1, &[]).await;
    let refused = ErrorCode::TopicAuthorizationFailed;
    assert_eq!(bob.topics().await, [] as [String; 0], "filtered without a word");
    assert_eq!(bob.metadata("t", false).await, (refused, i32::MIN));
    assert_eq!(bob.metadata("nowhere", true).await.0, refused, "as if it were there");
    assert_eq!((bob.produced("t").await, bob.fetched("t").await), (refused, refused));

    alice.allow(Write, ResourceType::Topic, "t").await;
    assert_eq!(bob.topics().await, ["t"], "who may write may describe");
    assert_eq!(bob.metadata("t", false).await, (ErrorCode::None, bits(&[Write, Describe])));
    assert_eq!((bob.produced("t").await, bob.fetched("t").await), (ErrorCode::None, refused));
    alice.allow(Read, ResourceType::Topic, "t").await;
    assert_eq!(bob.fetched("t").await, ErrorCode::None);
    assert_eq!(bob.metadata("t", false).await.1, bits(&[Read, Write, Describe]));

    alice.allow(Describe, ResourceType::Topic, "new").await;
    assert_eq!(bob.metadata("new", true).await.0, refused, "may look, may not make");
    alice.allow(Create, ResourceType::Topic, "new").await;
    assert_eq!(bob.metadata("new", true).await.0, ErrorCode::None);
    running.stop().await;
}

#[tokio::test]
async fn every_refusal_has_kafkas_code() {
    let running = start(guarded).await;
    let (mut alice, mut bob) = (client_of(&running, "alice").await, client_of(&running, "bob").await);
    alice.create("t", 1, &[]).await;
    let mut group = message!(JoinGroupRequest { group_id: "g".into(), protocol_type: "consumer".into() });
    group.session_timeout_ms = 10_000;
    let of_group = [
        bob.ask(&group, 5).await.error_code,
        bob.ask(&message!(HeartbeatRequest { group_id: "g".into() }), 3).await.error_code,
        bob.ask(&message!(SyncGroupRequest { group_id: "g".into() }), 3).await.error_code,
        bob.ask(&message!(LeaveGroupRequest { group_id: "g".into() }), 3).await.error_code,
        bob.ask(&message!(OffsetDeleteRequest { group_id: "g".into() }), 0).await.error_code,
        bob.ask(&message!(OffsetFetchRequest { group_id: "g".into() }), 5).await.error_code,
        bob.ask(&message!(FindCoordinatorRequest { key: "g".into() }), 2).await.error_code,
        bob.ask(&message!(DeleteGroupsRequest { groups_names: vec!["g".into()] }), 1).await.results[0]
            .error_code,
        bob.ask(&message!(DescribeGroupsRequest { groups: vec!["g".into()] }), 5).await.groups[0].error_code,
    ];
    assert_eq!(of_group.map(ErrorCode::from), [ErrorCode::GroupAuthorizationFailed; 9]);

    let id = || StrBytes::from("tx");
    let of_transaction = [
        bob.ask(&message!(InitProducerIdRequest { transactional_id: Some(id()) }), 4).await.error_code,
        bob.ask(&message!(EndTxnRequest { transactional_id: id() }), 3).await.error_code,
        bob.ask(&message!(AddOffsetsToTxnRequest { transactional_id: id() }), 3).await.error_code,
        bob.ask(&message!(FindCoordinatorRequest { key: id(), key_type: 1 }), 2).await.error_code,
        bob.ask(&message!(DescribeTransactionsRequest { transactional_ids: vec![id()] }), 0)
            .await
            .transaction_states[0]
            .error_code,
    ];
    assert_eq!(of_transaction.map(ErrorCode::from), [ErrorCode::TransactionalIdAuthorizationFailed; 5]);

    let configs = |resource_type, name: &str| {
        let resource = message!(DescribeConfigsResource { resource_type, resource_name: name.into() });
        message!(DescribeConfigsRequest { resources: vec![resource] })
    };
    let of_topic = [
        bob.ask(&configs(2, "t"), 2).await.results[0].error_code,
        bob.ask(&message!(DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 5000 }), 4)
            .await
            .responses[0]
            .error_code,
        bob.ask(&list_offsets("t"), 5).await.topics[0].partitions[0].error_code,
    ];
    assert_eq!(of_topic.map(ErrorCode::from), [ErrorCode::TopicAuthorizationFailed; 3]);

    let of_cluster = [
        bob.ask(&configs(4, "1"), 2).await.results[0].error_code,
        bob.ask(&message!(InitProducerIdRequest { transactional_id: None }), 4).await.error_code,
        bob.describe_acls().await.error_code,
        bob.ask(&DescribeUserScramCredentialsRequest::default(), 0).await.error_code,
        bob.create_acls(vec![allow("User:bob", Operation::All, ResourceType::Topic, "*")]).await[0].code(),
    ];
    assert_eq!(of_cluster.map(ErrorCode::from), [ErrorCode::ClusterAuthorizationFailed; 5]);
    assert_eq!(bob.ask(&ListGroupsRequest::default(), 4).await.error_code, 0, "and nothing in it");

    // An idempotent producer needs a topic that it may write to, whichever.
    alice.allow(Operation::Write, ResourceType::Topic, "anything").await;
    assert_eq!(bob.ask(&message!(InitProducerIdRequest { transactional_id: None }), 4).await.error_code, 0);
    running.stop().await;
}

/// Kafka looks an expression up with the rights of whose heartbeat has it looked up.
#[tokio::test]
async fn a_subscription_by_expression_shows_no_topic_that_rules_hide() {
    let running = start(guarded).await;
    let (mut alice, mut bob) = (client_of(&running, "alice").await, client_of(&running, "bob").await);
    for topic in ["orders-eu", "orders-us", "returns"] {
        alice.create(topic, 2, &[]).await;
    }
    let join = |group: &str| {
        message!(ConsumerGroupHeartbeatRequest {
            group_id: group.into(),
            member_id: "m".into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_regex: Some("orders-.*".into()),
            topic_partitions: Some(vec![]),
        })
    };
    let topics = |answer: ConsumerGroupHeartbeatResponse| {
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
        let told = answer.assignment.map(|assignment| assignment.topic_partitions).unwrap_or_default();
        let mut names: Vec<_> = ["orders-eu", "orders-us", "returns"]
            .into_iter()
            .filter(|name| {
                let id = wire_id(running.broker.topic(name).unwrap().id());
                told.iter().any(|topic| topic.topic_id == id)
            })
            .collect();
        names.sort_unstable();
        names
    };
    let refused = bob.ask(&join("bobs"), 1).await.error_code;
    assert_eq!(ErrorCode::from(refused), ErrorCode::GroupAuthorizationFailed);
    alice.allow(Operation::Read, ResourceType::Group, "bobs").await;
    assert_eq!(topics(bob.ask(&join("bobs"), 1).await), [] as [&str; 0], "and no error");
    assert_eq!(topics(alice.ask(&join("alices"), 1).await), ["orders-eu", "orders-us"]);

    alice.allow(Operation::Read, ResourceType::Group, "more").await;
    alice.allow(Operation::Read, ResourceType::Topic, "orders-eu").await;
    assert_eq!(topics(bob.ask(&join("more"), 1).await), ["orders-eu"], "who may read may describe");
    // By its name it would be an error.
    let mut named = join("more");
    named.subscribed_topic_names = Some(vec!["orders-us".into()]);
    let refused = bob.ask(&named, 1).await.error_code;
    assert_eq!(ErrorCode::from(refused), ErrorCode::TopicAuthorizationFailed);
    running.stop().await;
}

fn list_offsets(name: &str) -> ListOffsetsRequest {
    use flumen_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let topic = message!(ListOffsetsTopic {
        name: name.into(),
        partitions: vec![message!(ListOffsetsPartition { timestamp: -1, current_leader_epoch: -1 })],
    });
    message!(ListOffsetsRequest { replica_id: -1, topics: vec![topic] })
}

#[tokio::test]
async fn rules_are_made_told_kept_and_deleted_in_every_version() {
    let running = start(guarded).await;
    let mut alice = client_of(&running, "alice").await;
    for version in 1..=3 {
        let wanted = vec![
            allow("User:bob", Operation::Read, ResourceType::Topic, &format!("t{version}")),
            allow("bob", Operation::Read, ResourceType::Topic, "t"),
            allow("User:bob", Operation::Read, ResourceType::Cluster, "t"),
            message!(AclCreation { resource_type: 9 }),
        ];
        let answer = alice.ask(&message!(CreateAclsRequest { creations: wanted }), version).await;
        let codes: Vec<_> = answer.results.iter().map(|result| ErrorCode::from(result.error_code)).collect();
        let invalid = ErrorCode::InvalidRequest;
        assert_eq!(codes, [ErrorCode::None, invalid, invalid, invalid], "{version}");
    }
    let dir = running.stop().await;
    let running = Running::over_as(dir, SecurityProtocol::SaslPlaintext, guarded).await;
    let mut alice = client_of(&running, "alice").await;
    let told = alice.describe_acls().await;
    let names: Vec<_> = told.resources.iter().map(|resource| resource.resource_name.to_string()).collect();
    assert_eq!(names, ["t1", "t2", "t3"], "after a restart");
    assert_eq!(&*told.resources[0].acls[0].principal, "User:bob");
    for version in 1..=3 {
        let filter = message!(DeleteAclsFilter {
            resource_type_filter: ResourceType::Topic as i8,
            resource_name_filter: Some(format!("t{version}").into()),
            principal_filter: None,
            host_filter: None,
            pattern_type_filter: Pattern::Literal as i8,
            operation: ANY,
            permission_type: ANY,
        });
        let unknown = message!(DeleteAclsFilter { resource_type_filter: 77 });
        let answer =
            alice.ask(&message!(DeleteAclsRequest { filters: vec![filter, unknown] }), version).await;
        assert_eq!(answer.filter_results[0].matching_acls.len(), 1, "{version}");
        assert_eq!(ErrorCode::from(answer.filter_results[1].error_code), ErrorCode::InvalidRequest);
    }
    assert!(alice.describe_acls().await.resources.is_empty());
    running.stop().await;
}

#[tokio::test]
async fn what_the_configuration_declares_no_request_takes_away() {
    let acl = Acl {
        resource: ResourceType::Topic,
        pattern: Pattern::Prefixed,
        name: "orders".into(),
        principal: "User:bob".into(),
        host: "*".into(),
        operation: Operation::Read,
        permission: Permission::Allow,
    };
    let declared = DeclaredAcl { acl, place: "flumen.toml:31".into() };
    let running = start(|options| {
        guarded(options);
        options.security.acls = vec![declared];
    })
    .await;
    let (mut alice, mut bob) = (client_of(&running, "alice").await, client_of(&running, "bob").await);
    alice.create("orders-eu", 1, &[]).await;
    assert_eq!(bob.fetched("orders-eu").await, ErrorCode::None);
    let filter = message!(DeleteAclsFilter {
        resource_name_filter: None,
        principal_filter: None,
        host_filter: None,
        resource_type_filter: ANY,
        pattern_type_filter: ANY,
        operation: ANY,
        permission_type: ANY,
    });
    let answer = alice.ask(&message!(DeleteAclsRequest { filters: vec![filter] }), 3).await;
    let kept = &answer.filter_results[0].matching_acls[0];
    assert_eq!(ErrorCode::from(kept.error_code), ErrorCode::PolicyViolation);
    assert!(kept.error_message.as_deref().unwrap().contains("flumen.toml:31"));
    assert_eq!(bob.fetched("orders-eu").await, ErrorCode::None);
    // What is declared anew holds at once, for sessions that are open too.
    running.broker.security().declare(Vec::new(), Vec::new(), Vec::new()).await;
    assert_eq!(bob.fetched("orders-eu").await, ErrorCode::TopicAuthorizationFailed);
    running.stop().await;
}

#[tokio::test]
async fn without_an_authorizer_there_are_no_rules_and_everybody_may() {
    let running = start(|_| {}).await;
    let mut bob = client_of(&running, "bob").await;
    bob.create("t", 1, &[]).await;
    assert_eq!(bob.produced("t").await, ErrorCode::None);
    assert_eq!(
        bob.metadata("t", false).await.1,
        0b1101_1111_1000 & !(1 << 9),
        "all that there is for topics"
    );
    let disabled = ErrorCode::SecurityDisabled;
    assert_eq!(ErrorCode::from(bob.describe_acls().await.error_code), disabled);
    let made = bob.create_acls(vec![allow("User:bob", Operation::All, ResourceType::Topic, "*")]).await;
    assert_eq!(made, [disabled]);
    let filters = vec![DeleteAclsFilter::default()];
    let deleted = bob.ask(&message!(DeleteAclsRequest { filters }), 3).await;
    assert_eq!(ErrorCode::from(deleted.filter_results[0].error_code), disabled);
    running.stop().await;
}

/// The text of each file below a folder, by its path.
fn sources(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else {
            found.insert(path.clone(), std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

/// Read as text, so that a handler that is new and asks nobody is found before a stranger finds it.
#[test]
fn every_handler_asks_whether_its_sender_may() {
    /// What they answer is anybody's. Kafka has no rule for who may tell of themselves.
    const FREE: [&str; 5] = [
        "api_versions.rs",
        "sasl_handshake.rs",
        "sasl_authenticate.rs",
        "get_telemetry_subscriptions.rs",
        "push_telemetry.rs",
    ];
    /// The tokens' all refuse.
    const REFUSES: &str = "delegation_tokens::refusal(ctx";
    /// Who asks for several of them: where, the function, and how it is called.
    const FOR_OTHERS: [(&str, &str, &str); 3] = [
        ("share_acknowledgements.rs", "fn owner(", "share_acknowledgements::owner(ctx"),
        ("share_states.rs", "fn may(", "share_states::may(ctx"),
        ("config_resources.rs", "fn may(", "config_resources::may(ctx"),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/handlers");
    let sources = sources(&folder);
    for (file, function, _) in FOR_OTHERS {
        let (_, from) = sources[&folder.join(file)].split_once(function).unwrap();
        let body = from.split("\n}\n").next().unwrap();
        assert!(body.contains("ctx.may("), "{function} of {file} asks nobody");
    }
    let mut handlers = 0;
    for (path, text) in &sources {
        if !text.contains("pub(crate) async fn handle(") && !text.contains("pub(crate) fn append(") {
            continue;
        }
        handlers += 1;
        let asks = text.contains(".may(")
            || text.contains(REFUSES)
            || FOR_OTHERS.iter().any(|(.., call)| text.contains(call))
            || FREE.iter().any(|free| *path == folder.join(free));
        assert!(asks, "{} serves whoever asks", path.display());
    }
    // ListOffsets 0 has its own.
    assert_eq!(handlers, TABLE.len() + 1, "each API has a handler, which is known by its first line");
}
