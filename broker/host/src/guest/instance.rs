//! An instance and its calls, each of them bounded; what comes back has been checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_types::Offset;
use wasmtime::Store;

use super::calls::{Broken, CallError, Cause, classify};
use super::state::{State, Surroundings};
use crate::bindings::exports::flumen::plugin::{filter, lifecycle, sink, source, transform};
use crate::bindings::flumen::plugin::types;
use crate::chunk::Chunk;
use crate::component::{Compiled, Linked, PluginInfo, World};
use crate::engine::TICK;
use crate::pump::first_follower;
use crate::route::{self, Mask, Outputs, Rejected, Routed, shortened};
use crate::sql::{
    AdvanceError, Claim, Database, DbError, Letter, Position, Taken, is_of_the_values, sentence,
};
use crate::status::{Board, Reporter};
use crate::{Grants, Limits, Need, PluginSpec};

/// Of a source's cursor.
const CURSOR_MAX: usize = 1 << 20;
/// Of a piece of bad input; the rest is cut.
const BAD_INPUT_MAX: usize = 1 << 20;

/// Before so many calls an instance is not worn, however large.
const WORN_CALLS: u32 = 1000;

/// All that an instance is made from, again and again.
pub(crate) struct Recipe {
    pub compiled: Arc<Compiled>,
    pub spec: Arc<PluginSpec>,
    pub name: Arc<str>,
    pub reporter: Reporter,
    /// Those that are granted.
    pub databases: BTreeMap<String, Arc<Database>>,
    pub board: Arc<Board>,
}

pub(crate) struct Instance {
    recipe: Arc<Recipe>,
    live: Option<Live>,
    /// Of a source: it has been told where to begin.
    opened: bool,
    calls: u32,
    outputs: Outputs,
}

struct Live {
    store: Store<State>,
    calls: Calls,
}

enum Calls {
    Filter(filter::Guest),
    Transform(transform::Guest),
    Source(source::Guest),
    Sink(sink::Guest),
}

/// What became of a chunk.
#[derive(Debug)]
pub(crate) struct Processed {
    pub routed: Vec<Routed>,
    pub rejected: Vec<Rejected>,
}

/// What a poll of a source has brought.
#[derive(Debug)]
pub(crate) struct Polled {
    pub routed: Vec<Routed>,
    pub bad: Vec<BadInput>,
    pub cursor: Option<Vec<u8>>,
    pub idle: Option<Duration>,
    pub finished: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct BadInput {
    pub origin: String,
    pub data: Vec<u8>,
    pub reason: String,
}

/// A step of an SQL sink.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// The group's offset in the broker.
    pub published: Option<Offset>,
    pub attempts: u32,
    pub rejects: Rejects,
}

/// What rejected records do to a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejects {
    /// One of them undoes it.
    Undo,
    Forget,
    /// They become letters, kept with the offset until the broker has them.
    Keep,
    /// The same, unless a later record of a rejected one's key was done: then it is undone.
    KeepInOrder,
}

/// What a sink says of a chunk.
#[derive(Debug)]
pub(crate) struct Written {
    pub rejected: Vec<Rejected>,
    /// Of an SQL sink: rows and offset are in the database.
    pub committed: bool,
}

impl Instance {
    pub(crate) fn new(recipe: Arc<Recipe>) -> Instance {
        Instance { recipe, live: None, opened: false, calls: 0, outputs: Outputs::default() }
    }

    pub(crate) fn set_outputs(&mut self, outputs: Outputs) {
        self.outputs = outputs;
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.live.is_some()
    }

    /// Configured, and not opened yet.
    pub(crate) fn is_fresh(&self) -> bool {
        self.is_alive() && !self.opened
    }

    fn limits(&self) -> &Limits {
        &self.recipe.spec.limits
    }

    /// A new store, configured; what was there before is gone.
    pub(crate) async fn start(&mut self) -> Result<(), CallError> {
        self.live = None;
        self.opened = false;
        self.calls = 0;
        let recipe = self.recipe.clone();
        let spec = &recipe.spec;
        recipe.board.clear_reports(recipe.reporter);
        let around = Surroundings {
            name: &recipe.name,
            reporter: recipe.reporter,
            grants: &spec.grants,
            databases: &recipe.databases,
            absent: &[],
            limits: &spec.limits,
            board: &recipe.board,
        };
        let (store, calls) = configured(&recipe.compiled.linked, spec, &around).await?;
        self.live = Some(Live { store, calls });
        Ok(())
    }

