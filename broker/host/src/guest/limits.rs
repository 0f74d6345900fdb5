//! What a store's memories and tables may grow to, and what a guest may have the host hold for it.

use thiserror::Error;
use wasmtime::ResourceLimiter;

/// A Rust guest's function table has hundreds of elements.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// Files, streams, requests, header fields, pollables: each is something in the host's memory.
pub(crate) const HANDLES_MAX: usize = 1024;
/// Of one set of header fields, as it lies in memory.
pub(crate) const FIELDS_BYTES_MAX: usize = 16 << 10;
/// Of one answer of `wasi:random`.
pub(crate) const RANDOM_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, Error)]
#[error("it wanted {wanted} bytes of memory; limits.memory is {limit}")]
pub(crate) struct MemoryLimit {
    wanted: usize,
    limit: usize,
}

/// Growth past the limit is a trap: the reason is then ours, and not whatever the guest makes of a
/// failed allocation.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: usize,
    /// All memories of the store together.
    used: usize,
}

impl Limiter {
    pub(crate) fn new(limit: usize) -> Limiter {
        Limiter { limit, used: 0 }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.limit {
            return Err(MemoryLimit { wanted, limit: self.limit }.into());
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}
