//! The instances of clients that have asked or pushed lately.
//!
//! Invariants: at most `max` of them, as Kafka has it; beyond that the one goes that was silent longest. One
//! ends with its connection.

use std::collections::HashMap;

use flumen_protocol::messages::Uuid;
use flumen_types::Timestamp;

use super::client::Client;
use super::instance::Instance;
use super::wanted::Wanted;

pub(super) struct Instances {
    by_id: HashMap<Uuid, Instance>,
    by_connection: HashMap<u64, Uuid>,
    max: usize,
}

impl Instances {
    pub(super) fn new(max: usize) -> Instances {
        Instances { by_id: HashMap::new(), by_connection: HashMap::new(), max }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The instance of a client. It begins anew when something else is wanted of it.
    pub(super) fn of(&mut self, client: &Client, wanted: Wanted, now: Timestamp) -> &mut Instance {
        let known = self.by_id.get(&client.id).is_some_and(|it| it.wanted == wanted && it.is_known(now));
        if !known {
            self.by_id.remove(&client.id);
            self.make_room(now);
        }
        self.by_connection.insert(client.connection, client.id);
        let instance = self.by_id.entry(client.id).or_insert_with(|| Instance::new(wanted, now));
        instance.hear(now);
        instance
    }

    pub(super) fn known(&mut self, id: Uuid) -> Option<&mut Instance> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn disconnected(&mut self, connection: u64) {
        if let Some(id) = self.by_connection.remove(&connection) {
            self.by_id.remove(&id);
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        if self.by_id.len() < self.max {
            return;
        }
        self.by_id.retain(|_, instance| instance.is_known(now));
        if self.by_id.len() < self.max {
            return;
        }
        let silent = self.by_id.iter().min_by_key(|(_, instance)| instance.heard());
        if let Some((&id, _)) = silent {
            self.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use flumen_types::Millis;

    use super::*;

    fn wanted(subscription_id: i32) -> Wanted {
        Wanted { subscription_id, metrics: vec![], interval: Millis(1000) }
    }

    #[test]
    fn one_begins_anew_when_something_else_is_wanted_or_it_was_away() {
        let mut all = Instances::new(10);
        let client = Client::named(1, 1, "c");
        assert!(all.of(&client, wanted(1), Timestamp(0)).ask(Timestamp(0)).is_ok());
        assert!(all.of(&client, wanted(1), Timestamp(1)).ask(Timestamp(1)).is_err());
        assert!(all.of(&client, wanted(2), Timestamp(2)).ask(Timestamp(2)).is_ok());
        all.disconnected(2);
        assert_eq!(all.len(), 1);
        all.disconnected(1);
        assert_eq!(all.len(), 0);
        assert!(all.of(&client, wanted(2), Timestamp(3)).ask(Timestamp(3)).is_ok());
    }

    #[test]
    fn of_too_many_the_one_goes_that_was_silent_longest() {
        let mut all = Instances::new(2);
        for (id, at) in [(1, 0), (2, 1), (1, 2), (3, 3)] {
            all.of(&Client::named(id, id.into(), "c"), wanted(1), Timestamp(at));
        }
        assert_eq!(all.len(), 2);
        assert!(all.known(Uuid::from_bytes([2; 16])).is_none());
        // Both have been silent for too long.
        all.of(&Client::named(4, 4, "c"), wanted(1), Timestamp(100_000));
        assert_eq!(all.len(), 1);
    }
}
