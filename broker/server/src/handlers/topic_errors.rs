//! Which of Kafka's codes says that a topic cannot be made or changed.

use flumen_protocol::ErrorCode;

use crate::topics::TopicError;

pub(crate) fn code(error: &TopicError) -> ErrorCode {
    use flumen_store::TopicError as Store;
    match error {
        TopicError::Collides { .. } | TopicError::Internal(_) => ErrorCode::InvalidTopicException,
        TopicError::Stopping => ErrorCode::BrokerNotAvailable,
        TopicError::Store(error) => match error {
            Store::Exists(_) => ErrorCode::TopicAlreadyExists,
            Store::Unknown(_) => ErrorCode::UnknownTopicOrPartition,
            Store::BadName(_) => ErrorCode::InvalidTopicException,
            Store::Partitions { .. } => ErrorCode::InvalidPartitions,
            Store::Config { .. } => ErrorCode::InvalidConfig,
            Store::Closed => ErrorCode::BrokerNotAvailable,
            Store::File(error) => {
                tracing::error!(error = error as &dyn std::error::Error, "a topic could not be changed");
                ErrorCode::KafkaStorageError
            }
        },
    }
}
