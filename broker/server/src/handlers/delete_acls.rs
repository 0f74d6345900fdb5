//! DeleteAcls (31): the rules that filters fit. One that the configuration declares stays, and is told.

use std::collections::BTreeSet;

use flumen_auth::{Acl, AclFilter, Operation};
use flumen_protocol::messages::delete_acls_request::DeleteAclsFilter;
use flumen_protocol::messages::delete_acls_response::{DeleteAclsFilterResult, DeleteAclsMatchingAcl};
use flumen_protocol::messages::{DeleteAclsRequest, DeleteAclsResponse};
use flumen_protocol::{ErrorCode, message};

use super::acl_wire::{Numbers, disabled};
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

/// The rules that one filter fits; with its place, one that is declared.
type Matching = Vec<(Acl, Option<String>)>;

pub(crate) async fn handle(ctx: &Ctx, request: DeleteAclsRequest, _: i16) -> DeleteAclsResponse {
    let filters: Vec<_> = request.filters.iter().map(filter).collect();
    let results = match delete(ctx, &filters).await {
        Ok(results) => results,
        Err(refusal) => filters.iter().map(|_| Err(refusal.clone())).collect(),
    };
    let filter_results = results.into_iter().map(|result| match result {
        Ok(matching) => message!(DeleteAclsFilterResult {
            matching_acls: matching.into_iter().map(|(acl, place)| told(&acl, place)).collect()
        }),
        Err(refusal) => message!(DeleteAclsFilterResult {
            error_code: refusal.error.code(),
            error_message: refusal.words(),
        }),
    });
    message!(DeleteAclsResponse { filter_results: filter_results.collect() })
}

fn filter(filter: &DeleteAclsFilter) -> Result<AclFilter, Refusal> {
    let numbers = Numbers {
        resource: filter.resource_type_filter,
        pattern: filter.pattern_type_filter,
        operation: filter.operation,
        permission: filter.permission_type,
    };
    numbers.filter(
        filter.resource_name_filter.as_deref(),
        filter.principal_filter.as_deref(),
        filter.host_filter.as_deref(),
    )
}

async fn delete(
    ctx: &Ctx,
    filters: &[Result<AclFilter, Refusal>],
) -> Result<Vec<Result<Matching, Refusal>>, Refusal> {
    ctx.may(Operation::Alter, Resource::Cluster)?;
    if !ctx.broker.security().options().authorizer {
        return Err(disabled());
    }
    let edited = ctx.broker.security().edit(|stored, declared| {
        let find = |filter: &Result<AclFilter, Refusal>| -> Result<Matching, Refusal> {
            let filter = filter.as_ref().map_err(Clone::clone)?;
            let kept = declared.acls.iter().map(|(acl, place)| (acl, Some(place.clone())));
            let made = stored.acls.iter().filter(|acl| !declared.acls.contains_key(*acl));
            let all = kept.chain(made.map(|acl| (acl, None)));
            Ok(all.filter(|(acl, _)| filter.matches(acl)).map(|(acl, place)| (acl.clone(), place)).collect())
        };
        let results: Vec<_> = filters.iter().map(find).collect();
        let gone: BTreeSet<Acl> = results
            .iter()
            .flatten()
            .flatten()
            .filter(|(_, place)| place.is_none())
            .map(|(acl, _)| acl.clone())
            .collect();
        stored.acls.retain(|acl| !gone.contains(acl));
        results
    });
    edited.await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a rule could not be deleted");
        ErrorCode::KafkaStorageError.into()
    })
}

fn told(acl: &Acl, place: Option<String>) -> DeleteAclsMatchingAcl {
    let kept = place.map(|place| format!("this rule is declared at {place}; it goes when it goes there"));
    message!(DeleteAclsMatchingAcl {
        error_code: kept.as_ref().map_or(ErrorCode::None, |_| ErrorCode::PolicyViolation).code(),
        error_message: kept.map(Into::into),
        resource_type: acl.resource as i8,
        resource_name: acl.name.as_str().into(),
        pattern_type: acl.pattern as i8,
        principal: acl.principal.as_str().into(),
        host: acl.host.as_str().into(),
        operation: acl.operation as i8,
        permission_type: acl.permission as i8,
    })
}
