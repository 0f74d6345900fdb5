//! `flumen run`: the broker, its plugins, its admin API, from start to the last signal.
//!
//! ```text
//! start: file -> addresses (are they free?) -> admin API (not ready) -> broker (store, coordinators) -> host -> topics
//!        -> plugins -> listeners -> ready
//! stop:  listeners and, at the same time, plugins, each after its transaction -> admin API -> broker
//!        (clean shutdown)
//! ```
//!
//! Plugins need no listener: they are given the log from within. All that is waited for in a stop is
//! waited for within `shutdown.drain.ms` together; closing the store is not cut off.
//!
//! This is the only place where the server and the host meet: `broker_log` gives the host its log.

mod admin;
mod broker_log;
mod client_metrics;
mod declared_topics;
mod examine;
mod front;
mod log_metrics;
mod log_status;
mod packing;
mod pipelines;
mod security;
mod settings;
mod share_metrics;
mod sources;
mod tombstones;
mod until_done;
mod waits;
mod watch;

use std::io::{ErrorKind, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flumen_config::{Config, HttpAddress, Listener, Loaded};
use flumen_host::Host;
use flumen_http::{Server, Token};
use flumen_server::{Broker, Options};
use tokio::net::{TcpListener, TcpSocket, ToSocketAddrs, lookup_host};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::SetOnce;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cli::{self, Exit, Failure, Out, Outcome};
use crate::clock;
use admin::Office;
use broker_log::BrokerLog;
use front::Front;
use pipelines::Pipelines;
use tombstones::SinkTombstones;

pub(crate) use examine::{examine, host_without_broker};

/// Run the broker and the pipelines of flumen.toml
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: cli::File,
    /// End when every finite source has ended and every sink has caught up; exit code 0 only if nothing
    /// was rejected
    #[arg(long)]
    until_done: bool,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    init_logging(args.until_done);
    let path = args.file.path().to_path_buf();
    let loaded = args.file.load()?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("flumen")
        .build()
        .map_err(|error| Failure::new("cannot start the async runtime").because(error))?;
    let outcome = runtime.block_on(serve(path, loaded, args.until_done, out));
    // Whatever still runs was given its time.
    runtime.shutdown_background();
    outcome
}

