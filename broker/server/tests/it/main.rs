//! A broker in this process, driven over sockets.

mod acls;
mod hostile;
mod produce_fetch;
mod running;
mod sasl;
mod tls;
mod topics;
mod users;
