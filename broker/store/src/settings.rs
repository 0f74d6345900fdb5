//! What the store goes by and may be told anew while it is open.

use std::collections::BTreeMap;

use flumen_types::Millis;

use crate::options::{CleanerOptions, Options};

/// As [`Options`] have them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) broker_configs: BTreeMap<String, String>,
    pub(crate) cleaner: CleanerOptions,
    pub(crate) producer_expiration: Millis,
}

impl Settings {
    pub(crate) fn of(options: &Options) -> Settings {
        Settings {
            broker_configs: options.broker_configs.clone(),
            cleaner: options.cleaner.clone(),
            producer_expiration: options.producer_expiration,
        }
    }
}
