//! When one instance of a client may ask, and when push.
//!
//! Invariants: a question once an interval, unless the last push was refused for what a new answer mends; a
//! push once an interval, and one right after a question; nothing after the last push.

use flumen_protocol::ErrorCode;
use flumen_records::Compression;
use flumen_types::{Millis, Timestamp};

use super::wanted::Wanted;

/// An instance is known at least so long.
const KNOWN_MIN: Millis = Millis(60_000);

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) wanted: Wanted,
    asked: Option<Timestamp>,
    pushed: Option<Timestamp>,
    terminating: bool,
    last_error: ErrorCode,
    heard: Timestamp,
}

/// What a push says beside its metrics.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    pub(crate) subscription_id: i32,
    pub(crate) terminating: bool,
    pub(crate) compression: i8,
    pub(crate) bytes: usize,
}

impl Instance {
    pub(super) fn new(wanted: Wanted, now: Timestamp) -> Instance {
        Instance {
            wanted,
            asked: None,
            pushed: None,
            terminating: false,
            last_error: ErrorCode::None,
            heard: now,
        }
    }

    /// Three intervals after its last word it is forgotten.
    pub(super) fn is_known(&self, now: Timestamp) -> bool {
        now.since(self.heard) < known_for(self.wanted.interval).0
    }

    pub(super) fn heard(&self) -> Timestamp {
        self.heard
    }

    pub(super) fn hear(&mut self, now: Timestamp) {
        self.heard = now;
    }

    /// What became of the last push or question.
    pub(super) fn end(&mut self, error: ErrorCode) {
        self.last_error = error;
    }

    pub(super) fn ask(&mut self, now: Timestamp) -> Result<(), ErrorCode> {
        if self.is_over(self.asked.max(self.pushed), now) {
            self.asked = Some(now);
        } else if !matches!(
            self.last_error,
            ErrorCode::UnknownSubscriptionId | ErrorCode::UnsupportedCompressionType
        ) {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        self.last_error = ErrorCode::None;
        Ok(())
    }

    /// Whether the metrics of a push are to be looked at; how they are compressed.
    pub(super) fn push(
        &mut self,
        push: Push,
        bytes_max: usize,
        now: Timestamp,
    ) -> Result<Compression, ErrorCode> {
        let judged = self.judge(push, bytes_max, now);
        self.terminating = push.terminating;
        self.last_error = judged.err().unwrap_or_default();
        judged
    }

    fn judge(&mut self, push: Push, bytes_max: usize, now: Timestamp) -> Result<Compression, ErrorCode> {
        if self.terminating {
            return Err(ErrorCode::InvalidRequest);
        }
        let in_time = self.asked > self.pushed || self.is_over(self.pushed, now);
        if in_time {
            self.pushed = Some(now);
        } else if !push.terminating {
            return Err(ErrorCode::ThrottlingQuotaExceeded);
        }
        if push.subscription_id != self.wanted.subscription_id {
            return Err(ErrorCode::UnknownSubscriptionId);
        }
        let compression = usize::try_from(push.compression).ok().and_then(|id| Compression::ALL.get(id));
        let compression = *compression.ok_or(ErrorCode::UnsupportedCompressionType)?;
        if push.bytes > bytes_max {
            return Err(ErrorCode::TelemetryTooLarge);
        }
        Ok(compression)
    }

    fn is_over(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        last.is_none_or(|last| now.since(last) >= self.wanted.interval.0)
    }
}

/// How long after its last word somebody who speaks so often is remembered.
pub(super) fn known_for(interval: Millis) -> Millis {
    KNOWN_MIN.max(Millis(interval.0 * 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: i64 = 1000;
    const BYTES_MAX: usize = 100;
    const PUSH: Push = Push { subscription_id: 5, terminating: false, compression: 4, bytes: 10 };

    fn instance() -> Instance {
        let wanted = Wanted { subscription_id: 5, metrics: vec![], interval: Millis(INTERVAL) };
        Instance::new(wanted, Timestamp(0))
    }

    fn push(instance: &mut Instance, push: Push, at: i64) -> ErrorCode {
        instance.push(push, BYTES_MAX, Timestamp(at)).err().unwrap_or_default()
    }

    fn ask(instance: &mut Instance, at: i64) -> ErrorCode {
        instance.ask(Timestamp(at)).err().unwrap_or_default()
    }

    #[test]
    fn one_question_and_one_push_an_interval() {
        let mut client = instance();
        assert_eq!(ask(&mut client, 0), ErrorCode::None);
        assert_eq!(ask(&mut client, INTERVAL - 1), ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(push(&mut client, PUSH, INTERVAL - 1), ErrorCode::None, "right after a question");
        assert_eq!(push(&mut client, PUSH, INTERVAL * 2 - 2), ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(push(&mut client, PUSH, INTERVAL * 2 - 1), ErrorCode::None);
        assert_eq!(ask(&mut client, INTERVAL * 3 - 2), ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(ask(&mut client, INTERVAL * 3 - 1), ErrorCode::None);
    }

    #[test]
    fn who_never_asked_may_push_once() {
        let mut client = instance();
        assert_eq!(push(&mut client, PUSH, 0), ErrorCode::None);
        assert_eq!(push(&mut client, PUSH, 1), ErrorCode::ThrottlingQuotaExceeded);
    }

    #[test]
    fn who_was_refused_for_what_an_answer_mends_may_ask_at_once() {
        for (wrong, error, may_ask) in [
            (Push { subscription_id: 6, ..PUSH }, ErrorCode::UnknownSubscriptionId, true),
            (Push { compression: 5, ..PUSH }, ErrorCode::UnsupportedCompressionType, true),
            (Push { compression: -1, ..PUSH }, ErrorCode::UnsupportedCompressionType, true),
            (Push { bytes: BYTES_MAX + 1, ..PUSH }, ErrorCode::TelemetryTooLarge, false),
        ] {
            let mut client = instance();
            assert_eq!(push(&mut client, wrong, 0), error);
            let asked = ask(&mut client, 1);
            assert_eq!(asked == ErrorCode::None, may_ask, "{error}: {asked}");
            assert_eq!(ask(&mut client, 2), ErrorCode::ThrottlingQuotaExceeded, "once");
        }
    }

    #[test]
    fn the_last_push_comes_at_any_time_and_is_the_last() {
        let mut client = instance();
        let last = Push { terminating: true, ..PUSH };
        assert_eq!(push(&mut client, PUSH, 0), ErrorCode::None);
        assert_eq!(push(&mut client, last, 1), ErrorCode::None);
        assert_eq!(push(&mut client, last, INTERVAL * 2), ErrorCode::InvalidRequest);
    }

    #[test]
    fn it_is_known_for_a_minute_or_three_intervals() {
        let mut client = instance();
        assert!(client.is_known(Timestamp(59_999)) && !client.is_known(Timestamp(60_000)));
        client.wanted.interval = Millis(300_000);
        client.hear(Timestamp(1));
        assert!(client.is_known(Timestamp(900_000)) && !client.is_known(Timestamp(900_001)));
    }
}
