//! Buffers for reads, used again: a fresh megabyte costs more in page faults than its pread.
//!
//! A read's `Bytes` owns its buffer and gives it back when the last slice of it is dropped.
//! Invariants: what is kept for later is bounded; no byte of an earlier read is ever seen in a later
//! one, because only what was read is handed out.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::locks::lock;

/// Below this an allocation is cheap.
const POOLED_MIN: usize = 64 << 10;
pub(crate) const POOLED_MAX: usize = 4 << 20;
/// What may lie idle.
const IDLE_BYTES_MAX: usize = 16 << 20;

#[derive(Default)]
pub(crate) struct Buffers {
    idle: Mutex<Vec<Box<[u8]>>>,
}

impl Buffers {
    /// `length` bytes of which `fill` says how many it has written.
    pub(crate) fn read<E>(
        self: &Arc<Self>,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Bytes, E> {
        if !(POOLED_MIN..=POOLED_MAX).contains(&length) {
            let mut buffer = vec![0; length];
            let filled = fill(&mut buffer)?;
            buffer.truncate(filled);
            return Ok(buffer.into());
        }
        let mut buffer = self.take(length);
        let filled = fill(&mut buffer[..length])?.min(length);
        let pooled = Pooled { buffer, home: self.clone() };
        Ok(Bytes::from_owner(pooled).slice(..filled))
    }

    fn take(&self, length: usize) -> Box<[u8]> {
        let mut idle = lock(&self.idle);
        let fits = idle.iter().rposition(|buffer| buffer.len() >= length);
        match fits {
            Some(at) => idle.swap_remove(at),
            None => {
                drop(idle);
                vec![0; length.next_power_of_two()].into_boxed_slice()
            }
        }
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let mut idle = lock(&self.idle);
        if idle.iter().map(|buffer| buffer.len()).sum::<usize>() + buffer.len() <= IDLE_BYTES_MAX {
            idle.push(buffer);
        }
    }
}

struct Pooled {
    buffer: Box<[u8]>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(buffers: &Arc<Buffers>, length: usize, byte: u8, count: usize) -> Bytes {
        let fill = |buffer: &mut [u8]| -> Result<usize, ()> {
            buffer[..count].fill(byte);
            Ok(count)
        };
        buffers.read(length, fill).unwrap()
    }

    #[test]
    fn a_buffer_comes_back_and_shows_only_what_was_read_into_it() {
        let buffers = Arc::new(Buffers::default());
        let first = filled(&buffers, 100_000, b'a', 90_000);
        let part = first.slice(10..20);
        drop(first);
        assert_eq!(lock(&buffers.idle).len(), 0, "a slice still holds it");
        drop(part);
        assert_eq!(lock(&buffers.idle).len(), 1);
        let second = filled(&buffers, 80_000, b'b', 5);
        assert_eq!(&second[..], b"bbbbb");
        assert_eq!(lock(&buffers.idle).len(), 0);
    }

    #[test]
    fn what_lies_idle_is_bounded() {
        let buffers = Arc::new(Buffers::default());
        let many: Vec<Bytes> = (0..30).map(|_| filled(&buffers, 1 << 20, 0, 1)).collect();
        drop(many);
        assert_eq!(lock(&buffers.idle).len(), IDLE_BYTES_MAX >> 20);
    }
}
