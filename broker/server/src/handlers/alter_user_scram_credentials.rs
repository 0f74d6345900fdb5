//! AlterUserScramCredentials (51): keys of users, given and taken away. A user that the configuration
//! declares is changed there.

use std::collections::BTreeMap;

use flumen_auth::credential::{ITERATIONS_MAX, ITERATIONS_MIN};
use flumen_auth::{Operation, ScramCredential, ScramHash};
use flumen_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use flumen_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use flumen_protocol::messages::{AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse};
use flumen_protocol::{ErrorCode, message};

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::security::{Declared, Stored};

/// A user's keys for one mechanism, or that they go.
type Change = (ScramHash, Option<ScramCredential>);

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AlterUserScramCredentialsRequest,
    _: i16,
) -> AlterUserScramCredentialsResponse {
    let results = match alter(ctx, &request).await {
        Ok(results) => results,
        Err(refusal) => {
            let deleted = request.deletions.iter().map(|one| &one.name);
            let names = deleted.chain(request.upsertions.iter().map(|one| &one.name));
            names.map(|name| (name.to_string(), Err(refusal.clone()))).collect()
        }
    };
    let results = results.into_iter().map(|(user, result)| {
        let refusal = result.err();
        message!(AlterUserScramCredentialsResult {
            user: user.into(),
            error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
            error_message: refusal.and_then(|refusal| refusal.words()),
        })
    });
    message!(AlterUserScramCredentialsResponse { results: results.collect() })
}

type Results = BTreeMap<String, Result<Change, Refusal>>;

async fn alter(ctx: &Ctx, request: &AlterUserScramCredentialsRequest) -> Result<Results, Refusal> {
    ctx.may(Operation::Alter, Resource::Cluster)?;
    let edited = ctx.broker.security().edit(|stored, declared| {
        let results = judge(request, stored, declared);
        for (user, change) in &results {
            match change {
                Ok((hash, Some(keys))) => {
                    stored.users.entry(user.clone()).or_default().insert(*hash, keys.clone());
                }
                Ok((hash, None)) => {
                    if let Some(keys) = stored.users.get_mut(user) {
                        keys.remove(hash);
                    }
                }
                Err(_) => {}
            }
        }
        stored.users.retain(|_, keys| !keys.is_empty());
        results
    });
    edited.await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a user's keys could not be kept");
        ErrorCode::KafkaStorageError.into()
    })
}

/// What is to be done for each user: one thing, or nothing and why.
fn judge(request: &AlterUserScramCredentialsRequest, stored: &Stored, declared: &Declared) -> Results {
    let mut results = Results::new();
    let deletions = request.deletions.iter().map(|one| (&*one.name, deletion(one, stored)));
    let upsertions = request.upsertions.iter().map(|one| (&*one.name, upsertion(one)));
    for (user, change) in deletions.chain(upsertions) {
        let change = match declared.users.get(user) {
            Some((_, place)) => {
                let words = format!("user {user} is declared at {place}; change it there");
                Err(Refusal::new(ErrorCode::PolicyViolation, words))
            }
            None => change,
        };
        match results.get(user) {
            None => drop(results.insert(user.into(), change)),
            Some(Err(_)) => {}
            Some(Ok(_)) => {
                let words = "A user credential cannot be altered twice in the same request";
                results.insert(user.into(), Err(Refusal::new(ErrorCode::DuplicateResource, words)));
            }
        }
    }
    results
}

fn deletion(wanted: &ScramCredentialDeletion, stored: &Stored) -> Result<Change, Refusal> {
    let hash = check(&wanted.name, wanted.mechanism)?;
    match stored.users.get(&*wanted.name).is_some_and(|keys| keys.contains_key(&hash)) {
        true => Ok((hash, None)),
        false => {
            let words = "Attempt to delete a user credential that does not exist";
            Err(Refusal::new(ErrorCode::ResourceNotFound, words))
        }
    }
}

fn upsertion(wanted: &ScramCredentialUpsertion) -> Result<Change, Refusal> {
    let hash = check(&wanted.name, wanted.mechanism)?;
    let few_or_many = match u32::try_from(wanted.iterations).unwrap_or(0) {
        ..ITERATIONS_MIN => "Too few iterations",
        iterations @ ITERATIONS_MIN..=ITERATIONS_MAX => {
            let keys = ScramCredential::of_salted(hash, &wanted.salted_password, &wanted.salt, iterations);
            return Ok((hash, Some(keys)));
        }
        _ => "Too many iterations",
    };
    Err(Refusal::new(ErrorCode::UnacceptableCredential, few_or_many))
}

fn check(user: &str, mechanism: i8) -> Result<ScramHash, Refusal> {
    if user.is_empty() {
        return Err(Refusal::new(ErrorCode::UnacceptableCredential, "Username must not be empty"));
    }
    let unknown = || Refusal::new(ErrorCode::UnsupportedSaslMechanism, "Unknown SCRAM mechanism");
    ScramHash::from_number(mechanism).ok_or_else(unknown)
}
