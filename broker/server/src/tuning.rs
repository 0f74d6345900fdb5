//! Options that change while the broker runs: as it was started, and as was set through the API since.

use std::time::Duration;

use flumen_store::CleanerOptions;
use flumen_types::{ByteSize, Millis};

use crate::broker_keys as keys;
use crate::config_file::Texts;
use crate::connection_limits::Limits;
use crate::options::Options;

#[derive(Clone, Debug)]
pub(crate) struct Tuning {
    pub(crate) connections: Limits,
    pub(crate) cleaner: CleanerOptions,
    pub(crate) producer_expiration: Millis,
    /// From the next start on.
    pub(crate) recovery_threads: usize,
}

impl Tuning {
    /// `dynamic` has been checked.
    pub(crate) fn of(options: &Options, dynamic: &Texts) -> Tuning {
        let number = |key: &str| dynamic.get(key).and_then(|value| value.parse::<i64>().ok());
        let count = |key: &str, otherwise: usize| number(key).map_or(otherwise, |number| number as usize);
        let size = |key: &str, otherwise: ByteSize| number(key).map_or(otherwise, ByteSize);
        let rate = dynamic.get(keys::CLEANER_RATE).and_then(|value| value.parse::<f64>().ok());
        let overrides = dynamic.get(keys::CONNECTIONS_PER_IP_OVERRIDES);
        let overrides = overrides.and_then(|text| keys::overrides(text));
        let cleaner = &options.cleaner;
        Tuning {
            connections: Limits {
                all: count(keys::CONNECTIONS, options.connections_max),
                per_ip: count(keys::CONNECTIONS_PER_IP, options.connections_per_ip_max),
                overrides: overrides
                    .unwrap_or_else(|| options.connections_per_ip_overrides.clone())
                    .into_iter()
                    .collect(),
                rate: count(keys::CONNECTION_RATE, options.connection_rate_max),
            },
            cleaner: CleanerOptions {
                enabled: cleaner.enabled,
                threads: count(keys::CLEANER_THREADS, cleaner.threads),
                backoff: number(keys::CLEANER_BACKOFF)
                    .map_or(cleaner.backoff, |millis| Duration::from_millis(millis as u64)),
                dedupe_buffer: size(keys::CLEANER_DEDUPE, cleaner.dedupe_buffer),
                io_buffer: size(keys::CLEANER_IO, cleaner.io_buffer),
                io_rate: match rate {
                    // Kafka's default is the largest number: as fast as the disk.
                    Some(rate) => {
                        Some(rate).filter(|rate| *rate < i64::MAX as f64).map(|rate| ByteSize(rate as i64))
                    }
                    None => cleaner.io_rate,
                },
            },
            producer_expiration: number(keys::PRODUCER_EXPIRATION)
                .map_or(options.producer_expiration, Millis),
            recovery_threads: count(keys::RECOVERY_THREADS, options.recovery_threads),
        }
    }

    /// What is wrong with going over to `next`: as with Kafka, threads come and go by halves and doubles.
    pub(crate) fn refusal(&self, next: &Tuning) -> Option<String> {
        let pairs = [
            (keys::CLEANER_THREADS, self.cleaner.threads, next.cleaner.threads),
            (keys::RECOVERY_THREADS, self.recovery_threads, next.recovery_threads),
        ];
        pairs.into_iter().find_map(|(key, now, next)| {
            let words = |bound: &str| {
                Some(format!("{key} cannot go from {now} to {next}: expected no {bound} the current value"))
            };
            match next {
                next if next < now / 2 => words("less than half"),
                next if next > now.saturating_mul(2) => words("more than twice"),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_holds_over_what_the_broker_was_started_with() {
        let mut options = Options::new("data");
        options.connections_max = 7;
        options.connections_per_ip_max = 3;
        let dynamic = Texts::from([
            (keys::CONNECTIONS.to_string(), "9".to_string()),
            (keys::CLEANER_RATE.to_string(), "2048.5".to_string()),
            (keys::CLEANER_BACKOFF.to_string(), "5".to_string()),
            (keys::CONNECTIONS_PER_IP_OVERRIDES.to_string(), "10.0.0.7:2".to_string()),
        ]);
        let tuning = Tuning::of(&options, &dynamic);
        assert_eq!((tuning.connections.all, tuning.connections.per_ip), (9, 3));
        assert_eq!(tuning.connections.overrides.len(), 1);
        assert_eq!(tuning.cleaner.io_rate, Some(ByteSize(2048)));
        assert_eq!(tuning.cleaner.backoff, Duration::from_millis(5));
        assert_eq!(tuning.producer_expiration, options.producer_expiration);
    }

    #[test]
    fn threads_come_and_go_by_halves_and_doubles() {
        let tuning = |threads: &str| {
            let dynamic = Texts::from([(keys::CLEANER_THREADS.to_string(), threads.to_string())]);
            Tuning::of(&Options::new("data"), &dynamic)
        };
        let four = tuning("4");
        for (threads, refused) in [("2", false), ("8", false), ("1", true), ("9", true)] {
            assert_eq!(four.refusal(&tuning(threads)).is_some(), refused, "{threads}");
        }
    }
}
