//! The admin API from the first moment on: while the data directory is opened it tells how far that is, then
//! it is the [`Office`]. In between, while plugins are compiled, who asks for more than a word waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use flumen_http::{Admin, Partition, Refusal, Snapshot, Status};
use flumen_server::Progress;
use tokio::sync::SetOnce;

use super::admin::Office;
use super::{log_metrics, log_status};
use crate::cli::format;

pub(super) struct Front {
    pub(super) office: SetOnce<Office>,
    /// The data directory is open.
    pub(super) opened: AtomicBool,
    pub(super) progress: Arc<Progress>,
    pub(super) started_ms: i64,
    pub(super) data_dir: String,
}

impl Front {
    /// `None` while the data directory is opened.
    async fn office(&self) -> Option<&Office> {
        if self.opened.load(Ordering::Relaxed) { Some(self.office.wait().await) } else { None }
    }

    fn starting() -> Refusal {
        Refusal { problems: vec!["the broker is starting".into()] }
    }
}

#[async_trait]
impl Admin for Front {
    fn unready(&self) -> Option<String> {
        match self.office.get() {
            Some(office) => office.unready(),
            None if self.opened.load(Ordering::Relaxed) => Some("its plugins are being started".into()),
            None => Some(format::opening(&log_status::opening(self.progress.at(Instant::now())))),
        }
    }

    fn metrics(&self) -> Snapshot {
        let mut snapshot = self.office.get().map(Admin::metrics).unwrap_or_default();
        log_metrics::opening(&mut snapshot, &self.progress.at(Instant::now()));
        snapshot
    }

    async fn status(&self) -> Status {
        match self.office().await {
            Some(office) => office.status().await,
            None => Status {
                version: env!("CARGO_PKG_VERSION").into(),
                started_ms: self.started_ms,
                data_dir: self.data_dir.clone(),
                opening: Some(log_status::opening(self.progress.at(Instant::now()))),
                ..Status::default()
            },
        }
    }

    async fn partitions(&self, topic: &str) -> Option<Vec<Partition>> {
        self.office().await?.partitions(topic).await
    }

    async fn reload(&self) -> Result<Vec<String>, Refusal> {
        self.office().await.ok_or_else(Front::starting)?.reload().await
    }

    async fn plan(&self) -> Result<Vec<String>, Refusal> {
        self.office().await.ok_or_else(Front::starting)?.plan().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn while_the_directory_is_opened_it_tells_how_far_that_is() {
        let front = Front {
            office: SetOnce::new(),
            opened: AtomicBool::new(false),
            progress: Arc::default(),
            started_ms: 7,
            data_dir: "data".into(),
        };
        assert!(front.unready().unwrap().starts_with("it is starting: 0 of 0 partitions"));
        let status = front.status().await;
        assert_eq!((status.started_ms, status.opening.is_some()), (7, true));
        assert!(front.metrics().render().contains("flumen_recovery_read_bytes 0\n"));
        assert!(front.reload().await.unwrap_err().problems[0].contains("starting"));
        front.opened.store(true, Ordering::Relaxed);
        assert_eq!(front.unready().as_deref(), Some("its plugins are being started"));
    }
}