    /// Calls it; a call that breaks it is its last.
    async fn call<R>(
        &mut self,
        call: impl AsyncFnOnce(&mut Store<State>, &Calls) -> Option<wasmtime::Result<R>>,
    ) -> Result<R, CallError> {
        let recipe = self.recipe.clone();
        let dead = || Broken::new(Cause::Host, "the instance is dead");
        let mut live = self.live.take().ok_or_else(dead)?;
        let calls = &live.calls;
        let answer =
            bounded(&recipe.compiled.linked, &mut live.store, recipe.spec.limits.call, async |store| {
                match call(store, calls).await {
                    Some(answer) => answer,
                    None => wasmtime::bail!("this kind of plugin has no such call"),
                }
            })
            .await?;
        self.live = Some(live);
        self.calls = self.calls.saturating_add(1);
        Ok(answer)
    }

    /// An answer that lies is the instance's last, too.
    fn lied(&mut self, what: String) -> CallError {
        self.live = None;
        CallError::Broken(Broken::new(Cause::Answer, what))
    }

    fn checked(&mut self, rejected: Vec<types::Rejected>, chunk: &Chunk) -> Result<Vec<Rejected>, CallError> {
        let given = rejected.into_iter().map(|r| (r.index, r.reason));
        route::rejections(given, chunk.count).map_err(|lie| self.lied(lie))
    }

    /// Of a filter or a transform.
    pub(crate) async fn process(&mut self, chunk: &Chunk) -> Result<Processed, CallError> {
        let answer = self
            .call(async |store, calls| match calls {
                Calls::Filter(guest) => {
                    Some(guest.call_filter(store, batch(chunk)).await.map(|said| said.map(Answer::Kept)))
                }
                Calls::Transform(guest) => Some(
                    guest.call_process(store, batch(chunk)).await.map(|said| said.map(Answer::Processed)),
                ),
                _ => None,
            })
            .await?
            .map_err(said)?;
        let output_bytes = self.limits().output_bytes;
        let (routed, rejected) = match answer {
            Answer::Kept(kept) => {
                let rejected = self.checked(kept.rejected, chunk)?;
                let routed = Mask::new(kept.keep, chunk.count, &rejected)
                    .and_then(|mask| self.outputs.keep(chunk, &mask));
                (routed, rejected)
            }
            Answer::Processed(processed) => {
                let rejected = self.checked(processed.rejected, chunk)?;
                (self.outputs.route(processed.batches, output_bytes), rejected)
            }
        };
        let routed = routed.map_err(|lie| self.lied(lie))?;
        Ok(Processed { routed, rejected })
    }

    /// Of a sink that is not an SQL sink.
    pub(crate) async fn write(&mut self, chunk: &Chunk) -> Result<Written, CallError> {
        let rejected = self.call_write(chunk).await?;
        Ok(Written { rejected, committed: false })
    }

    async fn call_write(&mut self, chunk: &Chunk) -> Result<Vec<Rejected>, CallError> {
        let rejected = self
            .call(async |store, calls| match calls {
                Calls::Sink(guest) => Some(guest.call_write(store, batch(chunk)).await),
                _ => None,
            })
            .await?
            .map_err(said)?;
        self.checked(rejected, chunk)
    }

    /// Of an SQL sink: takes over its partitions in the database.
    pub(crate) async fn take(&mut self, claims: &[Claim]) -> Result<Vec<Taken>, CallError> {
        let group = self.recipe.spec.group();
        let taken = self.sql(async |sql| sql.take(&group, claims).await).await?;
        taken.map_err(|error| self.database_failed(&error))
    }

