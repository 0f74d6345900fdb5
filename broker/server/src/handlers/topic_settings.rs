//! A topic's settings as Kafka's admin APIs tell and change them.

use flumen_log::config::{Origin, Texts, effective, normalise};
use flumen_log::keys::{self, KEYS, Key, Kind};
use flumen_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsSynonym,
};
use flumen_protocol::{ErrorCode, message};

use super::config_edit::Edit;
use super::config_resources::{source, synonym};
use super::refusal::Refusal;
use crate::broker_configs::{BrokerConfigs, Layer};
use crate::ctx::Ctx;

pub(crate) struct Setting {
    pub(crate) key: &'static Key,
    /// As Kafka's tools write it.
    pub(crate) value: String,
    pub(crate) source: i8,
    synonyms: Vec<DescribeConfigsSynonym>,
}

/// Every key that a topic has, with the value in force.
pub(crate) fn settings(topic: &Texts, broker: &BrokerConfigs) -> Vec<Setting> {
    let in_force = broker.in_force();
    let setting = |key: &'static Key| {
        let (value, origin) = effective(key, topic, &in_force);
        let own = topic.get(key.name).map(|value| synonym(key.name, &plain(key, value), source::TOPIC));
        let mut synonyms: Vec<_> = own.into_iter().collect();
        if let Some(name) = key.broker {
            synonyms.extend(broker_synonyms(key, name, broker));
        }
        let source = match origin {
            Origin::Default => source::DEFAULT,
            Origin::Topic | Origin::Broker => synonyms.first().map_or(source::DEFAULT, |first| first.source),
        };
        Setting { key, value: plain(key, value), source, synonyms }
    };
    KEYS.iter().map(setting).collect()
}

/// What the broker's own key says, the value in force first.
pub(crate) fn broker_synonyms(
    key: &Key,
    name: &str,
    broker: &BrokerConfigs,
) -> impl Iterator<Item = DescribeConfigsSynonym> {
    let layers = broker.layers(name).into_iter();
    let said = layers.map(|(layer, value)| synonym(name, &plain(key, &value), source_of(layer)));
    said.chain([synonym(name, key.default, source::DEFAULT)])
}

pub(crate) fn source_of(layer: Layer) -> i8 {
    match layer {
        Layer::Declared => source::STATIC_BROKER,
        Layer::Broker => source::BROKER,
        Layer::All => source::ALL_BROKERS,
    }
}

pub(crate) fn describe(ctx: &Ctx, name: &str) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    if !flumen_store::is_topic_name(name) {
        let words = format!("no topic can be called {name:?}");
        return Err(Refusal::new(ErrorCode::InvalidTopicException, words));
    }
    let unknown = || Refusal::new(ErrorCode::UnknownTopicOrPartition, format!("there is no topic {name}"));
    let topic = ctx.broker.topic(name).ok_or_else(unknown)?;
    let settings = settings(&topic.record.configs, ctx.broker.configs()).into_iter().map(|setting| {
        message!(DescribeConfigsResourceResult {
            name: setting.key.name.into(),
            value: Some(setting.value.into()),
            config_source: setting.source,
            synonyms: setting.synonyms,
            config_type: kind(setting.key.kind),
            documentation: Some(setting.key.doc.into()),
        })
    });
    Ok(settings.collect())
}

pub(crate) async fn alter(ctx: &Ctx, name: &str, edit: &Edit, validate_only: bool) -> Result<(), Refusal> {
    let in_force = ctx.broker.configs().in_force();
    let list = |name: &str| {
        let key = keys::find(name).filter(|key| key.kind == Kind::List)?;
        Some(effective(key, &Texts::new(), &in_force).0.to_string())
    };
    if let Some(topic) = ctx.broker.topic(name) {
        let (before, mut after) = (&topic.record.configs, topic.record.configs.clone());
        let declared = ctx.broker.declared_configs();
        if edit.apply(&mut after, list).is_ok()
            && let Some(words) = declared.topic_refusal(name, before, &after)
        {
            return Err(Refusal::new(ErrorCode::PolicyViolation, words));
        }
    }
    let change = |configs: &mut Texts| edit.apply(configs, list);
    ctx.broker.topics().edit_configs(name, validate_only, change).await?;
    Ok(())
}

/// A value as Kafka's tools write it: what is in force has been checked, so that it can be.
pub(crate) fn plain(key: &Key, value: &str) -> String {
    normalise(key, value).unwrap_or_else(|_| value.to_string())
}

/// DescribeConfigs' number of a kind.
pub(crate) fn kind(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::Text => 2,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
    }
}
