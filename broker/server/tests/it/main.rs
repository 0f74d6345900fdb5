//! A broker in this process, driven over sockets.

mod consumer_groups;
mod hostile;
mod old_clients;
mod produce_fetch;
mod running;
mod topics;
