//! One file an API: `handle(ctx, request, version) -> response`. Produce and Fetch differ.

pub(crate) mod api_versions;
pub(crate) mod fetch;
pub(crate) mod metadata;
pub(crate) mod produce;
mod topic_errors;
