//! DescribeClientQuotas (48): quotas whose entities fit a filter, from the file and from the API.

use flumen_auth::Operation;
use flumen_auth::quota::{Entity, Name};
use flumen_protocol::messages::describe_client_quotas_request::ComponentData;
use flumen_protocol::messages::describe_client_quotas_response::{EntityData, EntryData, ValueData};
use flumen_protocol::messages::{DescribeClientQuotasRequest, DescribeClientQuotasResponse};
use flumen_protocol::{ErrorCode, message};

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::security::QuotaValues;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeClientQuotasRequest,
    _: i16,
) -> DescribeClientQuotasResponse {
    let may = ctx.may(Operation::DescribeConfigs, Resource::Cluster).map_err(Refusal::from);
    let filter = may.and_then(|()| Filter::read(&request));
    match filter {
        Err(refusal) => message!(DescribeClientQuotasResponse {
            error_code: refusal.error.code(),
            error_message: refusal.words(),
            entries: None,
        }),
        Ok(filter) => {
            let state = ctx.broker.security().state();
            let fits = state.quotas().into_iter().filter(|(entity, _)| filter.fits(entity));
            message!(DescribeClientQuotasResponse {
                // As Kafka has it, not null.
                error_message: Some("".into()),
                entries: Some(fits.map(|(entity, quotas)| entry(entity, quotas)).collect()),
            })
        }
    }
}

fn entry(entity: &Entity, quotas: &QuotaValues) -> EntryData {
    let parts = entity.parts().into_iter().map(|(kind, name)| {
        message!(EntityData { entity_type: kind.into(), entity_name: name.named().map(Into::into) })
    });
    let values =
        quotas.iter().map(|(key, value)| message!(ValueData { key: key.as_str().into(), value: *value }));
    message!(EntryData { entity: parts.collect(), values: values.collect() })
}

/// What is asked of each kind of name.
struct Filter {
    /// `None`: any name of this kind.
    parts: Vec<(&'static str, Option<Name>)>,
    /// The entity has no other kinds.
    strict: bool,
}

impl Filter {
    fn read(request: &DescribeClientQuotasRequest) -> Result<Filter, Refusal> {
        let wrong = |words: &str| Refusal::new(ErrorCode::InvalidRequest, words);
        let mut parts: Vec<(&'static str, Option<Name>)> = Vec::new();
        for component in &request.components {
            if component.entity_type.is_empty() {
                return Err(wrong("Invalid empty entity type."));
            }
            let kind = kind(&component.entity_type)?;
            if parts.iter().any(|(other, _)| *other == kind) {
                let words = format!("Entity type {kind} cannot appear more than once in the filter.");
                return Err(wrong(&words));
            }
            parts.push((kind, matching(component).map_err(wrong)?));
        }
        let has = |kind| parts.iter().any(|(other, _)| *other == kind);
        if has(Entity::IP) && (has(Entity::USER) || has(Entity::CLIENT_ID)) {
            return Err(wrong("An address is not filtered together with a user or a client id."));
        }
        Ok(Filter { parts, strict: request.strict })
    }

    fn fits(&self, entity: &Entity) -> bool {
        let has = entity.parts();
        if self.strict && has.len() != self.parts.len() {
            return false;
        }
        self.parts.iter().all(|(kind, wanted)| {
            let found = has.iter().find(|(other, _)| other == kind);
            found.is_some_and(|(_, name)| wanted.as_ref().is_none_or(|wanted| wanted == *name))
        })
    }
}

fn kind(word: &str) -> Result<&'static str, Refusal> {
    let kinds = [Entity::USER, Entity::CLIENT_ID, Entity::IP];
    kinds
        .into_iter()
        .find(|kind| *kind == word)
        .ok_or_else(|| Refusal::new(ErrorCode::UnsupportedVersion, format!("Unsupported entity type {word}")))
}

fn matching(component: &ComponentData) -> Result<Option<Name>, &'static str> {
    match (component.match_type, component.match_.as_deref()) {
        (0, Some(name)) => Ok(Some(Name::Named(name.into()))),
        (0, None) => Err("Request specified MATCH_TYPE_EXACT, but set match string to null."),
        (1, None) => Ok(Some(Name::Default)),
        (2, None) => Ok(None),
        (1 | 2, Some(_)) => Err("Request specified a match type without a name, but also a name."),
        _ => Err("Unknown match type"),
    }
}
