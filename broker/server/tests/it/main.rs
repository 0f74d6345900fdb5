//! A broker in this process, driven over sockets.

mod hostile;
mod produce_fetch;
mod running;
mod topics;
