//! Plugins looked at without a broker: for `flumen check` and `flumen plugin`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flumen_config::Loaded;
use flumen_host::{Databases, GroupOffset, Host, IoError, Log, Options, Producer, Read};
use flumen_types::Offset;

use super::{pipelines, settings, waits};
use crate::cli::Out;

/// The plugins of a file as a start would find them; none is started. A line for each problem.
pub(crate) async fn examine(loaded: &Loaded, out: &Out) -> Result<(), Vec<String>> {
    let specs = pipelines::specs(loaded, false)?;
    if specs.is_empty() {
        return Ok(());
    }
    let host = host_without_broker(settings::plugin_cache(&loaded.config));
    waits::compiling(out, &host, pipelines::check(&host, loaded, specs.values())).await
}

/// A host that can say what a component is, and no more.
pub(crate) fn host_without_broker(cache_dir: PathBuf) -> Host {
    Host::new(Options { cache_dir }, Arc::new(NoLog), Databases::default())
}

struct NoLog;

fn no_broker<T>() -> Result<T, IoError> {
    Err(IoError::Unavailable("there is no broker here".into()))
}

#[async_trait]
impl Log for NoLog {
    async fn partitions(&self, _: &str) -> Result<u32, IoError> {
        no_broker()
    }

    async fn read(&self, _: &str, _: u32, _: Offset, _: usize, _: Duration) -> Result<Read, IoError> {
        no_broker()
    }

    async fn topic_id(&self, _: &str) -> Result<String, IoError> {
        no_broker()
    }

    async fn committed(&self, _: &str, _: &str, _: u32) -> Result<Option<GroupOffset>, IoError> {
        no_broker()
    }

    async fn cursor(&self, _: &str, _: u32) -> Result<Option<Vec<u8>>, IoError> {
        no_broker()
    }

    async fn producer(&self, _: &str) -> Result<Box<dyn Producer>, IoError> {
        no_broker()
    }

    async fn open_transactions(&self, _: &str) -> Result<Vec<String>, IoError> {
        no_broker()
    }

    fn end(&self, _: &str, _: u32) -> Option<Offset> {
        None
    }
}
