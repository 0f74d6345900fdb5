//! A real HTTP service that remembers what it was sent, and can be told to misbehave.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

#[derive(Clone, Debug)]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What it was answered.
    pub status: u16,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The body's records, whether it is a JSON array or one JSON text a line.
    pub fn records(&self) -> Vec<serde_json::Value> {
        match serde_json::from_slice(&self.body) {
            Ok(serde_json::Value::Array(records)) => records,
            Ok(single) => vec![single],
            Err(_) => self
                .body
                .split(|b| *b == b'\n')
                .filter_map(|line| serde_json::from_slice(line).ok())
                .collect(),
        }
    }
}

/// An answer out of the ordinary.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
}

#[derive(Default)]
struct Shared {
    received: Vec<Received>,
    planned: VecDeque<Answer>,
    always: Option<Answer>,
}

pub struct Service {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Service {
    pub fn start() -> Service {
        Service::start_on("127.0.0.1:0".parse().expect("an address"))
    }

    pub fn start_on(address: SocketAddr) -> Service {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address)).expect("the service listens");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let router = Router::new().fallback(take).with_state(shared.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Service { address, shared, runtime: Some(runtime) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next requests are answered so, one each.
    pub fn plan(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared.lock().expect("not poisoned").planned.extend(answers);
    }

    /// Every request is answered so until told otherwise; `None`: 200.
    pub fn always(&self, answer: Option<Answer>) {
        self.shared.lock().expect("not poisoned").always = answer;
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.lock().expect("not poisoned").received.clone()
    }

    /// Records of all requests that were answered with success, in order of arrival.
    pub fn accepted(&self) -> Vec<serde_json::Value> {
        self.received().iter().filter(|r| r.status < 300).flat_map(Received::records).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn take(
    State(shared): State<Arc<Mutex<Shared>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut shared = shared.lock().expect("not poisoned");
    let ordinary = || Answer { status: 200, headers: Vec::new() };
    let answer = shared.planned.pop_front().or_else(|| shared.always.clone()).unwrap_or_else(ordinary);
    shared.received.push(Received {
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers
            .iter()
            .map(|(k, v)| (k.to_string(), String::from_utf8_lossy(v.as_bytes()).into_owned()))
            .collect(),
        body: body.to_vec(),
        status: answer.status,
    });
    let mut response = StatusCode::from_u16(answer.status).expect("a status").into_response();
    for (name, value) in answer.headers {
        let name: axum::http::HeaderName = name.parse().expect("a header name");
        response.headers_mut().insert(name, value.parse().expect("a header value"));
    }
    response
}
