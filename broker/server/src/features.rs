//! What ApiVersions calls features: Kafka's switches for what a cluster of several versions may do. Here all
//! brokers are one and everything is on, unless an operator has turned it down (UpdateFeatures); that is kept in
//! `flumen-features.json`.
//!
//! ```text
//! { "version": 1, "features": { "finalized": { "epoch": "2", "share.version": "0" } } }
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use flumen_store::FileError;

use crate::config_file::{ConfigFile, ConfigFileError, Texts};
use crate::resource_configs::ResourceConfigs;

/// One feature, as clients look for it.
#[derive(Debug)]
pub(crate) struct Feature {
    pub(crate) name: &'static str,
    /// The lowest level that can be set.
    pub(crate) min: i16,
    /// The highest one, which is set if nobody has set another.
    pub(crate) max: i16,
}

/// The consumer protocol (KIP-848).
pub(crate) const GROUP_VERSION: &str = "group.version";
/// Share groups (KIP-932).
pub(crate) const SHARE_VERSION: &str = "share.version";
/// Streams groups (KIP-1071).
pub(crate) const STREAMS_VERSION: &str = "streams.version";

pub(crate) const FEATURES: &[Feature] = &[
    // Which replicas may lead beside those in sync (KIP-966): of one replica, none.
    Feature { name: "eligible.leader.replicas.version", min: 0, max: 1 },
    Feature { name: GROUP_VERSION, min: 0, max: 1 },
    // Whether a quorum's voters can change (KIP-853): there is no quorum.
    Feature { name: "kraft.version", min: 0, max: 0 },
    // How Kafka writes down its metadata: 30 is 4.3. Nothing here is written in an older way.
    Feature { name: "metadata.version", min: 30, max: 30 },
    Feature { name: SHARE_VERSION, min: 0, max: 1 },
    Feature { name: STREAMS_VERSION, min: 0, max: 1 },
    // Transactions that bump the epoch at each end (KIP-890).
    Feature { name: "transaction.version", min: 0, max: 2 },
];

impl Feature {
    pub(crate) fn find(name: &str) -> Option<&'static Feature> {
        FEATURES.iter().find(|feature| feature.name == name)
    }
}

/// What is set, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Levels {
    /// Grows with each change: clients believe the newest.
    pub(crate) epoch: i64,
    /// Those that are not at their highest.
    lowered: BTreeMap<&'static str, i16>,
}

const FINALIZED: &str = "finalized";
const EPOCH: &str = "epoch";

impl Levels {
    /// What is not known any more, or can be set no more, is passed over.
    fn of(texts: &Texts) -> Levels {
        let level = |(name, text): (&String, &String)| {
            let (feature, level) = (Feature::find(name)?, text.parse::<i16>().ok()?);
            (feature.min..feature.max).contains(&level).then_some((feature.name, level))
        };
        let epoch = texts.get(EPOCH).and_then(|text| text.parse().ok()).unwrap_or(1);
        Levels { epoch, lowered: texts.iter().filter_map(level).collect() }
    }

    fn texts(&self) -> Texts {
        let lowered = self.lowered.iter().map(|(name, level)| (name.to_string(), level.to_string()));
        lowered.chain([(EPOCH.to_string(), self.epoch.to_string())]).collect()
    }

    /// Whether it has not been turned off.
    pub(crate) fn has(&self, feature: &str) -> bool {
        Feature::find(feature).is_some_and(|feature| self.level(feature) > 0)
    }

    pub(crate) fn level(&self, feature: &Feature) -> i16 {
        self.lowered.get(feature.name).copied().unwrap_or(feature.max)
    }

    pub(crate) fn set(&mut self, feature: &Feature, level: i16) {
        if self.level(feature) == level {
            return;
        }
        self.epoch += 1;
        match level == feature.max {
            true => drop(self.lowered.remove(feature.name)),
            false => drop(self.lowered.insert(feature.name, level)),
        }
    }
}

pub(crate) struct Features(ResourceConfigs<Levels>);

impl Features {
    pub(crate) fn open(dir: &Path) -> Result<Features, ConfigFileError> {
        let file = ConfigFile::new(dir, "flumen-features.json", "features");
        ResourceConfigs::open(file, |_, texts| Levels::of(texts)).map(Features)
    }

    pub(crate) fn levels(&self) -> Levels {
        let set = self.0.meaning(FINALIZED);
        set.map_or_else(|| Levels::of(&Texts::new()), |levels| Levels::clone(&levels))
    }

    /// Changes what is set; whatever `edit` refuses changes nothing.
    pub(crate) async fn edit<E: From<FileError>>(
        &self,
        validate_only: bool,
        edit: impl FnOnce(&mut Levels) -> Result<(), E>,
    ) -> Result<(), E> {
        let edit = |texts: &mut Texts| {
            let before = Levels::of(texts);
            let mut levels = before.clone();
            edit(&mut levels)?;
            if levels != before {
                *texts = levels.texts();
            }
            Ok(())
        };
        self.0.edit(FINALIZED, validate_only, edit).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_turned_down_stays_so_until_it_is_turned_up() {
        let dir = tempfile::tempdir().unwrap();
        let (share, group) = (Feature::find(SHARE_VERSION).unwrap(), Feature::find(GROUP_VERSION).unwrap());
        let features = Features::open(dir.path()).unwrap();
        let set = |level: i16| {
            move |levels: &mut Levels| {
                levels.set(share, level);
                Ok::<_, FileError>(())
            }
        };
        features.edit(true, set(0)).await.unwrap();
        assert_eq!(features.levels().level(share), 1, "it was only tried");
        features.edit(false, set(0)).await.unwrap();
        let again = Features::open(dir.path()).unwrap().levels();
        assert_eq!(again, features.levels());
        assert_eq!((again.level(share), again.level(group), again.epoch), (0, 1, 2));
        features.edit(false, set(0)).await.unwrap();
        assert_eq!(features.levels().epoch, 2, "nothing has changed");
        features.edit(false, set(1)).await.unwrap();
        assert_eq!((features.levels().level(share), features.levels().epoch), (1, 3));
    }

    #[test]
    fn a_level_that_can_be_set_no_more_is_passed_over() {
        let texts = [("gone.version", "1"), (SHARE_VERSION, "7"), ("metadata.version", "29"), (EPOCH, "5")];
        let texts = texts.map(|(name, level)| (name.to_string(), level.to_string())).into();
        let levels = Levels::of(&texts);
        assert!(FEATURES.iter().all(|feature| levels.level(feature) == feature.max));
        assert_eq!(levels.epoch, 5);
    }
}
