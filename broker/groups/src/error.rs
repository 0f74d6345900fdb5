//! Why a group or a transaction coordinator says no; each answers one of Kafka's error codes.

use thiserror::Error;

macro_rules! errors {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $code:literal, $text:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
        pub enum $name {
            $(#[error($text)] $variant,)*
        }

        impl $name {
            /// Kafka's number.
            pub fn code(self) -> i16 {
                match self {
                    $($name::$variant => $code,)*
                }
            }
        }
    };
}

errors! {
    /// Of a group.
    GroupError {
        OffsetMetadataTooLarge = 12, "the metadata beside the offset is longer than offset.metadata.max.bytes";
        CoordinatorNotAvailable = 15, "the group is being removed";
        IllegalGeneration = 22, "the group has gone on to another generation";
        InconsistentProtocol = 23, "the group uses another protocol";
        InvalidGroupId = 24, "a group's id may not be empty";
        UnknownMember = 25, "the group does not know this member";
        InvalidSessionTimeout = 26, "the session timeout lies outside of group.min.session.timeout.ms and group.max.session.timeout.ms";
        RebalanceInProgress = 27, "the group is rebalancing; join again";
        UnsupportedVersion = 35, "members of the consumer protocol commit with OffsetCommit 9 and later";
        InvalidRequest = 42, "the request contradicts itself";
        NonEmptyGroup = 68, "the group has members";
        GroupIdNotFound = 69, "there is no such group";
        MemberIdRequired = 79, "join again with the member id given";
        GroupMaxSizeReached = 81, "the group has group.max.size members";
        FencedInstance = 82, "another member has taken over this group.instance.id";
        SubscribedToTopic = 86, "the group consumes this topic";
        UnstableOffsetCommit = 88, "a transaction that is still open has committed an offset here";
        FencedMemberEpoch = 110, "the group knows another epoch of this member";
        UnreleasedInstance = 111, "another member still has this group.instance.id";
        UnsupportedAssignor = 112, "the assignor is not among group.consumer.assignors";
        StaleMemberEpoch = 113, "the member has gone on to another epoch";
        InvalidRegularExpression = 128, "the regular expression cannot be understood";
        StreamsInvalidTopology = 130, "the topology cannot work";
    }
}

errors! {
    /// Of a transaction.
    TxnError {
        InvalidProducerEpoch = 47, "a newer producer uses this transactional id";
        InvalidTxnState = 48, "the transaction is not in a state that allows this";
        InvalidProducerIdMapping = 49, "the producer id is not the one of this transactional id";
        InvalidTransactionTimeout = 50, "the timeout lies outside of 1 and transaction.max.timeout.ms";
        ConcurrentTransactions = 51, "the transaction before this one is still being ended";
        InvalidRequest = 42, "a transactional id may not be empty";
        ProducerFenced = 90, "a newer producer uses this transactional id";
        TransactionAbortable = 120, "the partition is not in the producer's open transaction";
        TransactionalIdNotFound = 105, "there is no such transactional id";
    }
}
