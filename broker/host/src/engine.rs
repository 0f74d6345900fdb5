//! The one engine of the process, and the clock that interrupts its guests.
//!
//! Invariants: made when the first plugin is there, so that a broker without plugins pays nothing; the
//! clock ticks only while a guest runs, so that an idle broker sleeps.

use std::sync::{Arc, Condvar, Mutex, OnceLock, Weak};
use std::time::Duration;

use thiserror::Error;
use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::lock;

/// How often a running guest gives up its thread, and looks at its deadline.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// More instances than this at a time (two during a swap) are refused.
const INSTANCES_MAX: u32 = 256;

#[derive(Clone, Debug, Error)]
#[error("the WebAssembly engine does not start: {0:#}")]
pub struct EngineError(Arc<wasmtime::Error>);

/// An engine, and the right to have its guests interrupted.
#[derive(Clone)]
pub(crate) struct Runtime {
    pub engine: Engine,
    clock: Arc<Clock>,
}

impl Runtime {
    /// The process's engine; made by the first call.
    pub(crate) fn shared() -> Result<Runtime, EngineError> {
        static SHARED: OnceLock<Result<Runtime, Arc<wasmtime::Error>>> = OnceLock::new();
        SHARED.get_or_init(|| Runtime::new().map_err(Arc::new)).clone().map_err(EngineError)
    }

    fn new() -> wasmtime::Result<Runtime> {
        // Address space may be scarce (a container's limit): then memories are made one by one.
        let engine = Engine::new(&config(true)).or_else(|_| Engine::new(&config(false)))?;
        let clock = Clock::start(&engine)?;
        Ok(Runtime { engine, clock })
    }

    /// Ticks as long as the answer lives.
    pub(crate) fn ticking(&self) -> Ticking {
        self.clock.enter();
        Ticking(self.clock.clone())
    }
}

fn config(pooling: bool) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(16));
    if pooling {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(INSTANCES_MAX)
            // A Rust guest is about four core modules, of which one has a memory.
            .total_core_instances(INSTANCES_MAX * 8)
            .total_memories(INSTANCES_MAX)
            .total_tables(INSTANCES_MAX * 8)
            .total_stacks(INSTANCES_MAX)
            .max_unused_warm_slots(4);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

struct Clock {
    running: Mutex<usize>,
    woken: Condvar,
}

impl Clock {
    fn start(engine: &Engine) -> wasmtime::Result<Arc<Clock>> {
        let clock = Arc::new(Clock { running: Mutex::new(0), woken: Condvar::new() });
        let (weak, engine) = (Arc::downgrade(&clock), engine.weak());
        std::thread::Builder::new().name("flumen-epoch".into()).spawn(move || tick(&weak, &engine))?;
        Ok(clock)
    }

    fn enter(&self) {
        let mut running = lock(&self.running);
        *running += 1;
        if *running == 1 {
            self.woken.notify_one();
        }
    }
}

/// Ends with the engine.
fn tick(clock: &Weak<Clock>, engine: &EngineWeak) {
    while let (Some(clock), Some(engine)) = (clock.upgrade(), engine.upgrade()) {
        let running = lock(&clock.running);
        if *running == 0 {
            // Now and then it looks whether the engine is still there.
            drop(clock.woken.wait_timeout(running, Duration::from_secs(60)));
            continue;
        }
        drop(running);
        std::thread::sleep(TICK);
        engine.increment_epoch();
    }
}

pub(crate) struct Ticking(Arc<Clock>);

impl Drop for Ticking {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
    }
}
