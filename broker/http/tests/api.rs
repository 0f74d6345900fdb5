//! The API over a real socket on a free port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flumen_http::{
    Admin, BindError, Options, Partition, Plugin, Refusal, Server, Snapshot, State, Status, Token,
};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
struct Fake {
    broken: AtomicBool,
}

#[async_trait::async_trait]
impl Admin for Fake {
    fn unready(&self) -> Option<String> {
        self.broken.load(Ordering::Relaxed).then(|| "recovering 3 of 7 partitions".into())
    }

    fn metrics(&self) -> Snapshot {
        let mut now = Snapshot::default();
        now.gauge("flumen_topics", "Topics.").sample(&[], 2u32);
        now
    }

    async fn status(&self) -> Status {
        let plugin = Plugin {
            name: "orders-db".into(),
            state: State::Retrying,
            reason: Some("refused".into()),
            counters: [("rows".to_owned(), 7)].into(),
            gauges: [("queue".to_owned(), 0.5)].into(),
            ..Plugin::default()
        };
        Status { version: "0.1.0".into(), plugins: vec![plugin], ..Status::default() }
    }

    async fn partitions(&self, topic: &str) -> Option<Vec<Partition>> {
        (topic == "orders").then(|| vec![Partition { partition: 0, end: 7, ..Partition::default() }])
    }

    async fn reload(&self) -> Result<Vec<String>, Refusal> {
        if self.broken.load(Ordering::Relaxed) {
            return Err(Refusal { problems: vec!["flumen.toml:7: unknown key \"topcs\"".into()] });
        }
        Ok(vec!["replaced transform big-orders".into()])
    }

    async fn plan(&self) -> Result<Vec<String>, Refusal> {
        self.reload().await
    }
}

/// A server that stops when the test ends.
struct Running {
    address: SocketAddr,
    admin: Arc<Fake>,
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(options: Options) -> Running {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = runtime.block_on(Server::bind(options)).unwrap();
        let (admin, cancel) = (Arc::new(Fake::default()), CancellationToken::new());
        let (address, served, cancelled) = (server.address(), admin.clone(), cancel.clone());
        let thread = std::thread::spawn(move || runtime.block_on(server.serve(served, cancelled)));
        Running { address, admin, cancel, thread: Some(thread) }
    }

    fn local() -> Running {
        Running::start(Options::new("127.0.0.1:0"))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.get(self.url(path)).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    fn post(&self, path: &str) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut answer = agent.post(self.url(path)).send_empty().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
    }

