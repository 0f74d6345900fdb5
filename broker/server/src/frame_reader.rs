//! Takes request frames off a socket, each as one piece of memory.
//!
//! Invariants: no length is believed before it is checked; a body gets its share of the budget before
//! room is made for it, as much at a time as has come already where there is little left, and keeps its
//! place among those who wait for one. [`FrameReader::next`] may be
//! dropped at any await: nothing that was read is lost. A connection that waits for a request holds no
//! buffer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use crate::budget::{Budget, Held};

/// Read at a time while no large body is expected. Frames that fit need no share of the budget.
const CHUNK: usize = 16 * 1024;
/// Read first after a silence.
const FEW: usize = 64;
/// Api key, version and correlation id.
const HEAD: usize = 8;
/// Only records need more than this; a lie about counts gets less far in a smaller frame.
const OTHER_BYTES_MAX: usize = 16 << 20;
const PRODUCE: [u8; 2] = [0, 0];
/// A body that holds a share of the budget has to come in at least at this rate, after a grace.
const BODY_BYTES_PER_SECOND_MIN: usize = 64 * 1024;
const BODY_GRACE: Duration = Duration::from_secs(30);

#[derive(Debug, Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes cannot be a request")]
    TooShort(i32),
    #[error("a frame of {length} bytes is over the limit of {max}{hint}")]
    TooLong { length: i32, max: usize, hint: &'static str },
    #[error("the connection ended inside a frame, after {have} of {of} bytes")]
    Truncated { have: usize, of: usize },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// A request without its length, and what it holds of the budget.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) held: Held,
}

pub(crate) struct FrameReader {
    buffer: BytesMut,
    held: Held,
    /// Bytes of the frame that has begun which it may take in memory.
    covered: usize,
    /// The wait for more, and how far it will reach.
    taking: Option<(usize, BoxFuture<'static, Held>)>,
    /// By when the body that the share is held for has to be here.
    due: Option<Instant>,
    budget: Budget,
    bytes_max: usize,
    /// No fewer can be a frame.
    bytes_min: usize,
    /// Silent, and without a buffer.
    idle: bool,
    /// All that was ever read, so that silence can be told.
    received: u64,
}

impl FrameReader {
    pub(crate) fn new(budget: Budget, bytes_max: usize) -> FrameReader {
        FrameReader {
            buffer: BytesMut::new(),
            held: Held::default(),
            covered: 0,
            taking: None,
            due: None,
            budget,
            bytes_max,
            bytes_min: HEAD,
            idle: false,
            received: 0,
        }
    }

    /// How long the frames from here on may be; tokens of SASL have no header, and may be empty.
    pub(crate) fn expect(&mut self, bytes_max: usize, tokens: bool) {
        self.bytes_max = bytes_max;
        self.bytes_min = if tokens { 0 } else { HEAD };
    }

    /// The next frame; `None` if the peer has ended the connection between two.
    pub(crate) async fn next(
        &mut self,
        socket: &mut (impl AsyncRead + Unpin),
    ) -> Result<Option<Frame>, FrameError> {
        loop {
            match self.expected()? {
                Some(length) if self.buffer.len() >= 4 + length => {
                    let mut bytes = self.buffer.split_to(4 + length).freeze();
                    bytes = bytes.slice(4..);
                    self.due = None;
                    self.covered = 0;
                    return Ok(Some(Frame { bytes, held: std::mem::take(&mut self.held) }));
                }
                Some(length) if length > CHUNK => {
                    // The first bytes are anybody's: who stops after them holds up nobody.
                    if self.buffer.len() >= self.covered.max(CHUNK) {
                        self.cover(4 + length).await;
                    }
                    self.buffer.reserve(self.covered.max(CHUNK) - self.buffer.len());
                }
                _ if self.idle => {}
                _ => self.buffer.reserve(CHUNK),
            }
            let read = if self.idle {
                self.read_few(socket).await?
            } else {
                socket.read_buf(&mut self.buffer).await?
            };
            self.received += read as u64;
            if read == 0 {
                return self.ended();
            }
        }
    }

    /// The first bytes after a silence, for which no buffer has been held.
    async fn read_few(&mut self, socket: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
        let mut few = [0; FEW];
        let read = socket.read(&mut few).await?;
        self.buffer.extend_from_slice(&few[..read]);
        self.idle = false;
        Ok(read)
    }

