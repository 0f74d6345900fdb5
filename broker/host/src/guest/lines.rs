//! Lines that a guest wants in the host's log: over `logging`, stdout and stderr.
//!
//! Invariants: a line is at most [`LINE_MAX`] long; a plugin that floods is thinned to [`PER_SECOND`]
//! lines, and the log says how many are missing.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use crate::bindings::flumen::plugin::logging::Level;
use crate::lock;

const LINE_MAX: usize = 8 << 10;
const PER_SECOND: f64 = 20.0;
const BURST: f64 = 200.0;

/// The log of one instance.
#[derive(Clone)]
pub(crate) struct Lines {
    name: Arc<str>,
    task: u32,
    bucket: Arc<Mutex<Bucket>>,
}

struct Bucket {
    tokens: f64,
    filled: Instant,
    dropped: u64,
}

impl Bucket {
    /// Whether a line may pass; and how many did not before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * PER_SECOND).min(BURST);
        self.filled = now;
        if self.tokens < 1.0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.dropped))
    }
}

impl Lines {
    pub(crate) fn new(name: Arc<str>, task: u32) -> Lines {
        let bucket = Bucket { tokens: BURST, filled: Instant::now(), dropped: 0 };
        Lines { name, task, bucket: Arc::new(Mutex::new(bucket)) }
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        let Some(dropped) = lock(&self.bucket).take(Instant::now()) else { return };
        let (plugin, task) = (&*self.name, self.task);
        if dropped > 0 {
            tracing::warn!(target: "flumen::plugin", plugin, task, "{dropped} lines of this plugin were left out: too many");
        }
        let message = &message[..message.floor_char_boundary(LINE_MAX)];
        match level {
            Level::Trace => tracing::trace!(target: "flumen::plugin", plugin, task, "{message}"),
            Level::Debug => tracing::debug!(target: "flumen::plugin", plugin, task, "{message}"),
            Level::Info => tracing::info!(target: "flumen::plugin", plugin, task, "{message}"),
            Level::Warn => tracing::warn!(target: "flumen::plugin", plugin, task, "{message}"),
            Level::Error => tracing::error!(target: "flumen::plugin", plugin, task, "{message}"),
        }
    }

    pub(crate) fn stream(&self, level: Level) -> Stream {
        Stream { lines: self.clone(), level, open: Arc::default() }
    }
}

/// stdout or stderr.
#[derive(Clone)]
pub(crate) struct Stream {
    lines: Lines,
    level: Level,
    /// A line whose end has not come yet.
    open: Arc<Mutex<Vec<u8>>>,
}

impl Stream {
    fn write_bytes(&self, bytes: &[u8]) {
        let mut open = lock(&self.open);
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LINE_MAX.saturating_sub(open.len());
            open.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut *open);
                let text = String::from_utf8_lossy(&line);
                if !text.trim().is_empty() {
                    self.lines.log(self.level, text.trim_end());
                }
            }
        }
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this one.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_bytes(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(64 << 10)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_thinned_and_counted() {
        let start = Instant::now();
        let mut bucket = Bucket { tokens: BURST, filled: start, dropped: 0 };
        let passed = (0..1000).filter(|_| bucket.take(start).is_some()).count();
        assert_eq!(passed, 200);
        assert_eq!(bucket.take(start + Duration::from_secs(1)), Some(800));
    }
}
