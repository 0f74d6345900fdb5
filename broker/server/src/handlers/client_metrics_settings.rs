//! What clients are asked to tell of themselves (KIP-714), as Kafka's admin APIs tell and change it.

use flumen_protocol::ErrorCode;
use flumen_protocol::message;
use flumen_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;

use super::config_edit::Edit;
use super::config_resources::{source, synonym};
use super::refusal::Refusal;
use crate::client_metrics::{KEYS, Kind, Wrong, check};
use crate::config_file::Texts;
use crate::ctx::Ctx;

const INT: i8 = 3;
const LIST: i8 = 7;

impl From<Wrong> for Refusal {
    fn from(wrong: Wrong) -> Refusal {
        match wrong {
            Wrong::Request(words) => Refusal::new(ErrorCode::InvalidRequest, words),
            Wrong::Config(words) => Refusal::new(ErrorCode::InvalidConfig, words),
        }
    }
}

pub(crate) fn describe(ctx: &Ctx, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    check_name(name)?;
    let set = ctx.broker.client_metrics().texts(name);
    let settings = KEYS.iter().map(|key| {
        let own = set.get(key.name);
        message!(DescribeConfigsResourceResult {
            name: key.name.into(),
            value: Some(own.map_or(key.default, String::as_str).into()),
            config_source: if own.is_some() { source::CLIENT_METRICS } else { source::DEFAULT },
            synonyms: own.map(|value| synonym(key.name, value, source::CLIENT_METRICS)).into_iter().collect(),
            config_type: match key.kind {
                Kind::Number => INT,
                Kind::List => LIST,
            },
            documentation: Some(key.doc.into()),
        })
    });
    Ok(settings.collect())
}

pub(crate) async fn alter(ctx: &Ctx, name: &str, edit: &Edit, validate_only: bool) -> Result<(), Refusal> {
    check_name(name)?;
    let change = |texts: &mut Texts| {
        // As with Kafka, these are lists that do not grow and shrink.
        edit.apply(texts, |_| None).map_err(|words| Refusal::new(ErrorCode::InvalidConfig, words))?;
        check(texts).map_err(Refusal::from)
    };
    ctx.broker.client_metrics().edit(name, validate_only, change).await
}

fn check_name(name: &str) -> Result<(), Refusal> {
    match name.is_empty() {
        true => Err(Refusal::new(ErrorCode::InvalidRequest, "Subscription name can't be empty")),
        false => Ok(()),
    }
}
