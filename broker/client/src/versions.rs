//! The versions this client speaks, and those that a broker and it have in common.
//!
//! The newest ones here are the newest that add something this client uses: above Metadata 12, Fetch
//! 12 and Produce 12 a topic is named by its id, above OffsetFetch 7 a request asks for many groups, above
//! AddPartitionsToTxn 3 for many transactions.

use std::collections::BTreeMap;

use crate::wire::{self, RequestResponsePair};

/// A request that this client sends.
pub(crate) trait Api: RequestResponsePair {
    /// Its name in messages.
    const LABEL: &'static str;
    const NEWEST: i16;
}

macro_rules! apis {
    ($($request:ident = $label:literal up to $newest:literal,)*) => {$(
        impl Api for wire::$request {
            const LABEL: &'static str = $label;
            const NEWEST: i16 = $newest;
        }
    )*};
}

apis! {
    ApiVersionsRequest = "ApiVersions" up to 3,
    SaslHandshakeRequest = "SaslHandshake" up to 1,
    SaslAuthenticateRequest = "SaslAuthenticate" up to 2,
    MetadataRequest = "Metadata" up to 12,
    ProduceRequest = "Produce" up to 11,
    FetchRequest = "Fetch" up to 12,
    ListOffsetsRequest = "ListOffsets" up to 7,
    InitProducerIdRequest = "InitProducerId" up to 4,
    DeleteRecordsRequest = "DeleteRecords" up to 2,
    CreateTopicsRequest = "CreateTopics" up to 7,
    DeleteTopicsRequest = "DeleteTopics" up to 5,
    CreatePartitionsRequest = "CreatePartitions" up to 3,
    DescribeConfigsRequest = "DescribeConfigs" up to 4,
    IncrementalAlterConfigsRequest = "IncrementalAlterConfigs" up to 1,
    FindCoordinatorRequest = "FindCoordinator" up to 3,
    ListGroupsRequest = "ListGroups" up to 4,
    DescribeGroupsRequest = "DescribeGroups" up to 5,
    ConsumerGroupDescribeRequest = "ConsumerGroupDescribe" up to 1,
    DeleteGroupsRequest = "DeleteGroups" up to 2,
    OffsetFetchRequest = "OffsetFetch" up to 7,
    OffsetCommitRequest = "OffsetCommit" up to 8,
    JoinGroupRequest = "JoinGroup" up to 7,
    SyncGroupRequest = "SyncGroup" up to 5,
    HeartbeatRequest = "Heartbeat" up to 4,
    LeaveGroupRequest = "LeaveGroup" up to 4,
    AddPartitionsToTxnRequest = "AddPartitionsToTxn" up to 3,
    AddOffsetsToTxnRequest = "AddOffsetsToTxn" up to 3,
    TxnOffsetCommitRequest = "TxnOffsetCommit" up to 3,
    EndTxnRequest = "EndTxn" up to 3,
    DescribeProducersRequest = "DescribeProducers" up to 0,
    WriteTxnMarkersRequest = "WriteTxnMarkers" up to 1,
}

/// What a broker said it speaks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges(BTreeMap<i16, (i16, i16)>);

impl Ranges {
    pub(crate) fn new(response: &wire::ApiVersionsResponse) -> Ranges {
        Ranges(
            response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect(),
        )
    }

    /// The newest version that both know.
    pub(crate) fn best<R: Api>(&self) -> Option<i16> {
        let (least, most) = *self.0.get(&R::API_KEY.value())?;
        let oldest = least.max(R::SUPPORTED_VERSIONS.min().value());
        let newest = most.min(R::NEWEST);
        (oldest <= newest).then_some(newest)
    }

    /// For a message about versions that do not meet.
    pub(crate) fn theirs<R: Api>(&self) -> String {
        match self.0.get(&R::API_KEY.value()) {
            Some((least, most)) => format!("{least} to {most}"),
            None => "none".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(key: i16, least: i16, most: i16) -> Ranges {
        Ranges(BTreeMap::from([(key, (least, most))]))
    }

    fn best(least: i16, most: i16) -> Option<i16> {
        ranges(1, least, most).best::<wire::FetchRequest>()
    }

    #[test]
    fn the_newest_common_version_is_used() {
        assert_eq!(best(4, 18), Some(12));
        assert_eq!(best(0, 11), Some(11));
        assert_eq!(best(13, 18), None);
        assert_eq!(ranges(2, 0, 9).best::<wire::FetchRequest>(), None);
    }

    #[test]
    fn what_does_not_meet_is_named() {
        assert_eq!(ranges(1, 13, 18).theirs::<wire::FetchRequest>(), "13 to 18");
        assert_eq!(Ranges::default().theirs::<wire::FetchRequest>(), "none");
    }
}
