//! What the HTTP server asks of the application.

use async_trait::async_trait;

use crate::{Partition, Snapshot, Status};

/// The application, as this API sees it.
///
/// Contract: every method may be called at any time from any number of connections. The two that
/// are not async answer at once, from what is known. `reload` runs to its end though its caller may
/// have gone, and does not run twice at a time.
#[async_trait]
pub trait Admin: Send + Sync + 'static {
    /// Why clients are not served yet, or no longer; `None` when they are.
    fn unready(&self) -> Option<String>;

    /// Every metric as it is now.
    fn metrics(&self) -> Snapshot;

    async fn status(&self) -> Status;

    /// The partitions of a topic; `None` if there is no such topic.
    async fn partitions(&self, topic: &str) -> Option<Vec<Partition>>;

    /// Reads the configuration again and applies what changed; the answer says what that was, a
    /// line each.
    async fn reload(&self) -> Result<Vec<String>, Refusal>;

    /// What `reload` would answer now. Changes nothing.
    async fn plan(&self) -> Result<Vec<String>, Refusal>;
}

/// A configuration that was not applied; what ran before goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Each with its place: `flumen.toml:7: unknown key "topcs"; did you mean "topics"?`
    pub problems: Vec<String>,
}
