//! One file an API: `handle(ctx, request, version) -> response`. Produce and Fetch differ.

pub(crate) mod alter_configs;
pub(crate) mod api_versions;
pub(crate) mod create_partitions;
pub(crate) mod create_topics;
pub(crate) mod delete_records;
pub(crate) mod delete_topics;
pub(crate) mod describe_cluster;
pub(crate) mod describe_configs;
pub(crate) mod describe_topic_partitions;
pub(crate) mod fetch;
pub(crate) mod incremental_alter_configs;
pub(crate) mod list_offsets;
pub(crate) mod metadata;
pub(crate) mod offset_for_leader_epoch;
pub(crate) mod produce;
mod refusal;
mod topic_errors;
mod topic_settings;
