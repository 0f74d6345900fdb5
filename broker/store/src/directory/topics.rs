//! Topics made, grown, changed and deleted; each durable before it is acknowledged.
//!
//! Order: folders first and then the catalogue when something comes, the catalogue first and then the
//! folders when something goes. Whatever a crash leaves is then told apart at the next open
//! (`sweep.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flumen_log::config::TopicConfig;
use flumen_types::{TopicId, TopicPartition};

use crate::directory::catalogue::{Catalogue, TopicRecord};
use crate::directory::store::Store;
use crate::directory::sweep;
use crate::error::{FileError, TopicError, chain};
use crate::files::durable_file::{SYNC_ALL_OVER, sync_dir};
use crate::files::site::Site;
use crate::locks::{lock, write};
use crate::partition::Partition;
use crate::partition::folder;
use crate::partition::known::Known;
use crate::recovery::load;
use crate::topic_name::is_name;

const SYNC_WAIT: Duration = Duration::from_secs(5);

impl Store {
    pub fn create_topic(
        &self,
        name: &str,
        id: TopicId,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<TopicRecord, TopicError> {
        if !is_name(name) {
            return Err(TopicError::BadName(name.into()));
        }
        if partitions < 1 {
            return Err(TopicError::Partitions { topic: name.into(), have: 0, wanted: partitions });
        }
        let mut catalogue = lock(&self.catalogue);
        if catalogue.topics.contains_key(name) {
            return Err(TopicError::Exists(name.into()));
        }
        let record = TopicRecord { name: name.into(), id, partitions, configs };
        self.shared.starts.forget(name)?;
        let made = self.make_partitions(&record, 0)?;
        self.announce(&mut catalogue, &record, made)?;
        Ok(record)
    }

    /// Adds partitions up to `partitions`.
    pub fn grow_topic(&self, name: &str, partitions: i32) -> Result<TopicRecord, TopicError> {
        let mut catalogue = lock(&self.catalogue);
        let Some(mut record) = catalogue.topics.get(name).cloned() else {
            return Err(TopicError::Unknown(name.into()));
        };
        let have = record.partitions;
        if partitions <= have {
            return Err(TopicError::Partitions { topic: name.into(), have, wanted: partitions });
        }
        record.partitions = partitions;
        let made = self.make_partitions(&record, have)?;
        self.announce(&mut catalogue, &record, made)?;
        Ok(record)
    }

    /// Replaces what is set on the topic; in force at once.
    pub fn set_topic_configs(
        &self,
        name: &str,
        configs: BTreeMap<String, String>,
    ) -> Result<TopicRecord, TopicError> {
        let mut catalogue = lock(&self.catalogue);
        let Some(mut record) = catalogue.topics.get(name).cloned() else {
            return Err(TopicError::Unknown(name.into()));
        };
        record.configs = configs;
        let config = self.config_of(&record)?;
        catalogue.change(|catalogue| catalogue.put(record.clone()))?;
        self.set_config(&record, &config);
        self.wake_maintenance();
        Ok(record)
    }

    pub(crate) fn set_config(&self, record: &TopicRecord, config: &TopicConfig) {
        for n in 0..record.partitions {
            if let Some(partition) = self.partition(&TopicPartition::new(record.name.as_str(), n)) {
                partition.set_config(config.clone());
            }
        }
    }

    /// The topic is gone when this returns; its bytes go in the background. It is gone from the moment
    /// the catalogue says so: what cannot be done after that is done by the next start.
    pub fn delete_topic(&self, name: &str) -> Result<TopicRecord, TopicError> {
        let mut catalogue = lock(&self.catalogue);
        let Some(record) = catalogue.topics.get(name).cloned() else {
            return Err(TopicError::Unknown(name.into()));
        };
        catalogue.change(|catalogue| catalogue.begin_deletion(&record))?;
        if let Err(error) = self.remove_partitions(&record).and_then(|()| {
            self.shared.starts.forget(name)?;
            catalogue.change(|catalogue| catalogue.end_deletion(&record))
        }) {
            tracing::warn!(topic = name, error = %chain(&error), "a topic is deleted, but not all of it is put away; the next start does that");
        }
        self.forget_checkpoints();
        Ok(record)
    }

    /// Renames the folders and leaves them to the reaper.
    fn remove_partitions(&self, record: &TopicRecord) -> Result<(), FileError> {
        let (mut doomed, mut failed) = (Vec::new(), None);
        let (dir, files) = (&self.shared.options.dir, self.shared.files());
        for n in 0..record.partitions {
            let tp = TopicPartition::new(record.name.as_str(), n);
            let partition = write(&self.partitions).remove(&tp);
            let _upkeep = partition.as_ref().map(|partition| {
                partition.close();
                // Whoever waits for a sync gets it; then nobody is in the folder any more.
                partition.wait_durable(partition.marks().end, SYNC_WAIT);
                lock(&partition.upkeep)
            });
            match sweep::mark_deleted(files, dir, &tp.to_string(), record.id, tp.partition) {
                Ok(path) => doomed.push(path),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        sync_dir(files, dir, Site::DeletedPartitions)?;
        self.shared.reaper.doom(doomed, Duration::ZERO);
        failed.map_or(Ok(()), Err)
    }

    /// From here on there are these new partitions of the topic, or none of them.
    fn announce(
        &self,
        catalogue: &mut Catalogue,
        record: &TopicRecord,
        made: Vec<Arc<Partition>>,
    ) -> Result<(), FileError> {
        if let Err(error) = catalogue.change(|catalogue| catalogue.put(record.clone())) {
            let (dir, files) = (&self.shared.options.dir, self.shared.files());
            let put_away = made.iter().map(|partition| {
                let tp = partition.id();
                sweep::mark_deleted(files, dir, &tp.to_string(), record.id, tp.partition)
            });
            // What is left of them is put aside when their names are wanted, or at the next start.
            self.shared.reaper.doom(put_away.flatten(), Duration::ZERO);
            return Err(error);
        }
        write(&self.partitions).extend(made.into_iter().map(|p| (p.id().clone(), p)));
        Ok(())
    }

    /// Makes the partitions of a topic from a number on.
    fn make_partitions(&self, record: &TopicRecord, from: i32) -> Result<Vec<Arc<Partition>>, TopicError> {
        let config = self.config_of(record)?;
        self.forget_stale_checkpoints()?;
        let (dir, files) = (&self.shared.options.dir, self.shared.files());
        let together = record.partitions - from > SYNC_ALL_OVER as i32;
        let mut made = Vec::new();
        for n in from..record.partitions {
            let tp = TopicPartition::new(record.name.as_str(), n);
            if files.exists(&dir.join(tp.to_string())) {
                // Of a topic that was deleted or could not be made: its records are not this one's.
                sweep::put_aside(files, dir, &tp.to_string())?;
            }
            folder::create(files, dir, &tp, record.id)?;
            let partition = load::load(&self.shared, Known::new(tp, record.id, config.clone()))?;
            if !together {
                folder::sync(files, &partition.dir)?;
            }
            made.push(partition);
        }
        // The folders' own names are synced with that of the catalogue, which names them; one without a folder
        // gets it at the next open.
        if together {
            self.sync_all(Site::CreatedTogether)?
        }
        Ok(made)
    }

    pub(crate) fn config_of(&self, record: &TopicRecord) -> Result<TopicConfig, TopicError> {
        self.resolve(record).map_err(|reason| TopicError::Config { topic: record.name.clone(), reason })
    }
}
