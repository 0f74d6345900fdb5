//! The topics as groups see them, made again only after a topic has changed.

use std::sync::{Arc, Mutex, PoisonError};

use flumen_groups::consumer::TopicImage;

use crate::topics::Topics;

pub(crate) struct TopicImages {
    topics: Arc<Topics>,
    latest: Mutex<Arc<TopicImage>>,
}

impl TopicImages {
    pub(crate) fn new(topics: Arc<Topics>) -> Self {
        let latest = Mutex::new(Arc::new(topics.image()));
        TopicImages { topics, latest }
    }

    pub(crate) fn latest(&self) -> Arc<TopicImage> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.version() != self.topics.version() {
            *latest = Arc::new(self.topics.image());
        }
        latest.clone()
    }
}
