//! Consumer groups from outside: who is in them, what they have committed.

use std::collections::BTreeMap;

use flumen_types::{Offset, TopicPartition};

use crate::routing::Keeps;
use crate::subscription;
use crate::topics::{text, verdict};
use crate::wire::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::offset_fetch_request::OffsetFetchRequestTopic;
use crate::wire::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, ErrorCode, ListGroupsRequest,
    OffsetCommitRequest, OffsetFetchRequest, message,
};
use crate::{Client, Error, Result};

/// A group as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedGroup {
    pub id: String,
    /// `consumer` for Kafka's consumers; empty where offsets are committed without members.
    pub protocol: String,
    /// As the broker spells it: `Stable`, `Empty`, ...; empty if it is too old to say.
    pub state: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub id: String,
    pub state: String,
    /// What divides the partitions, such as `range`.
    pub assignor: String,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    /// Set for a static member.
    pub instance: Option<String>,
    pub client_id: String,
    pub host: String,
    pub partitions: Vec<TopicPartition>,
}

/// Who commits: nobody in particular, or a member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) member: String,
    pub(crate) generation: i32,
}

/// Nobody in particular.
impl Default for Identity {
    fn default() -> Identity {
        Identity { member: String::new(), generation: -1 }
    }
}

impl Client {
    /// Every group of every broker, by name.
    pub async fn groups(&self) -> Result<Vec<ListedGroup>> {
        let mut groups = Vec::new();
        for connection in self.all().await? {
            let response = connection.call(&ListGroupsRequest::default()).await?;
            verdict::<ListGroupsRequest>(&connection, "all groups", response.error_code, None)?;
            groups.extend(response.groups.into_iter().map(|group| ListedGroup {
                id: group.group_id.to_string(),
                protocol: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
            }));
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// A group's members. One that is not there is described as `Dead`, as Kafka does.
    pub async fn group(&self, id: &str) -> Result<Group> {
        let group = self.classic_group(id).await?;
        if group.state != "Dead" {
            return Ok(group);
        }
        // Those of the newer protocol (KIP-848) are dead to the older request.
        match self.consumer_group(id).await {
            Err(Error::Unsupported { .. } | Error::Refused { code: ErrorCode::GroupIdNotFound, .. }) => {
                Ok(group)
            }
            described => described,
        }
    }

    async fn consumer_group(&self, id: &str) -> Result<Group> {
        let request = message!(ConsumerGroupDescribeRequest { group_ids: vec![text(id)] });
        self.ask_coordinator(Keeps::Group, id, &request, |connection, response| {
            let group = response.groups.into_iter().next();
            let group = group.ok_or_else(|| connection.incomplete::<ConsumerGroupDescribeRequest>(id))?;
            let (code, words) = (group.error_code, group.error_message);
            verdict::<ConsumerGroupDescribeRequest>(connection, named(id), code, words)?;
            let members = group.members.into_iter().map(|member| {
                let topics = member.assignment.topic_partitions.iter();
                let partitions = topics.flat_map(|topic| {
                    topic.partitions.iter().map(|n| TopicPartition::new(&*topic.topic_name, *n))
                });
                Member {
                    id: member.member_id.to_string(),
                    instance: member.instance_id.map(|instance| instance.to_string()),
                    client_id: member.client_id.to_string(),
                    host: member.client_host.to_string(),
                    partitions: partitions.collect(),
                }
            });
            Ok(Group {
                id: id.to_string(),
                state: group.group_state.to_string(),
                assignor: group.assignor_name.to_string(),
                members: members.collect(),
            })
        })
        .await
    }

    async fn classic_group(&self, id: &str) -> Result<Group> {
        let request = message!(DescribeGroupsRequest { groups: vec![text(id)] });
        self.ask_coordinator(Keeps::Group, id, &request, |connection, response| {
            let group = response.groups.into_iter().next();
            let group = group.ok_or_else(|| connection.incomplete::<DescribeGroupsRequest>(id))?;
            verdict::<DescribeGroupsRequest>(connection, named(id), group.error_code, group.error_message)?;
            let members = group.members.into_iter().map(|member| Member {
                id: member.member_id.to_string(),
                instance: member.group_instance_id.map(|instance| instance.to_string()),
                client_id: member.client_id.to_string(),
                host: member.client_host.to_string(),
                // Another protocol's assignment is opaque; it shows as none.
                partitions: subscription::decode_assignment(member.member_assignment).unwrap_or_default(),
            });
            Ok(Group {
                id: id.to_string(),
                state: group.group_state.to_string(),
                assignor: group.protocol_data.to_string(),
                members: members.collect(),
            })
        })
        .await
    }

    pub async fn delete_group(&self, id: &str) -> Result<()> {
        let request = message!(DeleteGroupsRequest { groups_names: vec![text(id)] });
        self.ask_coordinator(Keeps::Group, id, &request, |connection, response| {
            let result = response.results.into_iter().next();
            let result = result.ok_or_else(|| connection.incomplete::<DeleteGroupsRequest>(id))?;
            verdict::<DeleteGroupsRequest>(connection, named(id), result.error_code, result.error_message)
        })
        .await
    }

    /// What a group has committed; everything, or only these partitions.
    pub async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, Offset>> {
        let topics = partitions.map(|partitions| {
            let by_topic = by_topic(partitions.iter().map(|partition| (partition, partition.partition.0)));
            let topics = by_topic.into_iter().map(|(name, indexes)| {
                message!(OffsetFetchRequestTopic { name: text(&name), partition_indexes: indexes })
            });
            topics.collect()
        });
        let request = message!(OffsetFetchRequest { group_id: text(group), topics: topics });
        self.ask_coordinator(Keeps::Group, group, &request, |connection, response| {
            verdict::<OffsetFetchRequest>(connection, named(group), response.error_code, None)?;
            let mut committed = BTreeMap::new();
            for topic in response.topics {
                for answer in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, answer.partition_index);
                    verdict::<OffsetFetchRequest>(
                        connection,
                        partition.to_string(),
                        answer.error_code,
                        None,
                    )?;
                    if answer.committed_offset >= 0 {
                        committed.insert(partition, Offset(answer.committed_offset));
                    }
                }
            }
            Ok(committed)
        })
        .await
    }

