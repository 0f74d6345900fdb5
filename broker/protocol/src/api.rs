//! The one table of the APIs that are spoken here, and of the versions of each.
//!
//! The broker serves exactly this and says so in ApiVersions; the client asks for nothing outside it.
//!
//! Invariants: a served version is one that the generated messages encode and decode, or one of the few
//! older ones that [`crate::old`] lays out by hand. A request is decoded only in a served version.
//!
//! All that is served is advertised. Older versions than Kafka 4's do not change what its clients choose:
//! they take the newest that both know, and look at a minimum only to find that there is none. A minimum
//! of Produce above 0, though, means to older librdkafka that compression is not supported (KAFKA-18659).

use std::fmt;

use bytes::Bytes;
use kafka_wire_core::{ApiVersion, DecodeError, Decoder, KafkaDecode};

use crate::limits::decode_limits;
use crate::messages::*;
use crate::old;

/// What is known of one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api {
    pub key: ApiKey,
    /// The oldest version that is answered.
    pub min: i16,
    /// The newest version that is answered.
    pub max: i16,
    /// The oldest version that the generated messages know; those below are [`crate::old`]'s.
    pub generated_from: i16,
    /// From this version on, headers and bodies carry tagged fields.
    pub flexible_from: i16,
}

impl Api {
    /// The row of a number, if it is served.
    pub fn find(key: i16) -> Option<&'static Api> {
        TABLE.iter().find(|api| api.key as i16 == key)
    }

    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_from
    }

    /// 1 if an answer's header has tagged fields. That of ApiVersions never has: whoever asks does not
    /// know yet what the broker speaks.
    pub fn response_header_version(&self, version: i16) -> i16 {
        i16::from(self.key != ApiKey::ApiVersions && self.is_flexible(version))
    }
}

macro_rules! apis {
    ($($name:ident = $key:literal, $request:ident, versions $min:literal to $max:literal $(, generated from $generated:literal)?;)*) => {
        /// The number of an API.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            pub fn name(self) -> &'static str {
                match self {
                    $(ApiKey::$name => stringify!($name),)*
                }
            }

            /// Its row in [`TABLE`].
            pub fn api(self) -> &'static Api {
                let mut at = 0;
                $(
                    if self == ApiKey::$name {
                        return &TABLE[at];
                    }
                    at += 1;
                )*
                unreachable!("row {at} of {} APIs", TABLE.len())
            }
        }

        /// Every API that is served, by number.
        pub const TABLE: &[Api] = &[$(Api {
            key: ApiKey::$name,
            min: $min,
            max: $max,
            generated_from: generated_from!($min $(, $generated)?),
            flexible_from: flexible_from::<$request>(),
        },)*];

        /// A request of any API.
        #[derive(Clone, Debug)]
        pub enum Request {
            $($name($request),)*
            /// ListOffsets 0.
            OffsetsBefore(old::OffsetsBeforeRequest),
        }

        impl Request {
            /// Reads a body that follows the request's header; the version must be a served one.
            ///
            /// Bytes behind it are left alone, as Kafka leaves them: librdkafka 2.x asks for all topics
            /// in Metadata 13 with three too many.
            pub fn decode(key: ApiKey, version: i16, body: Bytes) -> Result<Request, DecodeError> {
                let mut decoder = Decoder::new(body, decode_limits())?;
                if version < key.api().generated_from {
                    return old::decode(key, version, &mut decoder);
                }
                let version = ApiVersion::new(version);
                Ok(match key {
                    $(ApiKey::$name => Request::$name($request::decode(&mut decoder, version)?),)*
                })
            }
        }

        $(
            const _: () = assert!(
                <$request as KafkaMessage>::SUPPORTED_VERSIONS.min().value() <= generated_from!($min $(, $generated)?)
                    && $max <= <$request as KafkaMessage>::SUPPORTED_VERSIONS.max().value()
                    && $key == <$request as KafkaRequest>::API_KEY.value()
            );
        )*
    };
}

macro_rules! generated_from {
    ($min:literal) => {
        $min
    };
    ($min:literal, $generated:literal) => {
        $generated
    };
}

const fn flexible_from<R: KafkaMessage>() -> i16 {
    match R::FLEXIBLE_VERSIONS {
        Some(range) => range.min().value(),
        None => i16::MAX,
    }
}

