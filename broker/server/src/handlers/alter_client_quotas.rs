//! AlterClientQuotas (49): quotas of users, clients and addresses, set and taken away; each entity's are changed as
//! a whole or not at all. Quotas that the configuration declares are changed there.

use std::collections::BTreeMap;
use std::net::IpAddr;

use flumen_auth::Operation;
use flumen_auth::quota::{Entity, Name, key_of};
use flumen_protocol::messages::alter_client_quotas_request::{EntryData as Wanted, OpData};
use flumen_protocol::messages::alter_client_quotas_response::{EntityData, EntryData};
use flumen_protocol::messages::{AlterClientQuotasRequest, AlterClientQuotasResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::security::{Declared, QuotaValues, Stored};

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AlterClientQuotasRequest,
    _: i16,
) -> AlterClientQuotasResponse {
    let results = match ctx.may(Operation::AlterConfigs, Resource::Cluster) {
        Ok(()) => alter(ctx, &request).await,
        Err(error) => Err(error.into()),
    };
    let results = results.unwrap_or_else(|refusal| vec![Err(refusal); request.entries.len()]);
    let entries = request.entries.into_iter().zip(results).map(|(wanted, result)| {
        let refusal = result.err();
        let mut parts = wanted.entity;
        // As Kafka tells them, whatever the order in which they came.
        let kinds = [Entity::CLIENT_ID, Entity::USER, Entity::IP];
        parts.sort_by_key(|part| kinds.iter().position(|kind| *kind == &*part.entity_type));
        let entity = parts.into_iter().map(|part| {
            message!(EntityData { entity_type: part.entity_type, entity_name: part.entity_name })
        });
        message!(EntryData {
            error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
            error_message: refusal.and_then(|refusal| refusal.words()),
            entity: entity.collect(),
        })
    });
    message!(AlterClientQuotasResponse { entries: entries.collect() })
}

type Results = Vec<Result<(), Refusal>>;

async fn alter(ctx: &Ctx, request: &AlterClientQuotasRequest) -> Result<Results, Refusal> {
    let edited = ctx.broker.security().edit(|stored, declared| {
        let mut changed = stored.clone();
        let change = |wanted| change(&mut changed, declared, wanted);
        let results: Results = request.entries.iter().map(change).collect();
        if !request.validate_only {
            *stored = changed;
        }
        results
    });
    edited.await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "quotas could not be kept");
        ErrorCode::KafkaStorageError.into()
    })
}

fn change(stored: &mut Stored, declared: &Declared, wanted: &Wanted) -> Result<(), Refusal> {
    let entity = entity(wanted)?;
    if let Some((_, place)) = declared.quotas.get(&entity) {
        let words = format!("the quotas of {entity} are declared at {place}; change them there");
        return Err(Refusal::new(ErrorCode::PolicyViolation, words));
    }
    let mut quotas = stored.quotas.get(&entity).cloned().unwrap_or_default();
    apply(&mut quotas, &entity, &wanted.ops)?;
    match quotas.is_empty() {
        true => drop(stored.quotas.remove(&entity)),
        false => drop(stored.quotas.insert(entity, quotas)),
    }
    Ok(())
}

fn apply(quotas: &mut QuotaValues, entity: &Entity, ops: &[OpData]) -> Result<(), Refusal> {
    let mut seen: BTreeMap<&str, ()> = BTreeMap::new();
    for op in ops {
        if seen.insert(&op.key, ()).is_some() {
            return Err(wrong(format!("Duplicate quota key {}", op.key)));
        }
        if op.remove {
            quotas.remove(&*op.key);
            continue;
        }
        let key = key_of(entity, &op.key);
        let key = key.ok_or_else(|| wrong(format!("Invalid configuration key {}", op.key)))?;
        key.check(op.value).map_err(wrong)?;
        quotas.insert(op.key.to_string(), op.value);
    }
    Ok(())
}

fn entity(wanted: &Wanted) -> Result<Entity, Refusal> {
    let (mut user, mut client, mut ip) = (None, None, None);
    for part in &wanted.entity {
        let name = Some(Name::new(part.entity_name.as_deref()));
        match &*part.entity_type {
            Entity::USER => user = name,
            Entity::CLIENT_ID => client = name,
            Entity::IP => ip = name,
            other => return Err(wrong(format!("Unhandled client quota entity type: {other}"))),
        }
        if part.entity_name.as_ref().is_some_and(StrBytes::is_empty) {
            return Err(wrong(format!("Empty {} not supported", part.entity_type)));
        }
    }
    if let Some(Name::Named(address)) = &ip
        && address.parse::<IpAddr>().is_err()
    {
        return Err(wrong(format!("{address} is not a valid IP; names of hosts are not looked up")));
    }
    let words = "expected a user, a client id, both, or an address alone";
    Entity::new(user, client, ip).ok_or_else(|| wrong(words.into()))
}

fn wrong(words: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, words)
}
