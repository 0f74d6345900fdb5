//! AlterConfigs (33): replaces all settings of a topic or of a group; what is not named goes back to its default.

use flumen_log::config::Texts;
use flumen_protocol::messages::alter_configs_request::AlterConfigsResource;
use flumen_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use flumen_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse};
use flumen_protocol::{ErrorCode, message};

use super::group_settings::{self, RESOURCE_GROUP};
use super::incremental_alter_configs::check_resource;
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
    check_resource(ctx, resource.resource_type, &resource.resource_name)?;
    let mut configs = Texts::new();
    for config in &resource.configs {
        let Some(value) = &config.value else {
            let words = format!("\"{}\" has no value", config.name);
            return Err(Refusal::new(ErrorCode::InvalidRequest, words));
        };
        configs.insert(config.name.to_string(), value.to_string());
    }
    if resource.resource_type == RESOURCE_GROUP {
        return group_settings::replace(ctx, &resource.resource_name, configs, validate_only).await;
    }
    let replace = move |old: &mut Texts| {
        *old = configs;
        Ok(())
    };
    ctx.broker.topics().edit_configs(&resource.resource_name, validate_only, replace).await?;
    Ok(())
}
