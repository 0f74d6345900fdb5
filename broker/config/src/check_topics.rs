//! The topics of a file: their names among each other, and how many partitions they may have.

use std::collections::BTreeMap;

use flumen_types::PARTITIONS_MAX;

use crate::broker::Broker;
use crate::check::{Check, is_internal};
use crate::draft::Draft;

impl Check<'_, '_> {
    pub(crate) fn topics(&mut self, draft: &Draft) {
        if let Some(broker) = &draft.broker {
            self.default_partitions(broker);
        }
        for (name, topic) in &draft.topics {
            self.topic(name);
            if let Some(partitions) = topic.partitions {
                self.partitions(&format!("topics.{name}"), "partitions", partitions.get());
            }
        }
        self.collisions(draft);
    }

    fn topic(&mut self, name: &str) {
        let path = format!("topics.{name}");
        if is_internal(name) {
            self.wrong(
                &path,
                format!("\"{name}\" is a topic of the broker's own"),
                "names that begin with __ are left to it",
            );
        }
    }

    fn default_partitions(&mut self, broker: &Broker) {
        let numbers = [
            ("num.partitions", broker.num_partitions),
            ("offsets.topic.num.partitions", broker.offsets_topic_num_partitions),
            ("share.coordinator.state.topic.num.partitions", broker.share_state_num_partitions),
            ("transaction.state.log.num.partitions", broker.transaction_state_num_partitions),
        ];
        for (key, partitions) in numbers {
            self.partitions("broker", key, partitions.get());
        }
    }

    fn partitions(&mut self, section: &str, key: &str, partitions: u32) {
        if partitions > PARTITIONS_MAX {
            let path = format!("{section}.{key}");
            let found = format!("{path} is {partitions}");
            self.wrong(&path, found, &format!("expected at most {PARTITIONS_MAX}"));
        }
    }

    /// Metrics have one name for both, so no broker makes the second.
    fn collisions(&mut self, draft: &Draft) {
        let mut plain: BTreeMap<String, &str> = BTreeMap::new();
        for name in draft.topics.keys() {
            if let Some(other) = plain.insert(name.replace('.', "_"), name) {
                let path = format!("topics.{name}");
                let found = format!("\"{name}\" collides with \"{other}\": they differ only in '.' and '_'");
                self.wrong(&path, found, "rename one of the two");
            }
        }
    }
}