    /// Of an SQL sink: rows, offset and letters in one transaction.
    pub(crate) async fn write_sql(&mut self, chunk: &Chunk, step: &Step) -> Result<Written, CallError> {
        let begun = self.sql(async |sql| sql.begin().await).await?;
        begun.map_err(|error| self.database_failed(&error))?;
        let rejected = match self.call_write(chunk).await {
            Ok(rejected) => rejected,
            Err(error) => {
                // A broken instance has taken its connection with it, which rolls back as well.
                let Some(live) = &self.live else { return Err(error) };
                let refused = |reason: &str| live.store.data().sql.is_refusal(reason);
                let error = match error {
                    CallError::Fatal(reason) if refused(&reason) => CallError::Refused(reason),
                    other => other,
                };
                self.roll_back().await?;
                return Err(error);
            }
        };
        let undo = match step.rejects {
            Rejects::Undo => !rejected.is_empty(),
            Rejects::KeepInOrder => first_follower(chunk, &rejected).is_some(),
            Rejects::Forget | Rejects::Keep => false,
        };
        if undo {
            self.roll_back().await?;
            return Ok(Written { rejected, committed: false });
        }
        self.advance(chunk, step, &rejected).await?;
        Ok(Written { rejected, committed: true })
    }

    /// Of an SQL sink: past a chunk without its records, which have become letters.
    pub(crate) async fn pass_sql(
        &mut self,
        chunk: &Chunk,
        rejected: &[Rejected],
        step: &Step,
    ) -> Result<(), CallError> {
        let begun = self.sql(async |sql| sql.begin().await).await?;
        begun.map_err(|error| self.database_failed(&error))?;
        self.advance(chunk, step, rejected).await
    }

    async fn advance(&mut self, chunk: &Chunk, step: &Step, rejected: &[Rejected]) -> Result<(), CallError> {
        let letters = match step.rejects {
            Rejects::Keep | Rejects::KeepInOrder => letters(chunk, rejected, step.attempts),
            Rejects::Undo | Rejects::Forget => Vec::new(),
        };
        let to = Position {
            topic: chunk.topic.to_string(),
            partition: chunk.partition,
            next: chunk.next,
            published: step.published,
            letters,
        };
        let committed = self.sql(async |sql| sql.commit(&to).await).await?;
        match committed {
            Ok(()) => Ok(()),
            Err(AdvanceError::Fenced) => {
                self.live = None;
                Err(CallError::Fenced)
            }
            // Constraints that are looked at in the end.
            Err(AdvanceError::Db(error)) if is_of_the_values(&error) => {
                self.roll_back().await?;
                Err(CallError::Refused(sentence(&error)))
            }
            Err(AdvanceError::Db(error)) => Err(self.database_failed(&error)),
        }
    }

    async fn roll_back(&mut self) -> Result<(), CallError> {
        let done = self.sql(async |sql| sql.rollback().await).await?;
        done.map_err(|error| self.database_failed(&error))
    }

    /// The host's own work with the guest's connection. It has a deadline, too.
    async fn sql<R>(
        &mut self,
        work: impl AsyncFnOnce(&mut super::sql::Session) -> R,
    ) -> Result<R, CallError> {
        let limit = self.limits().call.max(Duration::from_secs(15));
        let Some(live) = &mut self.live else {
            return Err(Broken::new(Cause::Host, "the instance is dead").into());
        };
        match tokio::time::timeout(limit, work(&mut live.store.data_mut().sql)).await {
            Ok(done) => Ok(done),
            Err(_) => {
                self.live = None;
                Err(CallError::retry(format!("the database did not answer within {} ms", limit.as_millis())))
            }
        }
    }

    /// Nobody knows what its connection is good for: the next try is with a new one.
    fn database_failed(&mut self, error: &DbError) -> CallError {
        self.live = None;
        CallError::retry(format!("the database: {}", sentence(error)))
    }

    /// Of a source.
    pub(crate) async fn open(&mut self, cursor: Option<&[u8]>) -> Result<(), CallError> {
        self.opened = true;
        self.call(async |store, calls| match calls {
            Calls::Source(guest) => Some(guest.call_open(store, cursor).await),
            _ => None,
        })
        .await?
        .map_err(said)
    }

    /// Of a source.
    pub(crate) async fn poll(&mut self, bytes_max: u32) -> Result<Polled, CallError> {
        let polled = self
            .call(async |store, calls| match calls {
                Calls::Source(guest) => Some(guest.call_poll(store, bytes_max).await),
                _ => None,
            })
            .await?
            .map_err(said)?;
        let output_bytes = self.limits().output_bytes;
        let cursor_len = polled.cursor.as_ref().map_or(0, Vec::len);
        if cursor_len > CURSOR_MAX {
            return Err(self.lied(format!("its cursor has {cursor_len} bytes; {CURSOR_MAX} are the most")));
        }
        let routed = self.outputs.route(polled.batches, output_bytes).map_err(|lie| self.lied(lie))?;
        let bad = polled.bad.into_iter().map(|mut bad| {
            bad.data.truncate(BAD_INPUT_MAX);
            BadInput { origin: shortened(bad.origin), data: bad.data, reason: shortened(bad.reason) }
        });
        Ok(Polled {
            routed,
            bad: bad.collect(),
            cursor: polled.cursor,
            idle: polled.idle_ms.map(|ms| Duration::from_millis(ms.into())),
            finished: polled.finished,
        })
    }

