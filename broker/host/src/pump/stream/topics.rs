//! Which topics the inputs' names stand for.
//!
//! Invariant: positions are those of the topics that had the names when the session began. One that is
//! deleted and made again under its name has offsets of its own; a session does not outlive that.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::io::{IoError, Log};

pub(super) struct Topics {
    log: Arc<dyn Log>,
    ids: BTreeMap<String, String>,
}

impl Topics {
    pub(super) async fn identify(log: Arc<dyn Log>, names: &[String]) -> Result<Topics, IoError> {
        let mut ids = BTreeMap::new();
        for name in names {
            ids.insert(name.clone(), log.topic_id(name).await?);
        }
        Ok(Topics { log, ids })
    }

    /// Empty for a topic that is no input.
    pub(super) fn id(&self, name: &str) -> String {
        self.ids.get(name).cloned().unwrap_or_default()
    }

    pub(super) async fn is_same(&self, name: &str) -> Result<bool, IoError> {
        Ok(self.log.topic_id(name).await? == self.id(name))
    }

    pub(super) async fn are_same(&self) -> Result<bool, IoError> {
        for name in self.ids.keys() {
            if !self.is_same(name).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