    /// Sends bytes as they are, and reads until the server closes.
    fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may refuse before it has read everything.
        let _ = stream.write_all(request);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
        let ended = self.thread.take().map(|thread| thread.join());
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

#[test]
fn status_plugins_and_health_are_json() {
    let server = Running::local();
    assert_eq!(server.get("/health"), (200, serde_json::json!({ "status": "ok" })));
    let (code, status) = server.get("/v1/status");
    assert_eq!((code, &status["plugins"][0]["state"]), (200, &Value::from("retrying")));
    assert_eq!(server.get("/v1/plugins").1[0]["name"], "orders-db");
    let plugin = server.get("/v1/plugins/orders-db").1;
    assert_eq!(plugin["reason"], "refused");
    assert_eq!(
        (&plugin["counters"]["rows"], &plugin["gauges"]["queue"]),
        (&Value::from(7), &Value::from(0.5))
    );
    assert_eq!(server.get("/v1/plugins/nobody").0, 404);
}

#[test]
fn ready_says_why_not() {
    let server = Running::local();
    assert_eq!(server.get("/ready").0, 200);
    server.admin.broken.store(true, Ordering::Relaxed);
    let (code, answer) = server.get("/ready");
    assert_eq!((code, &answer["reason"]), (503, &Value::from("recovering 3 of 7 partitions")));
}

#[test]
fn metrics_are_prometheus_text() {
    let server = Running::local();
    let mut answer = ureq::get(server.url("/metrics")).call().unwrap();
    assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(answer.body_mut().read_to_string().unwrap().ends_with("flumen_topics 2\n"));
}

#[test]
fn reload_tells_changes_or_problems() {
    let server = Running::local();
    assert_eq!(server.post("/v1/reload").1["changes"][0], "replaced transform big-orders");
    assert_eq!(server.get("/v1/plan").1["changes"][0], "replaced transform big-orders");
    server.admin.broken.store(true, Ordering::Relaxed);
    let (code, answer) = server.post("/v1/reload");
    assert_eq!(
        (code, &answer["error"]["problems"][0]),
        (422, &Value::from("flumen.toml:7: unknown key \"topcs\""))
    );
}

#[test]
fn unknown_paths_and_methods_are_json_too() {
    let server = Running::local();
    assert_eq!(server.get("/nothing").1["error"]["what"], "there is no /nothing");
    assert_eq!(server.get("/v1/reload").0, 405);
    assert!(
        server
            .raw(b"DELETE /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .contains("allow: GET,HEAD")
    );
}

#[test]
fn an_open_address_needs_a_token() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(Server::bind(Options::new("0.0.0.0:0"))).unwrap_err();
    assert!(matches!(refused, BindError::Open { .. }), "{refused}");

    let token = Token::new("a-token-of-some-length").unwrap();
    let server = Running::start(Options { token: Some(token), ..Options::new("0.0.0.0:0") });
    let url = format!("http://127.0.0.1:{}/v1/status", server.address.port());
    let ask = |token: &str| ureq::get(&url).header("authorization", format!("Bearer {token}")).call();
    assert_eq!(ask("a-token-of-some-length").unwrap().status(), 200);
    assert!(matches!(ask("another-token-as-long"), Err(ureq::Error::StatusCode(401))));
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn a_name_that_only_points_to_the_loopback_is_refused() {
    let server = Running::local();
    let answer = server.raw(b"GET /v1/status HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn a_huge_header_or_a_slow_one_ends_the_connection() {
    let server =
        Running::start(Options { header_timeout: Duration::from_secs(1), ..Options::new("127.0.0.1:0") });
    let huge = format!("GET /health HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    assert!(!server.raw(huge.as_bytes()).starts_with("HTTP/1.1 200"));
    assert!(!server.raw(b"GET /health HTTP/1.1\r\nHost: ").starts_with("HTTP/1.1 200"));
    assert_eq!(server.get("/health").0, 200);
}

#[test]
fn one_connection_too_many_is_closed_and_the_rest_go_on() {
    let server = Running::start(Options { connections_max: 1, ..Options::new("127.0.0.1:0") });
    let mut first = TcpStream::connect(server.address).unwrap();
    first.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).unwrap();
    assert_eq!(server.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"), "");
    assert_eq!(&start, b"HTTP/1.1 200");
}

#[test]
fn requests_that_are_sent_half_keep_nobody_out() {
    let options = Options {
        connections_max: 4,
        header_timeout: Duration::from_secs(600),
        ..Options::new("127.0.0.1:0")
    };
    let server = Running::start(options);
    let half = || {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(b"GET /met").unwrap();
        stream
    };
    let mut halves: Vec<TcpStream> = (0..20).map(|_| half()).collect();
    for _ in 0..8 {
        assert_eq!(server.get("/health").0, 200);
        halves.push(half());
    }
    let mut answer = Vec::new();
    halves[0].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let ended = halves[0].read_to_end(&mut answer);
    let reset = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
    assert!(reset || answer.is_empty(), "the oldest made room");
}

#[test]
fn a_port_in_use_is_named() {
    let server = Running::local();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(Server::bind(Options::new(server.address.to_string()))).unwrap_err();
    assert!(refused.to_string().contains(&server.address.to_string()), "{refused}");
}
