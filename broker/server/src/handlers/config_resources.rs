//! What has settings, by Kafka's types of resources, and who may see and change them.

use flumen_auth::Operation;
use flumen_protocol::ErrorCode;
use flumen_protocol::message;
use flumen_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};

use super::config_edit::Edit;
use super::refusal::Refusal;
use super::{broker_settings, client_metrics_settings, group_settings, topic_settings};
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(crate) const GROUP: i8 = 32;

/// DescribeConfigs' numbers of where a value comes from.
pub(crate) mod source {
    pub(crate) const TOPIC: i8 = 1;
    pub(crate) const BROKER: i8 = 2;
    pub(crate) const ALL_BROKERS: i8 = 3;
    pub(crate) const STATIC_BROKER: i8 = 4;
    pub(crate) const DEFAULT: i8 = 5;
    pub(crate) const CLIENT_METRICS: i8 = 7;
    pub(crate) const GROUP: i8 = 8;
}

pub(crate) fn describe(
    ctx: &Ctx,
    kind: i8,
    name: &str,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    match kind {
        TOPIC => topic_settings::describe(ctx, name),
        BROKER => broker_settings::describe(ctx, name),
        CLIENT_METRICS => client_metrics_settings::describe(ctx, name),
        GROUP => group_settings::describe(ctx, name),
        other => Err(no_settings(other)),
    }
}

pub(crate) async fn alter(
    ctx: &Ctx,
    kind: i8,
    name: &str,
    edit: &Edit,
    validate_only: bool,
) -> Result<(), Refusal> {
    match kind {
        TOPIC => topic_settings::alter(ctx, name, edit, validate_only).await,
        BROKER => broker_settings::alter(ctx, name, edit, validate_only).await,
        CLIENT_METRICS => client_metrics_settings::alter(ctx, name, edit, validate_only).await,
        GROUP => group_settings::alter(ctx, name, edit, validate_only).await,
        other => Err(no_settings(other)),
    }
}

/// Whether the sender may see or change a resource's settings; asked before anything else.
pub(crate) fn may(ctx: &Ctx, operation: Operation, kind: i8, name: &str) -> Result<(), ErrorCode> {
    ctx.may(
        operation,
        match kind {
            TOPIC => Resource::Topic(name),
            GROUP => Resource::Group(name),
            _ => Resource::Cluster,
        },
    )
}

fn no_settings(kind: i8) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, format!("resources of type {kind} have no settings here"))
}

pub(crate) fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    message!(DescribeConfigsSynonym { name: name.into(), value: Some(value.into()), source })
}
