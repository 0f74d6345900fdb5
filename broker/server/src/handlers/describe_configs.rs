//! DescribeConfigs (32): the settings in force of topics, brokers, groups and client metrics, and where each comes
//! from.

use flumen_auth::Operation;
use flumen_protocol::messages::describe_configs_request::DescribeConfigsResource;
use flumen_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use flumen_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use flumen_protocol::{ErrorCode, message};

use super::config_resources;
use super::refusal::Refusal;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: DescribeConfigsRequest, _: i16) -> DescribeConfigsResponse {
    let wishes = Wishes { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let results = request.resources.into_iter().map(|resource| {
        let described = describe(ctx, resource.resource_type, &resource.resource_name);
        let (configs, refusal) = match described {
            Ok(settings) => (choose(settings, &resource, &wishes), None),
            Err(refusal) => (Vec::new(), Some(refusal)),
        };
        message!(DescribeConfigsResult {
            error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
            error_message: Some(refusal.and_then(|refusal| refusal.words()).unwrap_or_default()),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            configs,
        })
    });
    message!(DescribeConfigsResponse { results: results.collect() })
}

fn describe(ctx: &Ctx, kind: i8, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    config_resources::may(ctx, Operation::DescribeConfigs, kind, name)?;
    config_resources::describe(ctx, kind, name)
}

/// What is told beside the values.
struct Wishes {
    synonyms: bool,
    documentation: bool,
}

fn choose(
    settings: Vec<DescribeConfigsResourceResult>,
    resource: &DescribeConfigsResource,
    wishes: &Wishes,
) -> Vec<DescribeConfigsResourceResult> {
    let wanted = |name: &str| match &resource.configuration_keys {
        Some(keys) if !keys.is_empty() => keys.iter().any(|key| &**key == name),
        _ => true,
    };
    let mut settings: Vec<_> = settings.into_iter().filter(|setting| wanted(&setting.name)).collect();
    for setting in &mut settings {
        if !wishes.synonyms {
            setting.synonyms.clear();
        }
        if !wishes.documentation {
            setting.documentation = None;
        }
    }
    settings
}
