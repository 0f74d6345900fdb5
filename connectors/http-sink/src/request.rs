//! What is sent and what comes back, apart from how.

use std::time::Duration;

use crate::config::Method;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub url: &'a str,
    pub method: Method,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// As it was sent.
    pub retry_after: Option<String>,
    /// Its beginning, for a person.
    pub body: String,
}

/// How a request travels. Contract: an error means that the service may or may not have had it.
pub trait Transport: Default + 'static {
    fn send(&mut self, request: &Request<'_>) -> Result<Answer, String>;

    /// Milliseconds since 1970, to make sense of a date in Retry-After.
    fn now_ms(&self) -> i64;
}
