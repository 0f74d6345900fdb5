//! What connections cost the broker whose clients have nothing to say: memory, for 10,000 at once.

use std::io::{Read, Write};
use std::net::TcpStream;

use flumen_harness::{Flumen, wait};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CONNECTIONS: usize = 10_000;
/// Of the broker's resident memory, for each; some 9 KB are seen.
const BYTES_EACH_MAX: usize = 20 * 1024;
/// What the test and the broker have open besides, each.
const OTHER_FILES: u64 = 1_000;

/// ApiVersions 0 and Metadata 1 for all topics, without a client id: what every client begins with.
const REQUESTS: [&[u8]; 2] = [
    &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255],
    &[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 2, 255, 255, 255, 255, 255, 255],
];

/// Room for both ends: the broker, which is started by this process, has the same limit.
fn raise_the_limit_of_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let needed = CONNECTIONS as u64 + OTHER_FILES;
    assert!(
        limit.maximum.is_none_or(|maximum| maximum >= needed),
        "{needed} open files are needed, and the hard limit is {:?}; raise it (ulimit -Hn)",
        limit.maximum
    );
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("a process may raise its limit to the hard one");
}

/// A connection that has been answered and says nothing more.
fn idle(bootstrap: &str) -> TcpStream {
    let mut socket = TcpStream::connect(bootstrap).expect("the broker takes connections");
    socket.set_read_timeout(Some(wait::PATIENCE)).expect("a timeout");
    for request in REQUESTS {
        socket.write_all(request).expect("a request");
        let mut length = [0; 4];
        socket.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        socket.read_exact(&mut answer).expect("the whole answer");
    }
    socket
}

fn resident_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its resident memory");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

#[test]
fn ten_thousand_idle_connections_take_20_kb_each_at_most() {
    raise_the_limit_of_open_files();
    let mut flumen = Flumen::start("[topics.t]\npartitions = 10\n");
    let (bootstrap, process) = (flumen.bootstrap(), flumen.process().id());
    // What the first ones cost is there once.
    drop((0..100).map(|_| idle(&bootstrap)).collect::<Vec<_>>());
    let before = resident_bytes(process);
    let connections: Vec<TcpStream> = (0..CONNECTIONS).map(|_| idle(&bootstrap)).collect();
    let each = resident_bytes(process).saturating_sub(before) / connections.len();
    println!("{each} bytes each");
    assert!(each <= BYTES_EACH_MAX, "{each} bytes for each of {CONNECTIONS} connections");
    // All of them are still open, and the broker serves another.
    for socket in &connections {
        socket.set_nonblocking(true).expect("a mode");
        let error = socket.peek(&mut [0]).expect_err("nothing to read, and no end");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    idle(&bootstrap);
}
