//! What a store holds, and the linker that every component is linked with.
//!
//! All of WASI 0.2 is linked, because every toolchain's standard library imports it; what is not granted
//! answers as if it were not there: no folders, no environment, no arguments, no sockets, no origins.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::{HasSelf, Linker, ResourceTable};
use wasmtime::{Engine, Store, UpdateDeadline};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::calls::{CallError, DeadlinePassed};
use super::http::Origins;
use super::limits::{FIELDS_BYTES_MAX, HANDLES_MAX, Limiter, RANDOM_BYTES_MAX};
use super::lines::Lines;
use super::sql::Session;
use crate::bindings::Host_;
use crate::bindings::flumen::plugin::logging::Level;
use crate::engine::TICK;
use crate::sql::Database;
use crate::status::{Board, Reporter};
use crate::{Access, Grants, Limits};

pub(crate) struct State {
    pub table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    origins: Origins,
    pub limiter: Limiter,
    /// When the call that runs must have ended.
    pub deadline: Instant,
    /// How long it has been seen to compute.
    pub computed: Duration,
    pub sql: Session,
    pub lines: Lines,
    pub board: Arc<Board>,
    pub reporter: Reporter,
    pub refused_metric: bool,
}

/// What a state is made from.
pub(crate) struct Surroundings<'a> {
    pub name: &'a Arc<str>,
    pub reporter: Reporter,
    pub grants: &'a Grants,
    pub databases: &'a BTreeMap<String, Arc<Database>>,
    /// Databases that are granted, and are as if they were down.
    pub absent: &'a [String],
    pub limits: &'a Limits,
    pub board: &'a Arc<Board>,
}

impl State {
    /// A store for one instance.
    pub(crate) fn store(engine: &Engine, around: &Surroundings<'_>) -> Result<Store<State>, CallError> {
        let lines = Lines::new(around.name.clone(), around.reporter.task);
        let mut wasi = WasiCtxBuilder::new();
        // A guest has a thread of its own, so that a file need not be read on yet another one.
        wasi.allow_blocking_current_thread(true).allow_tcp(false).allow_udp(false);
        wasi.max_random_size(RANDOM_BYTES_MAX);
        wasi.stdout(lines.stream(Level::Info)).stderr(lines.stream(Level::Warn));
        for (name, folder) in &around.grants.files {
            let perms = match folder.access {
                Access::Read => FsPerms::ReadOnly,
                Access::ReadWrite => FsPerms::ReadWrite,
            };
            wasi.preopened_dir(&folder.path, name, perms).map_err(|error| {
                let said =
                    format!("the granted folder {} cannot be opened: {error:#}", folder.path.display());
                CallError::retry(said)
            })?;
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_BYTES_MAX);
        let state = State {
            table,
            wasi: wasi.build(),
            http,
            origins: Origins::new(&around.grants.http, around.limits.call),
            limiter: Limiter::new(around.limits.memory_bytes),
            deadline: Instant::now(),
            computed: Duration::ZERO,
            sql: Session::new(around.databases.clone(), around.absent.to_vec(), around.limits.output_bytes),
            lines,
            board: around.board.clone(),
            reporter: around.reporter,
            refused_metric: false,
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limiter);
        // What one answer, or one call of the host, may bring over: records, and what surrounds them.
        store.set_hostcall_fuel(around.limits.output_bytes.saturating_mul(2).saturating_add(1 << 20));
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut context| {
            let state = context.data_mut();
            // A tick that finds it at work; those that pass while it waits it does not see.
            state.computed += TICK;
            if Instant::now() >= state.deadline {
                return Err(DeadlinePassed { computed: state.computed }.into());
            }
            Ok(UpdateDeadline::Yield(1))
        });
        Ok(store)
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.origins, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Everything that a component may import.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Host_::add_to_linker::<State, HasSelf<State>>(&mut linker, |state| state)?;
    Ok(linker)
}