    /// Of a source.
    pub(crate) async fn committed(&mut self, cursor: &[u8]) -> Result<(), CallError> {
        self.call(async |store, calls| match calls {
            Calls::Source(guest) => Some(guest.call_committed(store, cursor).await),
            _ => None,
        })
        .await?
        .map_err(said)
    }

    /// Gives up an instance that has taken most of its memory: runtimes of some languages leak a little
    /// with every call. One that is so from the start keeps working.
    pub(crate) fn retire_if_worn(&mut self) -> bool {
        let worn = self.calls >= WORN_CALLS && self.memory_used() > self.limits().memory_bytes / 4 * 3;
        if worn {
            tracing::debug!(plugin = %self.recipe.name, "a worn instance is replaced by a fresh one");
            self.live = None;
        }
        worn
    }

    /// Bytes of memory that the guest has.
    pub(crate) fn memory_used(&self) -> usize {
        self.live.as_ref().map_or(0, |live| live.store.data().limiter.used())
    }
}

enum Answer {
    Kept(filter::Kept),
    Processed(transform::Processed),
}

fn batch(chunk: &Chunk) -> types::Batch<'_> {
    types::Batch {
        topic: &chunk.topic,
        partition: chunk.partition,
        base_offset: chunk.base_offset,
        base_timestamp: chunk.base_timestamp,
        append_timestamp: chunk.append_timestamp,
        count: chunk.count,
        records: &chunk.records,
    }
}

fn letters(chunk: &Chunk, rejected: &[Rejected], attempts: u32) -> Vec<Letter> {
    if chunk.count == 0 {
        // A batch that could not be read is one letter, at its first offset.
        let letter = |r: &Rejected| Letter { offset: chunk.base_offset, reason: r.reason.clone(), attempts };
        return rejected.iter().map(letter).collect();
    }
    let mut rejected = rejected.iter().peekable();
    let mut letters = Vec::with_capacity(rejected.len());
    for (index, head) in crate::section::Heads::new(&chunk.records, chunk.count).flatten().enumerate() {
        if let Some(r) = rejected.next_if(|r| r.index as usize == index) {
            let offset = chunk.base_offset + i64::from(head.offset_delta);
            letters.push(Letter { offset, reason: r.reason.clone(), attempts });
        }
    }
    letters
}

fn said(error: types::Error) -> CallError {
    match error {
        types::Error::Retry(later) => CallError::Retry {
            reason: shortened(later.reason),
            after: later.after_ms.map(|ms| Duration::from_millis(ms.into())),
        },
        types::Error::Fatal(reason) => CallError::Fatal(shortened(reason)),
    }
}

/// A store for the plugin, set up as the specification says.
async fn configured(
    linked: &Linked,
    spec: &PluginSpec,
    around: &Surroundings<'_>,
) -> Result<(Store<State>, Calls), CallError> {
    let (mut store, lifecycle, calls) = instantiate(linked, around).await?;
    let config = spec.config.to_string();
    let inputs: Vec<&str> = spec.inputs.iter().map(String::as_str).collect();
    let outputs: Vec<&str> = spec.outputs.iter().map(String::as_str).collect();
    let setup = lifecycle::Setup {
        config: &config,
        name: &spec.name,
        task: around.reporter.task,
        tasks: spec.tasks,
        inputs: &inputs,
        outputs: &outputs,
        finish: spec.finish,
    };
    let answer =
        bounded(linked, &mut store, spec.limits.call, async |store| lifecycle.call_init(store, setup).await)
            .await?;
    answer.map_err(said)?;
    Ok((store, calls))
}

