//! CreateAcls (30): each rule made or refused on its own; one that is there already is no error.

use flumen_auth::{Acl, Operation};
use flumen_protocol::messages::create_acls_request::AclCreation;
use flumen_protocol::messages::create_acls_response::AclCreationResult;
use flumen_protocol::messages::{CreateAclsRequest, CreateAclsResponse};
use flumen_protocol::{ErrorCode, message};

use super::acl_wire::{Numbers, disabled};
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: CreateAclsRequest, _: i16) -> CreateAclsResponse {
    let wanted: Vec<_> = request.creations.iter().map(acl).collect();
    let refused = create(ctx, &wanted).await.err();
    let results = wanted.into_iter().map(|wanted| match refused.clone().or(wanted.err()) {
        None => AclCreationResult::default(),
        Some(refusal) => {
            message!(AclCreationResult { error_code: refusal.error.code(), error_message: refusal.words() })
        }
    });
    message!(CreateAclsResponse { results: results.collect() })
}

fn acl(creation: &AclCreation) -> Result<Acl, Refusal> {
    let numbers = Numbers {
        resource: creation.resource_type,
        pattern: creation.resource_pattern_type,
        operation: creation.operation,
        permission: creation.permission_type,
    };
    numbers.acl(&creation.resource_name, &creation.principal, &creation.host)
}

async fn create(ctx: &Ctx, wanted: &[Result<Acl, Refusal>]) -> Result<(), Refusal> {
    ctx.may(Operation::Alter, Resource::Cluster)?;
    if !ctx.broker.security().options().authorizer {
        return Err(disabled());
    }
    let new: Vec<Acl> = wanted.iter().flatten().cloned().collect();
    let made = ctx.broker.security().edit(|stored, _| stored.acls.extend(new)).await;
    made.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a rule could not be kept");
        ErrorCode::KafkaStorageError.into()
    })
}