    /// Gets room for the whole frame where that is a small part of the budget, or for as much again as has
    /// come of it.
    async fn cover(&mut self, whole: usize) {
        if self.held.has_lane() {
            self.covered = whole;
            return;
        }
        let (buffer, covered, budget) = (&self.buffer, self.covered, &self.budget);
        let (target, taking) = self.taking.get_or_insert_with(|| {
            let ample = budget.is_ample_for(whole - covered);
            let target = if ample { whole } else { whole.min(2 * buffer.len()) };
            let budget = budget.clone();
            (target, async move { budget.more(target - covered).await }.boxed())
        });
        let (target, more) = (*target, taking.await);
        self.taking = None;
        if self.held.is_nothing() {
            let seconds = (whole / BODY_BYTES_PER_SECOND_MIN) as u64;
            self.due = Some(Instant::now() + BODY_GRACE + Duration::from_secs(seconds));
        }
        self.held.add(more);
        self.covered = target;
    }

    /// Whether others may be waiting for what the frame that has begun holds, or for its place.
    pub(crate) fn holds_budget(&self) -> bool {
        !self.held.is_nothing() || self.taking.is_some()
    }

    /// Whether it is the budget that is waited for, and not the peer.
    pub(crate) fn waits_for_budget(&self) -> bool {
        self.taking.is_some()
    }

    /// Whether the body that has begun comes in too slowly to go on holding its share.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due < now)
    }

    /// Bytes received since the connection began.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether a frame has begun and is not yet whole.
    pub(crate) fn is_inside_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Gives memory back that a silent connection does not need.
    pub(crate) fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
            self.idle = true;
        }
    }

    /// The length of the frame that has begun, once it is known to be acceptable.
    fn expected(&self) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let size = match usize::try_from(length) {
            Ok(size) if size >= self.bytes_min => size,
            _ => return Err(FrameError::TooShort(length)),
        };
        if size > self.bytes_max {
            return Err(FrameError::TooLong { length, max: self.bytes_max, hint: hint(prefix) });
        }
        if size > OTHER_BYTES_MAX {
            let Some(api) = self.buffer.get(4..6) else { return Ok(None) };
            if api != PRODUCE {
                return Err(FrameError::TooLong { length, max: OTHER_BYTES_MAX, hint: "" });
            }
        }
        Ok(Some(size))
    }

    fn ended(&self) -> Result<Option<Frame>, FrameError> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let of = self.expected()?.map_or(4, |length| 4 + length);
        Err(FrameError::Truncated { have: self.buffer.len(), of })
    }
}

/// What a first "length" often is instead.
fn hint(prefix: &[u8; 4]) -> &'static str {
    match prefix {
        b"GET " | b"POST" | b"HEAD" | b"PUT " => " (this looks like HTTP: the admin API has its own port)",
        [0x16, 0x03, ..] => " (this looks like TLS, which this listener does not speak)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> FrameReader {
        FrameReader::new(Budget::new(1 << 20), 32 << 20)
    }

    fn frame(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes()[..], body].concat()
    }

    async fn refused(bytes: &[u8]) -> String {
        match reader().next(&mut &*bytes).await {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{bytes:?} was taken"),
        }
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let bodies = [vec![1; 8], vec![2; 20_000], vec![0; 3_000_000], vec![3; 9]];
        let stream = bodies.iter().flat_map(|body| frame(body)).collect::<Vec<_>>();
        let (mut socket, mut reader) = (&stream[..], reader());
        for body in &bodies {
            let got = reader.next(&mut socket).await.unwrap().unwrap();
            assert_eq!(got.bytes, body[..]);
            assert_eq!(!got.held.is_nothing(), body.len() > 1_000_000);
        }
        assert!(reader.next(&mut socket).await.unwrap().is_none());
        reader.shrink();
        assert_eq!(reader.buffer.capacity(), 0);
    }

    #[tokio::test]
    async fn lengths_that_cannot_be_are_refused() {
        assert!(refused(&[0xff; 8]).await.contains("-1"));
        assert!(refused(&[0, 0, 0, 3, 1, 2, 3]).await.contains("3 bytes"));
        assert!(refused(&[0x7f, 0xff, 0xff, 0xff]).await.contains("over the limit"));
        assert!(refused(b"GET / HTTP/1.1\r\n").await.contains("HTTP"));
        assert!(refused(&[0x16, 3, 1, 2, 0]).await.contains("TLS"));
        // 20 MiB of Metadata.
        assert!(refused(&[0x01, 0x40, 0, 0, 0, 3]).await.contains("over the limit"));
    }

    #[tokio::test]
    async fn an_end_inside_a_frame_is_told_from_one_between() {
        assert!(refused(&frame(&[1; 20])[..10]).await.contains("10 of 24"));
        assert!(refused(&[0, 0]).await.contains("2 of 4"));
        assert!(reader().next(&mut &[][..]).await.unwrap().is_none());
    }
}
