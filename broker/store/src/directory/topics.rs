//! Topics made, grown, changed and deleted; each durable before it is acknowledged.
//!
//! Order: folders first and then the catalogue when something comes, the catalogue first and then the
//! folders when something goes. Whatever a crash leaves is then told apart at the next open
//! (`sweep.rs`).

use std::collections::{BTreeMap, HashSet};
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

/// What is to become of a topic.
#[derive(Clone, Debug)]
pub enum TopicChange {
    Create {
        name: String,
        id: TopicId,
        partitions: i32,
        configs: BTreeMap<String, String>,
    },
    /// Up to so many partitions.
    Grow {
        name: String,
        partitions: i32,
    },
    /// Replaces what is set on the topic; in force at once.
    Configure {
        name: String,
        configs: BTreeMap<String, String>,
    },
    /// The topic is gone when this is done; its bytes go in the background. It is gone from the moment the
    /// catalogue says so: what cannot be done after that is done by the next start.
    Delete {
        name: String,
    },
}

impl TopicChange {
    pub fn topic(&self) -> &str {
        match self {
            TopicChange::Create { name, .. }
            | TopicChange::Grow { name, .. }
            | TopicChange::Configure { name, .. }
            | TopicChange::Delete { name } => name,
        }
    }
}

/// A change that is possible, and the topic as it is then (or was, if it goes).
struct Planned {
    record: TopicRecord,
    deed: Deed,
}

enum Deed {
    /// The partitions from a number on.
    Make {
        from: i32,
        made: Vec<Arc<Partition>>,
    },
    Configure(TopicConfig),
    Delete,
}

impl Store {
    pub fn create_topic(
        &self,
        name: &str,
        id: TopicId,
        partitions: i32,
        configs: BTreeMap<String, String>,
    ) -> Result<TopicRecord, TopicError> {
        self.change_topic(TopicChange::Create { name: name.into(), id, partitions, configs })
    }

    pub fn grow_topic(&self, name: &str, partitions: i32) -> Result<TopicRecord, TopicError> {
        self.change_topic(TopicChange::Grow { name: name.into(), partitions })
    }

    pub fn set_topic_configs(
        &self,
        name: &str,
        configs: BTreeMap<String, String>,
    ) -> Result<TopicRecord, TopicError> {
        self.change_topic(TopicChange::Configure { name: name.into(), configs })
    }

    pub fn delete_topic(&self, name: &str) -> Result<TopicRecord, TopicError> {
        self.change_topic(TopicChange::Delete { name: name.into() })
    }

    fn change_topic(&self, change: TopicChange) -> Result<TopicRecord, TopicError> {
        self.change_topics(&[change]).pop().expect("a result for the change")
    }

    /// Changes several topics, each at most once, with the syncs of one; a result for each, in order. What is
    /// wrong of one alone keeps no other from being changed.
    pub fn change_topics(&self, changes: &[TopicChange]) -> Vec<Result<TopicRecord, TopicError>> {
        let names: HashSet<&str> = changes.iter().map(TopicChange::topic).collect();
        assert_eq!(names.len(), changes.len(), "a topic is changed twice at once");
        let mut catalogue = lock(&self.catalogue);
        let planned: Vec<_> = changes.iter().map(|change| self.plan(&catalogue, change)).collect();
        let mut planned = self.make_all(planned);
        if planned.iter().all(Result::is_err) {
            return planned.into_iter().map(|one| one.map(|one| one.record)).collect();
        }
        if let Err(error) =
            catalogue.change(|catalogue| planned.iter().flatten().for_each(|one| one.note(catalogue)))
        {
            return planned.into_iter().map(|one| Err(self.abandon(&one?, &error))).collect();
        }
        let mut gone = Vec::new();
        for one in planned.iter_mut().flatten() {
            match &mut one.deed {
                Deed::Make { made, .. } => {
                    write(&self.partitions).extend(made.drain(..).map(|p| (p.id().clone(), p)));
                }
                Deed::Configure(config) => {
                    self.set_config(&one.record, config);
                    self.wake_maintenance();
                }
                Deed::Delete => gone.push(one.record.clone()),
            }
        }
        self.put_away(&mut catalogue, &gone);
        planned.into_iter().map(|one| one.map(|one| one.record)).collect()
    }

    /// What a change comes to, or what is wrong with it.
    fn plan(&self, catalogue: &Catalogue, change: &TopicChange) -> Result<Planned, TopicError> {
        let known = |name: &String| {
            catalogue.topics.get(name).cloned().ok_or_else(|| TopicError::Unknown(name.clone()))
        };
        match change {
            TopicChange::Create { name, id, partitions, configs } => {
                let (name, id, wanted, configs) = (name.clone(), *id, *partitions, configs.clone());
                if !is_name(&name) {
                    return Err(TopicError::BadName(name));
                }
                if wanted < 1 {
                    return Err(TopicError::Partitions { topic: name, have: 0, wanted });
                }
                if catalogue.topics.contains_key(&name) {
                    return Err(TopicError::Exists(name));
                }
                let record = TopicRecord { name, id, partitions: wanted, configs };
                Ok(Planned { record, deed: Deed::Make { from: 0, made: Vec::new() } })
            }
            TopicChange::Grow { name, partitions } => {
                let mut record = known(name)?;
                let (have, wanted) = (record.partitions, *partitions);
                if wanted <= have {
                    return Err(TopicError::Partitions { topic: name.clone(), have, wanted });
                }
                record.partitions = wanted;
                Ok(Planned { record, deed: Deed::Make { from: have, made: Vec::new() } })
            }
            TopicChange::Configure { name, configs } => {
                let mut record = known(name)?;
                record.configs = configs.clone();
                let config = self.config_of(&record)?;
                Ok(Planned { record, deed: Deed::Configure(config) })
            }
            TopicChange::Delete { name } => Ok(Planned { record: known(name)?, deed: Deed::Delete }),
        }
    }

