//! DescribeLogDirs (35): how much room the partitions take in the one data directory.

use std::collections::HashSet;

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use flumen_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::access::Resource;
use crate::ctx::Ctx;
use crate::partition_log::PartitionLog;

pub(crate) async fn handle(ctx: &Ctx, request: DescribeLogDirsRequest, _: i16) -> DescribeLogDirsResponse {
    if let Err(error) = ctx.may(Operation::Describe, Resource::Cluster) {
        return message!(DescribeLogDirsResponse { error_code: error.code() });
    }
    // None at all: every topic.
    let wanted: Option<HashSet<(String, i32)>> = request.topics.map(|topics| {
        let pairs = topics.into_iter().flat_map(|topic| {
            let name = topic.topic.to_string();
            topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
        });
        pairs.collect()
    });
    let mut topics = Vec::new();
    for topic in ctx.broker.topics().all() {
        let asked = |log: &&std::sync::Arc<dyn PartitionLog>| {
            let key = (topic.name.to_string(), log.id().partition.0);
            wanted.as_ref().is_none_or(|wanted| wanted.contains(&key))
        };
        let partitions: Vec<_> = topic.partitions.iter().filter(asked).map(describe).collect();
        if !partitions.is_empty() {
            topics.push(message!(DescribeLogDirsTopic { name: (&*topic.name).into(), partitions }));
        }
    }
    let dir = &ctx.broker.options().dir;
    let (total_bytes, usable_bytes) = room(dir);
    let log_dir = dir.canonicalize().unwrap_or_else(|_| dir.clone()).display().to_string();
    let result =
        message!(DescribeLogDirsResult { log_dir: log_dir.into(), topics, total_bytes, usable_bytes });
    message!(DescribeLogDirsResponse { results: vec![result] })
}

fn describe(log: &std::sync::Arc<dyn PartitionLog>) -> DescribeLogDirsPartition {
    let marks = log.marks();
    message!(DescribeLogDirsPartition {
        partition_index: log.id().partition.0,
        partition_size: i64::try_from(log.size_bytes()).unwrap_or(i64::MAX),
        offset_lag: marks.end.since(marks.high_watermark),
    })
}

/// Of the volume: all bytes, and those that can be used. -1 where the system does not say.
fn room(dir: &std::path::Path) -> (i64, i64) {
    let Ok(stat) = rustix::fs::statvfs(dir) else { return (-1, -1) };
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(stat.f_frsize)).unwrap_or(i64::MAX);
    (bytes(stat.f_blocks), bytes(stat.f_bavail))
}
