//! AlterConfigs (33): replaces all settings of a topic, a broker, a group or a client-metrics resource; what is not
//! named goes back to its default.

use flumen_auth::Operation;
use flumen_log::config::Texts;
use flumen_protocol::messages::alter_configs_request::AlterConfigsResource;
use flumen_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use flumen_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use flumen_protocol::{ErrorCode, message};

use super::config_edit::Edit;
use super::config_resources;
use super::refusal::Refusal;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: AlterConfigsRequest, _: i16) -> AlterConfigsResponse {
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
    message!(AlterConfigsResponse { responses })
}

async fn alter(ctx: &Ctx, resource: &AlterConfigsResource, validate_only: bool) -> Result<(), Refusal> {
    let (kind, name) = (resource.resource_type, &resource.resource_name);
    config_resources::may(ctx, Operation::AlterConfigs, kind, name)?;
    let mut configs = Texts::new();
    for config in &resource.configs {
        let Some(value) = &config.value else {
            let words = format!("\"{}\" has no value", config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    config_resources::alter(ctx, kind, name, &Edit::All(configs), validate_only).await
}
