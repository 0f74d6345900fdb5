//! What happens to topics as wholes: made, grown, changed, deleted, and made again under the same name.

use anyhow::Result;
use flumen_store::TopicError;
use flumen_types::TopicId;

use crate::plan::{Cleanup, Configs};
use crate::world::{Doubt, Topic, World};

impl World {
    pub(crate) fn configure(&mut self) -> Result<()> {
        let Some((name, _)) = self.some_partition() else { return Ok(()) };
        let topic = self.topics[&name].clone();
        let mut configs = topic.cleanup.configs(&mut self.rng);
        // How it is flushed stays, for the list to know what is promised.
        for key in ["flush.messages", "flush.ms"] {
            configs.remove(key);
            configs.extend(topic.configs.get(key).map(|value| (key.to_string(), value.clone())));
        }
        self.note(|| format!("== configure {name} {configs:?}"));
        let set = self.store().set_topic_configs(&name, configs.clone());
        if self.came_true(&name, set.map(|_| ()), Doubt::Configs(configs.clone()))? {
            self.topics.insert(name, Topic { configs, ..topic });
        }
        Ok(())
    }

    pub(crate) fn delete(&mut self) -> Result<()> {
        let Some((name, _)) = self.some_partition() else { return Ok(()) };
        self.delete_topic(&name)
    }

    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<()> {
        self.note(|| format!("== delete {name}"));
        let deleted = self.store().delete_topic(name);
        if self.came_true(name, deleted.map(|_| ()), Doubt::Gone)? {
            self.topics.remove(name);
        }
        Ok(())
    }

    pub(crate) fn create(&mut self) -> Result<()> {
        let free: Vec<_> =
            self.plan.topics.iter().filter(|(name, _)| !self.topics.contains_key(name)).cloned().collect();
        if free.is_empty() {
            return Ok(());
        }
        let (name, cleanup) = self.rng.pick(&free).clone();
        let count = 1 + self.rng.index(2);
        let configs = cleanup.configs(&mut self.rng);
        self.create_topic(&name, cleanup, count, configs)
    }

    pub(crate) fn create_topic(
        &mut self,
        name: &str,
        cleanup: Cleanup,
        count: usize,
        configs: Configs,
    ) -> Result<()> {
        self.ids += 1;
        let id = TopicId(uuid::Uuid::from_u128(u128::from(self.ids) << 64 | 7));
        let topic = Topic { id, cleanup, configs, partitions: vec![cleanup.log(); count] };
        self.note(|| format!("== create {name} {count} {:?}", topic.configs));
        let made = self.store().create_topic(name, id, count as i32, topic.configs.clone());
        if self.came_true(name, made.map(|_| ()), Doubt::New(Box::new(topic.clone())))? {
            self.topics.insert(name.to_string(), topic);
        }
        Ok(())
    }

    pub(crate) fn grow(&mut self) -> Result<()> {
        let Some((name, _)) = self.some_partition() else { return Ok(()) };
        let count = self.topics[&name].partitions.len() + 1;
        if count > 3 {
            return Ok(());
        }
        self.note(|| format!("== grow {name} to {count}"));
        let grown = self.store().grow_topic(&name, count as i32);
        if self.came_true(&name, grown.map(|_| ()), Doubt::Partitions(count))?
            && let Some(topic) = self.topics.get_mut(&name)
        {
            topic.partitions.resize(count, topic.cleanup.log());
        }
        Ok(())
    }

    /// Whether a change of the catalogue has happened; what has not may have after the next start.
    fn came_true(&mut self, name: &str, changed: Result<(), TopicError>, doubt: Doubt) -> Result<bool> {
        match changed {
            Ok(()) => {
                // The catalogue was written as a whole.
                self.doubts.clear();
                Ok(true)
            }
            Err(error) if self.is_excused() => {
                self.note(|| format!("   refused: {error}"));
                self.doubts.entry(name.to_string()).or_default().push(doubt);
                Ok(false)
            }
            Err(error) => Err(anyhow::Error::new(error).context(format!("a change of {name}"))),
        }
    }
}