/// To standard error; `RUST_LOG` says what. An import shows its progress instead.
fn init_logging(until_done: bool) {
    let default = if until_done { "warn" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    // A second call in one process (a test) keeps the first.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
}

/// The parts that run, in the order in which they are stopped.
struct Parts {
    listeners: CancellationToken,
    tasks: TaskTracker,
    pipelines: Arc<Pipelines>,
    admin: CancellationToken,
    broker: Broker,
}

async fn serve(path: PathBuf, loaded: Loaded, until_done: bool, out: &Out) -> Outcome {
    // Before anything else: what comes too early is not lost.
    let mut signals = Signals::new()?;
    // Who is waited for is not what ends the process: a terminal that closes asks for a reload at most, and a file
    // that may not grow (ulimit -f) is an error of the write.
    let mut hangups = on(SignalKind::hangup())?;
    let _file_size = on(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
    let config = loaded.config.clone();
    let parts = tokio::select! {
        started = start(path, loaded, until_done, out) => started?,
        () = signals.next() => return Err(Failure::silent(Exit::Interrupted)),
    };
    tracing::info!(listeners = ?texts(&config.broker.listeners), "serving");

    let work = async {
        if until_done {
            until_done::run(&parts.pipelines, out).await
        } else {
            reloads(&parts.pipelines, &mut hangups).await
        }
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = signals.next() => if until_done { Err(Failure::silent(Exit::Interrupted)) } else { Ok(()) },
    };
    let drain = Instant::now() + config.broker.shutdown_drain.duration();
    tokio::select! {
        stopped = stop(parts, drain) => stopped.and(outcome),
        () = signals.next() => {
            tracing::warn!("stopping at once; what was acknowledged is on the disk");
            Err(Failure::silent(Exit::Interrupted))
        }
    }
}

async fn start(path: PathBuf, loaded: Loaded, until_done: bool, out: &Out) -> Result<Parts, Failure> {
    let config = loaded.config.clone();
    let tombstones = Arc::new(SinkTombstones::default());
    let options = Options { tombstones: tombstones.clone(), ..settings::broker(&loaded) };
    let (tasks, admin) = (TaskTracker::new(), CancellationToken::new());
    let front = Arc::new(Front {
        office: SetOnce::new(),
        opened: AtomicBool::new(false),
        progress: options.recovery.clone(),
        started_ms: clock::now().0,
        data_dir: options.dir.display().to_string(),
    });
    // One that is taken is told at once and not after a long recovery. Nobody waits at a door that opens minutes
    // later: until they listen, whoever connects is refused.
    let sockets = bind_all(&config).await?;
    // Whoever waits for a long recovery can ask how far it is.
    let closes_unless_started = admin.clone().drop_guard();
    if let Some(web) = bind_http(&config).await? {
        let (front, admin) = (front.clone(), admin.clone());
        tasks.spawn(async move { web.serve(front, admin).await });
    }
    let progress = options.recovery.clone();
    let broker = waits::recovering(out, &progress, Broker::start(options))
        .await
        .map_err(|error| cannot_open(&config.broker.data_dir.path, error))?;
    front.opened.store(true, Ordering::Relaxed);
    let sockets = match listen_all(&config, sockets) {
        Ok(sockets) => sockets,
        Err(failure) => {
            // What was opened cleanly is left so.
            broker.shutdown(config.broker.shutdown_drain.duration()).await.ok();
            return Err(failure);
        }
    };
    let log = Arc::new(BrokerLog::new(broker.clone()));
    let options = flumen_host::Options { cache_dir: settings::plugin_cache(&config) };
    let host = Host::new(options, log.clone(), settings::databases(&config));
    let pipelines =
        Arc::new(Pipelines::new(path.clone(), loaded, broker.clone(), log, host, tombstones, until_done));
    if let Err(problems) = waits::compiling(out, pipelines.host(), pipelines.start()).await {
        let mut failure = Failure::new(format!("{} is not valid", path.display())).exit(Exit::Config);
        failure.causes = problems;
        let drain = Instant::now() + config.broker.shutdown_drain.duration();
        pipelines.stop(drain).await;
        broker.shutdown(drain.saturating_duration_since(Instant::now())).await.ok();
        return Err(failure);
    }
    let parts = Parts {
        listeners: CancellationToken::new(),
        tasks,
        pipelines: pipelines.clone(),
        admin: closes_unless_started.disarm(),
        broker: broker.clone(),
    };
    for (socket, listener) in sockets.into_iter().zip(&config.broker.listeners) {
        let (broker, cancel) = (broker.clone(), parts.listeners.clone());
        let endpoint = security::endpoint(&config.broker, listener);
        parts.tasks.spawn(async move { broker.serve_as(socket, endpoint, cancel).await });
    }
    let (listeners, started_ms) = (texts(&config.broker.listeners), front.started_ms);
    // It is set nowhere else.
    let _ = front.office.set(Office { pipelines, listeners, started_ms });
    Ok(parts)
}

/// Top to bottom: nobody new, plugins after their transaction, the admin API, the store; all within one
/// drain. The admin API tells until the end that the broker is stopping.
async fn stop(parts: Parts, drain: Instant) -> Outcome {
    parts.listeners.cancel();
    parts.pipelines.stop(drain).await;
    parts.admin.cancel();
    parts.tasks.close();
    if tokio::time::timeout_at(drain, parts.tasks.wait()).await.is_err() {
        tracing::warn!("connections did not end in time");
    }
    drop(parts.pipelines);
    parts
        .broker
        .shutdown(drain.saturating_duration_since(Instant::now()))
        .await
        .map_err(|error| Failure::new("cannot close the data folder").because(error))
}

/// Applies each change of the file, and reads it again at each SIGHUP, for as long as the process runs.
async fn reloads(pipelines: &Arc<Pipelines>, hangups: &mut Signal) -> Outcome {
    let mut watch = watch::Watch::new()
        .map_err(|error| Failure::new("cannot watch the configuration for changes").because(error))?;
    loop {
        let (files, folders) = pipelines.watched().await;
        if !watch.follow(files, &folders) {
            tokio::select! {
                changed = watch.changed() => if !changed { continue },
                _ = hangups.recv() => tracing::info!("SIGHUP: reading the configuration again"),
            }
        }
        // A task of its own: a signal that ends this loop does not cut a swap in two. Problems are in the
        // log and in the status.
        let pipelines = pipelines.clone();
        tokio::spawn(async move { pipelines.reload().await.ok() }).await.ok();
    }
}

/// What is in the way of many who run it the first time, and what they do about it.
fn cannot_open(dir: &Path, error: flumen_server::StartError) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut kind = None;
    while let Some(level) = cause {
        kind = level.downcast_ref::<std::io::Error>().map(std::io::Error::kind).or(kind);
        cause = level.source();
    }
    let failure = Failure::new(format!("cannot open {}", dir.display())).because(error);
    match kind {
        Some(ErrorKind::PermissionDenied) => failure.todo(format!(
            "run the broker as the owner of {0}, or give it to this user: chown -R \"$(id -u)\" {0}",
            dir.display()
        )),
        Some(ErrorKind::ReadOnlyFilesystem) => failure.todo(
            "a broker writes there when it starts: mount it read-write; `flumen log verify` and `dump` read it as it is",
        ),
        _ => failure,
    }
}

/// As many as wait to be accepted at a time.
const BACKLOG: u32 = 1024;

async fn bind_all(config: &Config) -> Result<Vec<TcpSocket>, Failure> {
    let mut sockets = Vec::new();
    for listener in &config.broker.listeners {
        let bound = bind(listener.address.to_bind()).await;
        sockets.push(bound.map_err(|error| cannot_listen(&listener.address.to_connect(), error))?);
    }
    Ok(sockets)
}

/// To the first of the host's addresses that can be had.
async fn bind(address: impl ToSocketAddrs) -> std::io::Result<TcpSocket> {
    let mut refused = ErrorKind::AddrNotAvailable.into();
    for address in lookup_host(address).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Connections of the last run may still be dying.
        socket.set_reuseaddr(true)?;
        match socket.bind(address) {
            Ok(()) => return Ok(socket),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn listen_all(config: &Config, sockets: Vec<TcpSocket>) -> Result<Vec<TcpListener>, Failure> {
    let listeners = sockets.into_iter().zip(&config.broker.listeners);
    let listen = listeners.map(|(socket, listener)| {
        socket.listen(BACKLOG).map_err(|error| cannot_listen(&listener.address.to_connect(), error))
    });
    listen.collect()
}

fn cannot_listen(address: &str, error: std::io::Error) -> Failure {
    let in_use = error.kind() == std::io::ErrorKind::AddrInUse;
    let failure = Failure::new(format!("cannot listen on {address}")).because(error);
    if in_use {
        return failure
            .todo("another process listens there: stop it, or change broker.listeners in flumen.toml");
    }
    failure
}

async fn bind_http(config: &Config) -> Result<Option<Server>, Failure> {
    let HttpAddress(Some(address)) = &config.broker.http else { return Ok(None) };
    let (host, port) = address.to_bind();
    let bind = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut options = flumen_http::Options::new(bind);
    if let Some(token) = &config.broker.http_token {
        let token = Token::new(token.reveal())
            .map_err(|e| Failure::new("broker.http.token").because(e).exit(Exit::Config))?;
        options.token = Some(token);
    }
    let bound = Server::bind(options).await;
    bound.map(Some).map_err(|error| {
        Failure::new(format!("cannot open the admin API on {address}"))
            .because(error)
            .todo("change broker.http in flumen.toml; http = \"\" turns it off")
    })
}

fn texts(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(ToString::to_string).collect()
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new("cannot listen for signals").because(error))
}

/// SIGTERM and Ctrl-C.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn new() -> Result<Signals, Failure> {
        Ok(Signals { term: on(SignalKind::terminate())?, int: on(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
