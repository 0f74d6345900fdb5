//! The coordinators' clock: the time of day at start, and from then on only what has passed.
//!
//! Sessions and transactions are spans; a clock that somebody sets must not end them.

use std::time::Instant;

use flumen_types::{Millis, Timestamp};

use crate::clock;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    since: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Clock { base: clock::now(), since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.base.plus(Millis::from(self.since.elapsed()))
    }

    /// When `at` will be; now if it has been.
    pub(crate) fn instant(&self, at: Timestamp) -> tokio::time::Instant {
        let passed = Millis(at.since(self.base)).duration();
        tokio::time::Instant::from_std(self.since + passed)
    }
}