async fn instantiate(
    linked: &Linked,
    around: &Surroundings<'_>,
) -> Result<(Store<State>, lifecycle::Guest, Calls), CallError> {
    let mut store = State::store(&linked.runtime.engine, around)?;
    let made = bounded(linked, &mut store, around.limits.call, async |store| {
        let instance = linked.pre.instantiate_async(&mut *store).await?;
        let pre = &linked.pre;
        let lifecycle = lifecycle::GuestIndices::new(pre)?.load(&mut *store, &instance)?;
        let calls = match linked.world {
            World::Filter => Calls::Filter(filter::GuestIndices::new(pre)?.load(&mut *store, &instance)?),
            World::Transform => {
                Calls::Transform(transform::GuestIndices::new(pre)?.load(&mut *store, &instance)?)
            }
            World::Source => Calls::Source(source::GuestIndices::new(pre)?.load(&mut *store, &instance)?),
            World::Sink => Calls::Sink(sink::GuestIndices::new(pre)?.load(&mut *store, &instance)?),
        };
        Ok((lifecycle, calls))
    })
    .await;
    let (lifecycle, calls) = made?;
    Ok((store, lifecycle, calls))
}

/// A call that ends by its deadline, whatever the guest does: in its own code the epoch ends it, in a
/// call of the host's the timer.
async fn bounded<R>(
    linked: &Linked,
    store: &mut Store<State>,
    limit: Duration,
    call: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<R>,
) -> Result<R, CallError> {
    let _ticking = linked.runtime.ticking();
    let state = store.data_mut();
    (state.deadline, state.computed) = (Instant::now() + limit, Duration::ZERO);
    store.set_epoch_deadline(1);
    match tokio::time::timeout(limit + 2 * TICK, call(store)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::debug!(error = format!("{error:?}"), "a guest call failed");
            Err(classify(&error, limit).into())
        }
        // In its own code the epoch would have ended it.
        Err(_) => Err(Broken::late(Cause::Waited, limit).into()),
    }
}

/// Sets the plugin up and lets it go: what it has against its configuration. Nothing outside is touched,
/// no folder, no service, no database; what it misses of them is not told. Blocks.
pub(crate) fn rehearse(linked: &Linked, spec: &PluginSpec) -> Result<(), String> {
    let around = Surroundings {
        name: &spec.name.as_str().into(),
        reporter: Reporter { generation: 0, task: 0 },
        grants: &Grants::default(),
        databases: &BTreeMap::new(),
        absent: &spec.grants.databases,
        limits: &spec.limits,
        board: &Arc::default(),
    };
    match own_runtime()?.block_on(configured(linked, spec, &around)) {
        Err(CallError::Fatal(reason)) => Err(reason),
        // What breaks or wants to wait may do so for want of what it was not given.
        _ => Ok(()),
    }
}

fn own_runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

/// Asks a component what it is: without grants, and in its own small world. Blocks.
pub(crate) fn about(linked: &Linked, origin: &str) -> Result<PluginInfo, String> {
    let runtime = own_runtime()?;
    let limits = Limits::default();
    let around = Surroundings {
        name: &origin.into(),
        reporter: Reporter { generation: 0, task: 0 },
        grants: &Grants::default(),
        databases: &BTreeMap::new(),
        absent: &[],
        limits: &limits,
        board: &Arc::default(),
    };
    let info = runtime
        .block_on(async {
            let (mut store, lifecycle, _) = instantiate(linked, &around).await?;
            bounded(linked, &mut store, limits.call, async |store| lifecycle.call_about(store).await).await
        })
        .map_err(|error| error.to_string())?;
    let is_name = |name: &str| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if !is_name(&info.name) {
        return Err(format!("its name {:?} is not lower case, digits and dashes", shortened(info.name)));
    }
    let config_schema: serde_json::Value = serde_json::from_str(&info.config_schema)
        .map_err(|e| format!("its config-schema is no JSON: {e}"))?;
    jsonschema::validator_for(&config_schema)
        .map_err(|e| format!("its config-schema is no JSON Schema: {e}"))?;
    let needs = info.needs.iter().map(|need| need.parse()).collect::<Result<Vec<Need>, String>>()?;
    Ok(PluginInfo {
        name: info.name,
        version: shortened(info.version),
        summary: shortened(info.summary),
        config_schema,
        needs,
        kind: linked.world.kind(),
        sql: linked.world == World::Sink && linked.imports_sql,
    })
}
