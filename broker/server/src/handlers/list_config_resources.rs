//! ListConfigResources (74): what has settings: topics, groups, client metrics, and the broker. Version 0 asks for
//! client metrics alone.

use flumen_auth::Operation;
use flumen_protocol::messages::list_config_resources_response::ConfigResource;
use flumen_protocol::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use flumen_protocol::{ErrorCode, message};

use super::config_resources::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::access::Resource;
use crate::ctx::Ctx;

const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    if let Err(error) = ctx.may(Operation::DescribeConfigs, Resource::Cluster) {
        return message!(ListConfigResourcesResponse { error_code: error.code() });
    }
    let wanted = match (version, &request.resource_types[..]) {
        (0, _) => &[CLIENT_METRICS][..],
        (_, []) => &ALL[..],
        (_, some) => some,
    };
    if !wanted.iter().all(|kind| ALL.contains(kind)) {
        return message!(ListConfigResourcesResponse { error_code: ErrorCode::UnsupportedVersion.code() });
    }
    let mut config_resources = Vec::new();
    let mut add = |resource_type: i8, name: &str| {
        config_resources.push(message!(ConfigResource { resource_name: name.into(), resource_type }));
    };
    if wanted.contains(&TOPIC) {
        ctx.broker.topics().all().iter().for_each(|topic| add(TOPIC, &topic.name));
    }
    for kind in [BROKER, BROKER_LOGGER].into_iter().filter(|kind| wanted.contains(kind)) {
        add(kind, &ctx.node_id().to_string());
    }
    if wanted.contains(&CLIENT_METRICS) {
        ctx.broker.client_metrics().names().iter().for_each(|name| add(CLIENT_METRICS, name));
    }
    if wanted.contains(&GROUP) {
        ctx.broker.group_configs().names().iter().for_each(|group| add(GROUP, group));
    }
    message!(ListConfigResourcesResponse { config_resources })
}
