//! A group's settings as Kafka's admin APIs tell and change them.

use flumen_groups::settings::{self, Kind};
use flumen_protocol::ErrorCode;
use flumen_protocol::message;
use flumen_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

use super::config_edit::Edit;
use super::config_resources::{source, synonym};
use super::refusal::Refusal;
use crate::config_file::Texts;
use crate::ctx::Ctx;

const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;

pub(crate) fn describe(ctx: &Ctx, group: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    check_name(group)?;
    let configs = ctx.broker.group_configs();
    let (own, broker) = (configs.own(group), ctx.broker.configs().in_force());
    let settings = settings::keys().map(|key| {
        let default = key.default(configs.defaults());
        let set = own.get(key.name);
        let declared = key.broker.is_some_and(|name| broker.contains_key(name));
        let below = if declared { source::STATIC_BROKER } else { source::DEFAULT };
        let mut synonyms: Vec<_> =
            set.map(|value| synonym(key.name, value, source::GROUP)).into_iter().collect();
        synonyms.push(synonym(key.broker.unwrap_or(key.name), &default, below));
        message!(DescribeConfigsResourceResult {
            name: key.name.into(),
            value: Some(set.cloned().unwrap_or(default).into()),
            config_source: if set.is_some() { source::GROUP } else { below },
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

pub(crate) async fn alter(ctx: &Ctx, group: &str, edit: &Edit, validate_only: bool) -> Result<(), Refusal> {
    check_name(group)?;
    let configs = ctx.broker.group_configs();
    let wrong = |words: String| Refusal::new(ErrorCode::InvalidConfig, words);
    let change = |texts: &mut Texts| {
        edit.apply(texts, |_| None).map_err(wrong)?;
        settings::check(texts, configs.defaults()).map_err(wrong)
    };
    configs.edit(group, validate_only, change).await
}

fn check_name(group: &str) -> Result<(), Refusal> {
    match group.is_empty() {
        true => Err(Refusal::new(ErrorCode::InvalidRequest, "a group's name may not be empty")),
        false => Ok(()),
    }
}
