//! A group's settings as Kafka's admin APIs tell and change them.

use flumen_auth::Operation;
use flumen_groups::share::{KEYS, Key, Kind};
use flumen_protocol::ErrorCode;
use flumen_protocol::message;
use flumen_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};
use flumen_protocol::messages::incremental_alter_configs_request::AlterableConfig;
use flumen_store::FileError;

use super::refusal::Refusal;
use super::topic_settings::{SOURCE_DEFAULT, SOURCE_STATIC_BROKER};
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::group_configs::Texts;

/// The type of a group among the resources that have settings.
pub(crate) const RESOURCE_GROUP: i8 = 32;
/// DescribeConfigs' source of a value that a group has set.
const SOURCE_GROUP: i8 = 8;

const SET: i8 = 0;
const DELETE: i8 = 1;

const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;

impl From<FileError> for Refusal {
    fn from(error: FileError) -> Refusal {
        tracing::error!(error = &error as &dyn std::error::Error, "settings of groups cannot be written");
        Refusal::new(ErrorCode::KafkaStorageError, error.to_string())
    }
}

pub(crate) fn describe(ctx: &Ctx, group: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    ctx.may(Operation::DescribeConfigs, Resource::Group(group))?;
    check_name(group)?;
    let configs = ctx.broker.group_configs();
    let (own, broker) = (configs.own(group), &ctx.broker.options().broker_configs);
    let settings = KEYS.iter().map(|key| {
        let default = key.default(configs.defaults());
        let set = own.get(key.name);
        let declared = key.broker.is_some_and(|name| broker.contains_key(name));
        let below = if declared { SOURCE_STATIC_BROKER } else { SOURCE_DEFAULT };
        let mut synonyms: Vec<_> =
            set.map(|value| synonym(key.name, value, SOURCE_GROUP)).into_iter().collect();
        synonyms.extend(key.broker.map(|name| synonym(name, &default, below)));
        message!(DescribeConfigsResourceResult {
            name: key.name.into(),
            value: Some(set.cloned().unwrap_or(default).into()),
            config_source: if set.is_some() { SOURCE_GROUP } else { below },
            synonyms,
            config_type: match key.kind {
                Kind::Boolean => BOOLEAN,
                Kind::Text => STRING,
                Kind::Number => INT,
            },
            documentation: Some(key.doc.into()),
        })
    });
    Ok(settings.collect())
}

fn synonym(name: &str, value: &str, source: i8) -> DescribeConfigsSynonym {
    message!(DescribeConfigsSynonym { name: name.into(), value: Some(value.into()), source })
}

/// Changes settings one by one.
pub(crate) async fn alter(
    ctx: &Ctx,
    group: &str,
    changes: &[AlterableConfig],
    validate_only: bool,
) -> Result<(), Refusal> {
    check_name(group)?;
    let configs = ctx.broker.group_configs();
    let edit = |texts: &mut Texts| {
        for change in changes {
            match (change.config_operation, change.value.as_deref()) {
                (DELETE, _) => drop(texts.remove(&*change.name)),
                (SET, Some(value)) => {
                    checked(ctx, &change.name, value)?;
                    texts.insert(change.name.to_string(), value.to_string());
                }
                _ => {
                    let words = format!("\"{}\" is not a list", change.name);
                    return Err(Refusal::new(ErrorCode::InvalidConfig, words));
                }
            }
        }
        Ok(())
    };
    configs.edit(group, validate_only, edit).await
}

/// Sets these and nothing else.
pub(crate) async fn replace(
    ctx: &Ctx,
    group: &str,
    texts: Texts,
    validate_only: bool,
) -> Result<(), Refusal> {
    check_name(group)?;
    texts.iter().try_for_each(|(name, value)| checked(ctx, name, value))?;
    let replace = |old: &mut Texts| {
        *old = texts;
        Ok::<_, Refusal>(())
    };
    ctx.broker.group_configs().edit(group, validate_only, replace).await
}

fn checked(ctx: &Ctx, name: &str, value: &str) -> Result<(), Refusal> {
    let wrong = |words: String| Refusal::new(ErrorCode::InvalidConfig, words);
    let key = Key::find(name).ok_or_else(|| wrong(format!("Unknown group config name: {name}")))?;
    key.check(value, ctx.broker.group_configs().defaults()).map_err(wrong)
}

fn check_name(group: &str) -> Result<(), Refusal> {
    match group.is_empty() {
        true => Err(Refusal::new(ErrorCode::InvalidRequest, "a group's name may not be empty")),
        false => Ok(()),
    }
}