    /// Makes the new partitions of all, durable but for their folders' names.
    fn make_all(&self, planned: Vec<Result<Planned, TopicError>>) -> Vec<Result<Planned, TopicError>> {
        let count: usize = planned.iter().flatten().map(Planned::makes).sum();
        let together = count > SYNC_ALL_OVER;
        let make = |mut one: Planned| {
            if let Deed::Make { from, made } = &mut one.deed {
                *made = self.make_partitions(&one.record, *from, together)?;
            }
            Ok(one)
        };
        let made: Vec<_> = planned.into_iter().map(|one| one.and_then(make)).collect();
        // The folders' own names are synced with that of the catalogue, which names them; one without a folder
        // gets it at the next open.
        if together && let Err(error) = self.sync_all(Site::CreatedTogether) {
            let fail = |one: Planned| match one.makes() {
                0 => Ok(one),
                _ => Err(self.abandon(&one, &error)),
            };
            return made.into_iter().map(|one| one.and_then(fail)).collect();
        }
        made
    }

    /// A change that could not be saved: there are none of its new partitions.
    fn abandon(&self, one: &Planned, error: &FileError) -> TopicError {
        if let Deed::Make { made, .. } = &one.deed {
            let (dir, files) = (&self.shared.options.dir, self.shared.files());
            let put_away = made.iter().map(|partition| {
                let tp = partition.id();
                sweep::mark_deleted(files, dir, &tp.to_string(), one.record.id, tp.partition)
            });
            // What is left of them is put aside when their names are wanted, or at the next start.
            self.shared.reaper.doom(put_away.flatten(), Duration::ZERO);
        }
        error.again().into()
    }

    pub(crate) fn set_config(&self, record: &TopicRecord, config: &TopicConfig) {
        for n in 0..record.partitions {
            if let Some(partition) = self.partition(&TopicPartition::new(record.name.as_str(), n)) {
                partition.set_config(config.clone());
            }
        }
    }

    /// Puts away what is left of topics that are gone. That it is done is saved with the next change: until
    /// then a start does it again, and finds nothing.
    fn put_away(&self, catalogue: &mut Catalogue, gone: &[TopicRecord]) {
        if gone.is_empty() {
            return;
        }
        let names: HashSet<&str> = gone.iter().map(|record| record.name.as_str()).collect();
        let done = self
            .remove_partitions(gone)
            .and_then(|()| self.shared.starts.retain(|tp| !names.contains(&*tp.topic)));
        self.outdate_checkpoints(gone.iter().map(|record| record.name.as_str()));
        match done {
            Ok(()) => gone.iter().for_each(|record| catalogue.end_deletion(record)),
            Err(error) => {
                tracing::warn!(topics = ?names, error = %chain(&error), "topics are deleted, but not all of them is put away; the next start does that");
            }
        }
    }

    /// Renames the folders and leaves them to the reaper.
    fn remove_partitions(&self, gone: &[TopicRecord]) -> Result<(), FileError> {
        let (mut doomed, mut failed) = (Vec::new(), None);
        let (dir, files) = (&self.shared.options.dir, self.shared.files());
        let all = gone.iter().flat_map(|record| (0..record.partitions).map(move |n| (record, n)));
        let closed = all.map(|(record, n)| {
            let tp = TopicPartition::new(record.name.as_str(), n);
            let partition = write(&self.partitions).remove(&tp);
            partition.iter().for_each(|partition| partition.close());
            (record, tp, partition)
        });
        // All of them first: those that wait for a sync wait for one.
        for (record, tp, partition) in closed.collect::<Vec<_>>() {
            let _upkeep = partition.as_ref().map(|partition| {
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

    /// Makes the partitions of a topic from a number on; `together`: nothing of them is synced yet.
    fn make_partitions(
        &self,
        record: &TopicRecord,
        from: i32,
        together: bool,
    ) -> Result<Vec<Arc<Partition>>, TopicError> {
        if from == 0 {
            self.shared.starts.forget(&record.name)?;
        }
        let config = self.config_of(record)?;
        self.forget_stale_checkpoints(&record.name)?;
        let (dir, files) = (&self.shared.options.dir, self.shared.files());
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
        Ok(made)
    }

    pub(crate) fn config_of(&self, record: &TopicRecord) -> Result<TopicConfig, TopicError> {
        self.resolve(record).map_err(|reason| TopicError::Config { topic: record.name.clone(), reason })
    }
}

impl Planned {
    /// How many partitions it makes.
    fn makes(&self) -> usize {
        match self.deed {
            Deed::Make { from, .. } => usize::try_from(self.record.partitions - from).unwrap_or_default(),
            Deed::Configure(_) | Deed::Delete => 0,
        }
    }

    fn note(&self, catalogue: &mut Catalogue) {
        match self.deed {
            Deed::Delete => catalogue.begin_deletion(&self.record),
            Deed::Make { .. } | Deed::Configure(_) => catalogue.put(self.record.clone()),
        }
    }
}
