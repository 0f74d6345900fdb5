//! What the store knows of a partition before its folder is opened.

use flumen_log::config::TopicConfig;
use flumen_types::{Offset, TopicId, TopicPartition};

#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) tp: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) config: TopicConfig,
    /// The last stop wrote everything.
    pub(crate) clean: bool,
    /// Everything below was synced; `None`: nothing is known to be.
    pub(crate) recovery_point: Option<Offset>,
    /// Trimmed up to here.
    pub(crate) start: Option<Offset>,
    pub(crate) cleaned_upto: Option<Offset>,
    /// Sync what a recovery finds; else the caller syncs the whole file system.
    pub(crate) sync: bool,
}

impl Known {
    /// A new one.
    pub(crate) fn new(tp: TopicPartition, topic_id: TopicId, config: TopicConfig) -> Known {
        Known {
            tp,
            topic_id,
            config,
            clean: false,
            recovery_point: None,
            start: None,
            cleaned_upto: None,
            sync: false,
        }
    }
}
