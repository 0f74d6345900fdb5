//! What is wanted of one client: all subscriptions that are for it, taken together.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_protocol::messages::Uuid;
use flumen_records::crc32c;
use flumen_types::Millis;

use super::client::Client;
use crate::client_metrics::{ALL_METRICS, Subscription};

/// How often whoever is asked for nothing asks again; no subscription makes it rarer.
const INTERVAL_MAX: Millis = Millis(5 * 60 * 1000);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Changes with what is wanted, and is the same after a restart.
    pub(crate) subscription_id: i32,
    /// What the names of the metrics begin with.
    pub(crate) metrics: Vec<String>,
    pub(crate) interval: Millis,
}

impl Wanted {
    pub(super) fn of(client: &Client, subscriptions: &[Arc<Subscription>]) -> Wanted {
        let mut metrics = BTreeSet::new();
        let mut interval = INTERVAL_MAX;
        for subscription in subscriptions.iter().filter(|it| it.matches(|about| client.says(about))) {
            metrics.extend(subscription.metrics.iter().cloned());
            interval = interval.min(subscription.interval);
        }
        if metrics.contains(ALL_METRICS) {
            metrics.retain(|metric| metric == ALL_METRICS);
        }
        let metrics = Vec::from_iter(metrics);
        Wanted { subscription_id: subscription_id(client.id, &metrics, interval), metrics, interval }
    }

    /// Whether a metric of this name is among them.
    pub(super) fn has(&self, name: &str) -> bool {
        self.metrics.iter().any(|wanted| wanted == ALL_METRICS || name.starts_with(wanted.as_str()))
    }
}

/// As Kafka has it: a checksum of what is wanted, beside Java's hash of the client's id.
fn subscription_id(client: Uuid, metrics: &[String], interval: Millis) -> i32 {
    let text = format!("[{}]{}", metrics.join(", "), interval.0);
    let [high, low] = [0, 8].map(|at| {
        let half = client.as_bytes()[at..at + 8].try_into().expect("8 of 16 bytes");
        u64::from_be_bytes(half)
    });
    let both = high ^ low;
    let hash = (both >> 32) as u32 ^ both as u32;
    (crc32c(text.as_bytes()) ^ hash).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(pairs: &[(&str, &str)]) -> Arc<Subscription> {
        let texts = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        Arc::new(Subscription::of("s", &texts))
    }

    #[test]
    fn the_shortest_interval_and_every_metric_of_those_that_match_are_wanted() {
        let all = [
            subscription(&[("metrics", "b.,a."), ("interval.ms", "9000")]),
            subscription(&[("metrics", "c.,a."), ("interval.ms", "7000"), ("match", "client_id=app")]),
            subscription(&[("metrics", "*"), ("interval.ms", "100"), ("match", "client_source_port=1")]),
        ];
        let client = Client::named(7, 1, "app");
        let wanted = Wanted::of(&client, &all);
        assert_eq!(
            (wanted.metrics, wanted.interval),
            (vec!["a.".into(), "b.".into(), "c.".into()], Millis(7000))
        );
        let other = Wanted::of(&Client::named(7, 1, "other"), &all);
        assert_eq!((other.metrics, other.interval), (vec!["a.".into(), "b.".into()], Millis(9000)));
    }

    #[test]
    fn all_metrics_say_everything_and_an_interval_beyond_the_default_is_not_waited() {
        let all = [subscription(&[("metrics", "a.,*"), ("interval.ms", "3600000")])];
        let wanted = Wanted::of(&Client::named(7, 1, "app"), &all);
        assert_eq!((wanted.metrics, wanted.interval), (vec!["*".into()], INTERVAL_MAX));
    }

    #[test]
    fn who_is_asked_for_something_else_has_another_subscription() {
        let client = Client::named(7, 1, "app");
        let nothing = Wanted::of(&client, &[]);
        assert_eq!(nothing.metrics, Vec::<String>::new());
        assert_eq!(nothing, Wanted::of(&client, &[]));
        let something = Wanted::of(&client, &[subscription(&[("metrics", "a.")])]);
        assert_ne!(nothing.subscription_id, something.subscription_id);
        let other = Wanted::of(&Client::named(8, 1, "app"), &[]);
        assert_eq!(nothing.subscription_id, other.subscription_id, "ids of one byte hash alike");
    }
}
