//! IncrementalAlterConfigs (44): changes settings of topics, brokers, groups and client metrics one by one.

use std::collections::BTreeSet;

use flumen_auth::Operation;
use flumen_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use flumen_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use flumen_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use flumen_protocol::{ErrorCode, message};

use super::config_edit::{DELETE, Edit};
use super::config_resources;
use super::refusal::Refusal;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: IncrementalAlterConfigsRequest,
    _: i16,
) -> IncrementalAlterConfigsResponse {
    let mut responses = Vec::with_capacity(request.resources.len());
    for resource in request.resources {
        let refusal = alter(ctx, &resource, request.validate_only).await.err();
        responses.push(message!(AlterConfigsResourceResponse {
            error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
            error_message: refusal.and_then(|refusal| refusal.words()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        }));
    }
    message!(IncrementalAlterConfigsResponse { responses })
}

async fn alter(ctx: &Ctx, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let (kind, name) = (resource.resource_type, &resource.resource_name);
    config_resources::may(ctx, Operation::AlterConfigs, kind, name)?;
    let mut seen = BTreeSet::new();
    if let Some(twice) = resource.configs.iter().find(|config| !seen.insert(&*config.name)) {
        let words = format!("the request changes \"{}\" twice", twice.name);
        return Err(Refusal::new(ErrorCode::InvalidRequest, words));
    }
    if let Some(config) = resource.configs.iter().find(|c| c.value.is_none() && c.config_operation != DELETE)
    {
        let words = format!("\"{}\" has no value", config.name);
        return Err(Refusal::new(ErrorCode::InvalidRequest, words));
    }
    let edit = Edit::Changes(resource.configs.clone());
    config_resources::alter(ctx, kind, name, &edit, validate_only).await
}
