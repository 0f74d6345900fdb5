//! A broker in this process, driven over sockets.

mod acls;
mod configs;
mod consumer_groups;
mod features;
mod hostile;
mod old_clients;
mod produce_fetch;
mod quotas;
mod running;
mod sasl;
mod share_groups;
mod streams_groups;
mod telemetry;
mod tls;
mod topics;
mod users;
