//! DescribeUserScramCredentials (50): who has keys for which mechanisms. The keys are never told.

use std::collections::BTreeSet;

use flumen_auth::Operation;
use flumen_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use flumen_protocol::messages::{DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;
use crate::security::Credentials;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeUserScramCredentialsRequest,
    _: i16,
) -> DescribeUserScramCredentialsResponse {
    if let Err(error) = ctx.may(Operation::Describe, Resource::Cluster) {
        return message!(DescribeUserScramCredentialsResponse { error_code: error.code() });
    }
    let state = ctx.broker.security().state();
    let named = request.users.unwrap_or_default();
    let results = match named.is_empty() {
        true => {
            let names: BTreeSet<_> = state.declared.users.keys().chain(state.stored.users.keys()).collect();
            let all = names.into_iter().filter_map(|name| Some(describe(name, state.credentials(name)?)));
            all.collect()
        }
        false => {
            let count = |name: &str| named.iter().filter(|other| &*other.name == name).count();
            let mut told = BTreeSet::new();
            let asked = named.iter().filter(|user| told.insert(&*user.name));
            let one = |name: &str| match state.credentials(name) {
                _ if count(name) > 1 => refusal(
                    name,
                    ErrorCode::DuplicateResource,
                    "Cannot describe SCRAM credentials for the same user twice in a single request",
                ),
                Some(keys) => describe(name, keys),
                None => refusal(
                    name,
                    ErrorCode::ResourceNotFound,
                    "Attempt to describe a user credential that does not exist",
                ),
            };
            asked.map(|user| one(&user.name)).collect()
        }
    };
    message!(DescribeUserScramCredentialsResponse { results })
}

fn describe(user: &str, keys: &Credentials) -> DescribeUserScramCredentialsResult {
    let infos = keys.iter().map(|(hash, keys)| {
        message!(CredentialInfo { mechanism: hash.number(), iterations: keys.iterations as i32 })
    });
    message!(DescribeUserScramCredentialsResult { user: user.into(), credential_infos: infos.collect() })
}

fn refusal(user: &str, error: ErrorCode, words: &str) -> DescribeUserScramCredentialsResult {
    message!(DescribeUserScramCredentialsResult {
        user: user.into(),
        error_code: error.code(),
        error_message: Some(format!("{words}: {user}").into()),
    })
}