apis! {
    Produce = 0, ProduceRequest, versions 0 to 13, generated from 3;
    Fetch = 1, FetchRequest, versions 0 to 18, generated from 4;
    ListOffsets = 2, ListOffsetsRequest, versions 0 to 11, generated from 1;
    Metadata = 3, MetadataRequest, versions 0 to 13;
    OffsetCommit = 8, OffsetCommitRequest, versions 0 to 10, generated from 2;
    OffsetFetch = 9, OffsetFetchRequest, versions 0 to 10, generated from 1;
    FindCoordinator = 10, FindCoordinatorRequest, versions 0 to 6;
    JoinGroup = 11, JoinGroupRequest, versions 0 to 9;
    Heartbeat = 12, HeartbeatRequest, versions 0 to 4;
    LeaveGroup = 13, LeaveGroupRequest, versions 0 to 5;
    SyncGroup = 14, SyncGroupRequest, versions 0 to 5;
    DescribeGroups = 15, DescribeGroupsRequest, versions 0 to 6;
    ListGroups = 16, ListGroupsRequest, versions 0 to 5;
    SaslHandshake = 17, SaslHandshakeRequest, versions 0 to 1;
    ApiVersions = 18, ApiVersionsRequest, versions 0 to 4;
    CreateTopics = 19, CreateTopicsRequest, versions 2 to 7;
    DeleteTopics = 20, DeleteTopicsRequest, versions 1 to 6;
    DeleteRecords = 21, DeleteRecordsRequest, versions 0 to 2;
    InitProducerId = 22, InitProducerIdRequest, versions 0 to 5;
    OffsetForLeaderEpoch = 23, OffsetForLeaderEpochRequest, versions 2 to 4;
    AddPartitionsToTxn = 24, AddPartitionsToTxnRequest, versions 0 to 5;
    AddOffsetsToTxn = 25, AddOffsetsToTxnRequest, versions 0 to 4;
    EndTxn = 26, EndTxnRequest, versions 0 to 5;
    WriteTxnMarkers = 27, WriteTxnMarkersRequest, versions 1 to 2;
    TxnOffsetCommit = 28, TxnOffsetCommitRequest, versions 0 to 5;
    DescribeAcls = 29, DescribeAclsRequest, versions 1 to 3;
    CreateAcls = 30, CreateAclsRequest, versions 1 to 3;
    DeleteAcls = 31, DeleteAclsRequest, versions 1 to 3;
    DescribeConfigs = 32, DescribeConfigsRequest, versions 1 to 4;
    AlterConfigs = 33, AlterConfigsRequest, versions 0 to 2;
    AlterReplicaLogDirs = 34, AlterReplicaLogDirsRequest, versions 1 to 2;
    DescribeLogDirs = 35, DescribeLogDirsRequest, versions 1 to 5;
    SaslAuthenticate = 36, SaslAuthenticateRequest, versions 0 to 2;
    CreatePartitions = 37, CreatePartitionsRequest, versions 0 to 3;
    CreateDelegationToken = 38, CreateDelegationTokenRequest, versions 1 to 3;
    RenewDelegationToken = 39, RenewDelegationTokenRequest, versions 1 to 2;
    ExpireDelegationToken = 40, ExpireDelegationTokenRequest, versions 1 to 2;
    DescribeDelegationToken = 41, DescribeDelegationTokenRequest, versions 1 to 3;
    DeleteGroups = 42, DeleteGroupsRequest, versions 0 to 2;
    ElectLeaders = 43, ElectLeadersRequest, versions 0 to 2;
    IncrementalAlterConfigs = 44, IncrementalAlterConfigsRequest, versions 0 to 1;
    AlterPartitionReassignments = 45, AlterPartitionReassignmentsRequest, versions 0 to 1;
    ListPartitionReassignments = 46, ListPartitionReassignmentsRequest, versions 0 to 0;
    OffsetDelete = 47, OffsetDeleteRequest, versions 0 to 0;
    DescribeClientQuotas = 48, DescribeClientQuotasRequest, versions 0 to 1;
    AlterClientQuotas = 49, AlterClientQuotasRequest, versions 0 to 1;
    DescribeUserScramCredentials = 50, DescribeUserScramCredentialsRequest, versions 0 to 0;
    AlterUserScramCredentials = 51, AlterUserScramCredentialsRequest, versions 0 to 0;
    DescribeQuorum = 55, DescribeQuorumRequest, versions 0 to 2;
    UpdateFeatures = 57, UpdateFeaturesRequest, versions 0 to 2;
    DescribeCluster = 60, DescribeClusterRequest, versions 0 to 2;
    DescribeProducers = 61, DescribeProducersRequest, versions 0 to 0;
    UnregisterBroker = 64, UnregisterBrokerRequest, versions 0 to 0;
    DescribeTransactions = 65, DescribeTransactionsRequest, versions 0 to 0;
    ListTransactions = 66, ListTransactionsRequest, versions 0 to 2;
    ConsumerGroupHeartbeat = 68, ConsumerGroupHeartbeatRequest, versions 0 to 1;
    ConsumerGroupDescribe = 69, ConsumerGroupDescribeRequest, versions 0 to 1;
    GetTelemetrySubscriptions = 71, GetTelemetrySubscriptionsRequest, versions 0 to 0;
    PushTelemetry = 72, PushTelemetryRequest, versions 0 to 0;
    ListConfigResources = 74, ListConfigResourcesRequest, versions 0 to 1;
    DescribeTopicPartitions = 75, DescribeTopicPartitionsRequest, versions 0 to 0;
    ShareGroupHeartbeat = 76, ShareGroupHeartbeatRequest, versions 1 to 1;
    ShareGroupDescribe = 77, ShareGroupDescribeRequest, versions 1 to 1;
    ShareFetch = 78, ShareFetchRequest, versions 1 to 2;
    ShareAcknowledge = 79, ShareAcknowledgeRequest, versions 1 to 2;
    AddRaftVoter = 80, AddRaftVoterRequest, versions 0 to 1;
    RemoveRaftVoter = 81, RemoveRaftVoterRequest, versions 0 to 0;
    InitializeShareGroupState = 83, InitializeShareGroupStateRequest, versions 0 to 0;
    ReadShareGroupState = 84, ReadShareGroupStateRequest, versions 0 to 0;
    WriteShareGroupState = 85, WriteShareGroupStateRequest, versions 0 to 1;
    DeleteShareGroupState = 86, DeleteShareGroupStateRequest, versions 0 to 0;
    ReadShareGroupStateSummary = 87, ReadShareGroupStateSummaryRequest, versions 0 to 1;
    StreamsGroupHeartbeat = 88, StreamsGroupHeartbeatRequest, versions 0 to 0;
    StreamsGroupDescribe = 89, StreamsGroupDescribeRequest, versions 0 to 0;
    DescribeShareGroupOffsets = 90, DescribeShareGroupOffsetsRequest, versions 0 to 1;
    AlterShareGroupOffsets = 91, AlterShareGroupOffsetsRequest, versions 0 to 0;
    DeleteShareGroupOffsets = 92, DeleteShareGroupOffsetsRequest, versions 0 to 0;
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_number() {
        for row in TABLE {
            assert_eq!(Api::find(row.key as i16), Some(row));
            assert_eq!(row.key.api(), row);
            assert!(row.min <= row.generated_from && row.generated_from <= row.max, "{}", row.key);
        }
        assert_eq!(Api::find(4), None);
    }

    #[test]
    fn what_is_older_than_the_generated_messages_is_read() {
        let older: Vec<_> =
            TABLE.iter().filter(|api| api.generated_from > api.min).map(|api| api.key).collect();
        let expected =
            [ApiKey::Produce, ApiKey::Fetch, ApiKey::ListOffsets, ApiKey::OffsetCommit, ApiKey::OffsetFetch];
        assert_eq!(older, expected);
        for key in older {
            for version in key.api().min..key.api().generated_from {
                assert!(Request::decode(key, version, Bytes::from(vec![0; 30])).is_ok(), "{key} {version}");
                assert!(Request::decode(key, version, Bytes::new()).is_err(), "{key} {version}");
            }
        }
    }

    #[test]
    fn api_versions_is_answered_with_an_old_header() {
        assert_eq!(ApiKey::ApiVersions.api().response_header_version(4), 0);
        assert_eq!(ApiKey::Metadata.api().response_header_version(8), 0);
        assert_eq!(ApiKey::Metadata.api().response_header_version(9), 1);
    }

    #[test]
    fn what_real_clients_hard_code_is_served() {
        let fixed = [
            (ApiKey::AddPartitionsToTxn, 0),
            (ApiKey::AddOffsetsToTxn, 0),
            (ApiKey::OffsetForLeaderEpoch, 2),
            (ApiKey::ConsumerGroupHeartbeat, 1),
            (ApiKey::ShareGroupHeartbeat, 1),
            (ApiKey::ShareFetch, 1),
            (ApiKey::ShareAcknowledge, 1),
            (ApiKey::Metadata, 0),
            (ApiKey::Metadata, 1),
            (ApiKey::ApiVersions, 0),
            (ApiKey::InitProducerId, 0),
            (ApiKey::Fetch, 11),
            (ApiKey::Produce, 7),
            (ApiKey::ListOffsets, 3),
            // pykafka
            (ApiKey::Produce, 0),
            (ApiKey::Fetch, 1),
            (ApiKey::ListOffsets, 0),
            (ApiKey::OffsetCommit, 1),
            // Java 0.10
            (ApiKey::Produce, 2),
            (ApiKey::Fetch, 3),
        ];
        for (key, version) in fixed {
            assert!(key.api().serves(version), "{key} {version}");
        }
    }

    #[test]
    fn bytes_behind_a_request_are_left_alone() {
        // As librdkafka 2.16 sends it for all topics.
        let body = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0]);
        let Ok(Request::Metadata(request)) = Request::decode(ApiKey::Metadata, 13, body) else {
            panic!("not read as Metadata");
        };
        assert_eq!(request.topics, None);
    }

    #[test]
    fn a_count_of_two_thousand_million_is_an_error() {
        // Metadata version 1: nothing but an array of names.
        let body = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
        assert!(Request::decode(ApiKey::Metadata, 1, body).is_err());
    }
}
