//! The admin API and the metrics, over HTTP.
//!
//! | path | |
//! | --- | --- |
//! | `GET /health` | the process answers |
//! | `GET /ready` | it serves clients; 503 with the reason while it does not |
//! | `GET /metrics` | Prometheus text format 0.0.4 |
//! | `GET /v1/status` | [`Status`]: configuration, plugins, topics |
//! | `GET /v1/plugins`, `GET /v1/plugins/{name}` | the plugins of it |
//! | `GET /v1/topics/{name}` | each [`Partition`] of a topic |
//! | `GET /v1/plan` | what a reload would do now; 422 with every problem when the file is not valid |
//! | `POST /v1/reload` | read flumen.toml again; 422 with every problem when it is not valid |
//!
//! Invariants: an address that others can reach is not opened without a token. Without a token a web
//! page in the same machine's browser gets nothing: `Host` must name the loopback, and a foreign
//! `Origin` changes nothing. Every answer but the metrics is JSON, errors too. Sizes of header and
//! body, times and connections are bounded. What is known comes through [`Admin`], which the
//! application implements; nothing here knows the broker.
//!
//! Lacks: TLS (put a proxy before it), and a console.

mod access;
mod admin;
mod metrics;
mod routes;
mod server;
mod status;
mod waiting;

pub use access::{Token, WeakToken};
pub use admin::{Admin, Refusal};
pub use metrics::{Family, Kind, Sample, Snapshot};
pub use server::{BindError, Options, Server};
pub use status::{
    Cleaning, Configuration, HeldTombstones, Lost, Opening, Partition, Plugin, Refused, State, Status,
    Storage, Topic,
};
