//! The same requests to Flumen and to Apache Kafka, and what differs in the answers.
//!
//! A case (`cases/<area>/<name>.case`) is read by [`script`], and played by [`play`] against any broker.
//! Requests are written and answers read by Kafka's own message definitions ([`definition`], [`encode`],
//! [`decode`]), so that every API and version can be said, well or badly formed, and nothing here trusts
//! the broker's codec. What no two brokers can agree on is masked ([`mask`]); the rest is compared leaf by
//! leaf ([`compare`]) with what Apache Kafka answered ([`transcript`]), and a difference is either ours to
//! mend or is explained ([`known`]).
//!
//! README.md says how a case is written and how answers are recorded.

pub mod brokers;
pub mod catalog;
pub mod compare;
pub mod connection;
pub mod decode;
pub mod definition;
pub mod encode;
pub mod jar;
pub mod known;
pub mod mask;
pub mod path;
pub mod play;
pub mod records;
pub mod script;
pub mod text;
pub mod transcript;
pub mod value;
pub mod wire;
