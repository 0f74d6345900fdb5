//! IncrementalAlterConfigs (44): changes settings of topics and of groups one by one.

use std::collections::BTreeSet;

use flumen_auth::Operation;
use flumen_log::config::{Texts, effective};
use flumen_log::keys::{self, Kind};
use flumen_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use flumen_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use flumen_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use flumen_protocol::{ErrorCode, message};

use super::describe_configs::RESOURCE_TOPIC;
use super::group_settings::{self, RESOURCE_GROUP};
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

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
    check_resource(ctx, resource.resource_type, &resource.resource_name)?;
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
    if resource.resource_type == RESOURCE_GROUP {
        return group_settings::alter(ctx, &resource.resource_name, &resource.configs, validate_only).await;
    }
    let broker = &ctx.broker.options().broker_configs;
    let changes = resource.configs.clone();
    let edit =
        move |configs: &mut Texts| changes.iter().try_for_each(|change| apply(configs, broker, change));
    ctx.broker.topics().edit_configs(&resource.resource_name, validate_only, edit).await?;
    Ok(())
}

/// Only topics and groups are changed over the wire; the broker's own settings have their file.
pub(crate) fn check_resource(ctx: &Ctx, resource_type: i8, name: &str) -> Result<(), Refusal> {
    match resource_type {
        RESOURCE_TOPIC => Ok(ctx.may(Operation::AlterConfigs, Resource::Topic(name))?),
        RESOURCE_GROUP => Ok(ctx.may(Operation::AlterConfigs, Resource::Group(name))?),
        _ => {
            ctx.may(Operation::AlterConfigs, Resource::Cluster)?;
            let words = "only settings of topics and groups are changed here; the broker's are in its configuration file";
            Err(Refusal::new(ErrorCode::InvalidRequest, words))
        }
    }
}

fn apply(configs: &mut Texts, broker: &Texts, change: &AlterableConfig) -> Result<(), String> {
    let name = change.name.to_string();
    if change.config_operation == DELETE {
        configs.remove(&name);
        return Ok(());
    }
    let key = keys::find(&name).ok_or_else(|| format!("unknown topic key \"{name}\""))?;
    let value = change.value.as_deref().ok_or_else(|| format!("\"{name}\" has no value"))?;
    let new = match change.config_operation {
        SET => value.to_string(),
        APPEND | SUBTRACT if key.kind != Kind::List => return Err(format!("\"{name}\" is not a list")),
        APPEND => {
            let (now, _) = effective(key, configs, broker);
            let mut parts: Vec<_> = list(now).collect();
            let fresh: Vec<_> = list(value).filter(|part| !parts.contains(part)).collect();
            parts.extend(fresh);
            parts.join(",")
        }
        SUBTRACT => {
            let (now, _) = effective(key, configs, broker);
            list(now).filter(|part| !list(value).any(|gone| gone == *part)).collect::<Vec<_>>().join(",")
        }
        other => return Err(format!("{other} is not an operation on a setting")),
    };
    configs.insert(name, new);
    Ok(())
}

fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(operation: i8, name: &str, value: Option<&str>) -> Result<Option<String>, String> {
        let mut configs = Texts::from([("cleanup.policy".into(), "compact".into())]);
        let change = message!(AlterableConfig {
            name: name.into(),
            config_operation: operation,
            value: value.map(Into::into),
        });
        apply(&mut configs, &Texts::new(), &change)?;
        Ok(configs.get(name).cloned())
    }

    #[test]
    fn values_are_set_removed_and_lists_grow_and_shrink() {
        assert_eq!(after(SET, "retention.ms", Some("5")), Ok(Some("5".into())));
        assert_eq!(after(DELETE, "cleanup.policy", None), Ok(None));
        assert_eq!(
            after(APPEND, "cleanup.policy", Some("delete,compact")),
            Ok(Some("compact,delete".into()))
        );
        assert_eq!(after(SUBTRACT, "cleanup.policy", Some("compact")), Ok(Some("".into())));
    }

    #[test]
    fn what_cannot_be_is_said() {
        assert!(after(SET, "retention", Some("5")).unwrap_err().contains("unknown"));
        assert!(after(APPEND, "retention.ms", Some("5")).unwrap_err().contains("not a list"));
        assert!(after(SET, "retention.ms", None).unwrap_err().contains("no value"));
    }
}
