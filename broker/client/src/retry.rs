//! Trying again until a deadline, with growing pauses.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::Error;

/// One operation's patience.
#[derive(Debug)]
pub(crate) struct Retry {
    deadline: Instant,
    pause: Duration,
}

impl Retry {
    const PAUSE_MIN: Duration = Duration::from_millis(50);
    const PAUSE_MAX: Duration = Duration::from_secs(1);

    pub(crate) fn within(patience: Duration) -> Retry {
        Retry { deadline: Instant::now() + patience, pause: Self::PAUSE_MIN }
    }

    /// Sleeps and returns true, or false when the next try would come too late. The pause is jittered
    /// between half and the whole of it, so that many clients do not come back together.
    pub(crate) async fn again(&mut self) -> bool {
        let pause = self.pause.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        if Instant::now() + pause >= self.deadline {
            return false;
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(Self::PAUSE_MAX);
        true
    }

    /// Whether to try again after this error; has paused if so.
    pub(crate) async fn after(&mut self, error: &Error) -> bool {
        if !error.is_retriable() {
            return false;
        }
        tracing::debug!(%error, "trying again");
        self.again().await
    }
}
