//! Settings of a store that change while it is open.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_types::Millis;

use crate::directory::store::Store;
use crate::error::chain;
use crate::locks::{lock, write};
use crate::options::CleanerOptions;
use crate::settings::Settings;

impl Store {
    /// From now on these hold: what the broker says for all topics, how it compacts, and how long it remembers
    /// a producer. The caller has seen that every topic's settings go with them.
    pub fn reconfigure(
        &self,
        broker_configs: BTreeMap<String, String>,
        cleaner: CleanerOptions,
        producer_expiration: Millis,
    ) {
        let catalogue = lock(&self.catalogue);
        let rate = cleaner.io_rate;
        let same_rate = self.shared.settings().cleaner.io_rate == rate;
        *write(&self.shared.settings) = Arc::new(Settings { broker_configs, cleaner, producer_expiration });
        if !same_rate {
            self.shared.throttle.set_rate(rate);
        }
        for record in catalogue.topics.values() {
            match self.config_of(record) {
                Ok(config) => self.set_config(record, &config),
                Err(error) => {
                    tracing::error!(error = %chain(&error), "a topic keeps the settings that it had")
                }
            }
        }
        drop(catalogue);
        self.set_cleaners();
        self.wake_maintenance();
    }

    /// Has as many threads compact as there are to be.
    fn set_cleaners(&self) {
        if let Some(maintenance) = &mut *lock(&self.maintenance)
            && let Err(error) = maintenance.set_cleaners(&self.upkeep())
        {
            tracing::error!(%error, "no more threads for compaction can be started");
        }
    }
}
