//! Where records are unpacked and converted: of a few bytes where the request is, of more on threads of their own,
//! so that whoever sends what takes long to unpack holds up others of that kind only.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;

/// Packed. What zstd or gzip makes of it takes a thread a few milliseconds.
const FEW_BYTES: usize = 4 << 10;

#[derive(Clone)]
pub(crate) struct Unpacking(Arc<Semaphore>);

impl Unpacking {
    /// One core is left to those who have nothing to unpack.
    pub(crate) fn new() -> Unpacking {
        let cores = available_parallelism().map_or(1, usize::from);
        Unpacking(Arc::new(Semaphore::new((cores - 1).max(1))))
    }

    /// Whether so much may be unpacked at once.
    pub(crate) fn is_little(bytes: usize) -> bool {
        bytes <= FEW_BYTES
    }

    /// Does it when its turn has come.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = self.0.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(done) => done,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}
