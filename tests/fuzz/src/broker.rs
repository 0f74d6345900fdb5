//! A connection to a broker in this process.
//!
//! The first byte is even: the rest is what is sent. It is odd: the rest is requests, each two bytes for the
//! API and its version, two for the body's length, and the body, and they are framed here, so that mutations
//! reach the handlers.
//!
//! A panic anywhere in the process is a finding, whoever catches it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use flumen_protocol::api::TABLE;
use flumen_server::{Broker, Options};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Topics gather; after so many inputs it begins with none.
const INPUTS_PER_BROKER: u32 = 2_000;
/// An answer to a small request takes less, but for those that are meant to wait.
const PATIENCE: Duration = Duration::from_millis(100);

struct Running {
    _runtime: Runtime,
    _dir: TempDir,
    address: SocketAddr,
    inputs: u32,
}

impl Running {
    fn start() -> Running {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let dir = TempDir::new().expect("a folder");
        let address = runtime.block_on(async {
            // libFuzzer's main does not ignore SIGPIPE, as Rust's does; a handler, once set, stays.
            let _ = signal(SignalKind::pipe()).expect("a handler");
            let broker = Broker::start(Options::new(dir.path())).await.expect("a broker");
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let address = listener.local_addr().expect("its number");
            tokio::spawn(async move { broker.serve(listener, CancellationToken::new()).await });
            address
        });
        Running { _runtime: runtime, _dir: dir, address, inputs: 0 }
    }
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);
static PANICS: AtomicU32 = AtomicU32::new(0);

fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            print(info);
        }));
    });
}

pub(crate) fn run(data: &[u8]) {
    count_panics();
    let mut running: MutexGuard<'_, _> = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if running.as_ref().is_some_and(|running| running.inputs >= INPUTS_PER_BROKER) {
        *running = None;
    }
    let running = running.get_or_insert_with(Running::start);
    running.inputs += 1;
    let before = PANICS.load(Ordering::Relaxed);
    let Some((kind, rest)) = data.split_first() else { return };
    let (bytes, requests) = if kind % 2 == 0 { (rest.to_vec(), 1) } else { framed(rest) };
    converse(running.address, &bytes, requests);
    still_served(running.address);
    assert_eq!(PANICS.load(Ordering::Relaxed), before, "the broker panicked");
}

/// The requests as they are sent, and how many.
fn framed(mut rest: &[u8]) -> (Vec<u8>, usize) {
    let mut out = Vec::new();
    let mut requests = 0;
    while let Some(([api, version, high, low], tail)) = rest.split_first_chunk() {
        let api = &TABLE[*api as usize % TABLE.len()];
        let version = api.min + i16::from(*version) % (api.max - api.min + 1);
        let body;
        (body, rest) = tail.split_at(tail.len().min(usize::from(u16::from_be_bytes([*high, *low]))));
        let tagged = usize::from(api.is_flexible(version));
        out.extend_from_slice(&((10 + tagged + body.len()) as u32).to_be_bytes());
        out.extend_from_slice(&(api.key as i16).to_be_bytes());
        out.extend_from_slice(&version.to_be_bytes());
        out.extend_from_slice(&(requests as i32).to_be_bytes());
        out.extend_from_slice(&(-1_i16).to_be_bytes());
        out.extend(std::iter::repeat_n(0, tagged));
        out.extend_from_slice(body);
        requests += 1;
    }
    (out, requests)
}

/// Sends, and reads answers until there are as many, or none comes for a while.
fn converse(address: SocketAddr, bytes: &[u8], requests: usize) {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    // It may be closed on us in the midst: then there is an answer to that already, or none.
    let _ = socket.write_all(bytes);
    for _ in 0..requests {
        let mut length = [0; 4];
        if socket.read_exact(&mut length).is_err() {
            break;
        }
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        if socket.read_exact(&mut answer).is_err() {
            break;
        }
    }
    let _ = socket.shutdown(Shutdown::Both);
}

/// ApiVersions 0, asked by somebody else.
fn still_served(address: SocketAddr) {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    socket.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).expect("it takes a request");
    let mut head = [0; 8];
    socket.read_exact(&mut head).expect("an answer to a neighbour");
    assert_eq!(head[4..], [0, 0, 0, 7]);
}