    /// Commits for a group without being a member; refused while it has members.
    pub async fn commit(&self, group: &str, offsets: &BTreeMap<TopicPartition, Offset>) -> Result<()> {
        self.commit_as(group, &Identity::default(), offsets).await
    }

    pub(crate) async fn commit_as(
        &self,
        group: &str,
        who: &Identity,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        let partitions = by_topic(offsets.iter().map(|(partition, offset)| {
            let commit = message!(OffsetCommitRequestPartition {
                partition_index: partition.partition.0,
                committed_offset: offset.0,
                committed_leader_epoch: -1,
                committed_metadata: Some(text("")),
            });
            (partition, commit)
        }));
        let topics = partitions.into_iter().map(|(name, partitions)| {
            message!(OffsetCommitRequestTopic { name: text(&name), partitions: partitions })
        });
        let request = message!(OffsetCommitRequest {
            group_id: text(group),
            generation_id_or_member_epoch: who.generation,
            member_id: text(&who.member),
            topics: topics.collect(),
        });
        self.ask_coordinator(Keeps::Group, group, &request, |connection, response| {
            for topic in response.topics {
                for answer in topic.partitions {
                    let subject = format!("{}-{} of {}", topic.name, answer.partition_index, named(group));
                    verdict::<OffsetCommitRequest>(connection, subject, answer.error_code, None)?;
                }
            }
            Ok(())
        })
        .await
    }
}

pub(crate) fn named(group: &str) -> String {
    format!("group \"{group}\"")
}

pub(crate) fn by_topic<'a, T>(
    partitions: impl Iterator<Item = (&'a TopicPartition, T)>,
) -> BTreeMap<String, Vec<T>> {
    let mut topics: BTreeMap<String, Vec<T>> = BTreeMap::new();
    for (partition, value) in partitions {
        topics.entry(partition.topic.to_string()).or_default().push(value);
    }
    topics
}
