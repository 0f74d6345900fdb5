//! An error of an admin request: Kafka's code, and words for a person.

use flumen_protocol::ErrorCode;
use flumen_protocol::messages::StrBytes;
use flumen_store::FileError;

use crate::topics::TopicError;

#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    words: String,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, words: impl Into<String>) -> Refusal {
        Refusal { error, words: words.into() }
    }

    pub(crate) fn words(&self) -> Option<StrBytes> {
        (!self.words.is_empty()).then(|| self.words.as_str().into())
    }
}

impl From<TopicError> for Refusal {
    fn from(error: TopicError) -> Refusal {
        Refusal::new(super::topic_errors::code(&error), error.to_string())
    }
}

impl From<FileError> for Refusal {
    fn from(error: FileError) -> Refusal {
        tracing::error!(error = &error as &dyn std::error::Error, "settings cannot be written");
        Refusal::new(ErrorCode::KafkaStorageError, error.to_string())
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Refusal {
        Refusal::new(error, "")
    }
}
