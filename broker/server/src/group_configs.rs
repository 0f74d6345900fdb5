//! What groups have set for themselves, whatever their kind, kept in `flumen-groups.json`.

use std::path::Path;
use std::sync::Arc;

use flumen_groups::settings::Defaults;
use flumen_groups::{consumer, share, streams};
use flumen_store::FileError;

use crate::config_file::{ConfigFile, ConfigFileError, Texts};
use crate::options::Options;
use crate::resource_configs::ResourceConfigs;

/// What holds for one group, of whichever kind it is.
pub(crate) struct Settings {
    pub(crate) consumer: consumer::Options,
    pub(crate) share: share::Settings,
    pub(crate) streams: streams::Options,
}

pub(crate) struct GroupConfigs {
    own: ResourceConfigs<Settings>,
    defaults: Defaults,
    /// Of all groups that have set nothing.
    common: Arc<Settings>,
}

impl GroupConfigs {
    pub(crate) fn open(options: &Options) -> Result<GroupConfigs, ConfigFileError> {
        let defaults = options.group_defaults();
        let consumer = consumer_options(options);
        let settings = {
            let defaults = defaults.clone();
            move |texts: &Texts| Settings {
                consumer: consumer.with(texts, &defaults.consumer),
                share: share::Settings::resolve(texts, &defaults.share),
                streams: defaults.streams.resolve(texts),
            }
        };
        let common = Arc::new(settings(&Texts::new()));
        let file = ConfigFile::new(Path::new(&options.dir), "flumen-groups.json", "groups");
        let own = ResourceConfigs::open(file, move |_, texts| settings(texts))?;
        Ok(GroupConfigs { own, defaults, common })
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// What holds for a group.
    pub(crate) fn settings(&self, group: &str) -> Arc<Settings> {
        self.own.meaning(group).unwrap_or_else(|| self.common.clone())
    }

    /// What a group has set itself.
    pub(crate) fn own(&self, group: &str) -> Texts {
        self.own.texts(group)
    }

    /// The groups that have set something.
    pub(crate) fn names(&self) -> Vec<String> {
        self.own.names()
    }

    /// Replaces what a group has set; whatever `edit` refuses changes nothing.
    pub(crate) async fn edit<E: From<FileError>>(
        &self,
        group: &str,
        validate_only: bool,
        edit: impl FnOnce(&mut Texts) -> Result<(), E>,
    ) -> Result<(), E> {
        self.own.edit(group, validate_only, edit).await
    }
}

fn consumer_options(options: &Options) -> consumer::Options {
    consumer::Options {
        members_max: options.consumer_group_size_max,
        assignors: options.consumer_assignors.clone(),
        migration: options.consumer_migration,
        ..consumer::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use flumen_groups::share::Begin;
    use flumen_types::Millis;

    use super::*;

    #[tokio::test]
    async fn what_a_group_has_set_holds_for_it_alone_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || GroupConfigs::open(&Options::new(dir.path())).unwrap();
        let configs = open();
        let set = |texts: &mut Texts| {
            texts.insert("share.auto.offset.reset".into(), "earliest".into());
            texts.insert("consumer.session.timeout.ms".into(), "50000".into());
            Ok::<_, FileError>(())
        };
        configs.edit("g", false, set).await.unwrap();
        for configs in [&configs, &open()] {
            let (own, other) = (configs.settings("g"), configs.settings("other"));
            assert_eq!((own.share.begin, other.share.begin), (Begin::Earliest, Begin::Latest));
            assert_eq!(own.consumer.session_timeout, Millis(50_000));
            assert_eq!(other.consumer.session_timeout, Millis(45_000));
        }
    }
}
