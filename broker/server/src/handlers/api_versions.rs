//! ApiVersions (18): what is served, from the one table.

use flumen_protocol::ErrorCode;
use flumen_protocol::api::TABLE;
use flumen_protocol::message;
use flumen_protocol::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use flumen_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use crate::ctx::Ctx;
use crate::features::{FEATURES, Feature, Levels};

pub(crate) async fn handle(ctx: &Ctx, request: ApiVersionsRequest, version: i16) -> ApiVersionsResponse {
    if version >= 3 && !(is_word(&request.client_software_name) && is_word(&request.client_software_version))
    {
        return message!(ApiVersionsResponse { error_code: ErrorCode::InvalidRequest.code() });
    }
    if version >= 3 {
        ctx.software.is(&request.client_software_name, &request.client_software_version);
    }
    let levels = ctx.broker.features().levels();
    // Up to version 3 clients take a least level of 0 for a broken answer.
    let told = |feature: &&Feature| version >= 4 || feature.min > 0;
    message!(ApiVersionsResponse {
        api_keys: served(),
        supported_features: FEATURES.iter().filter(told).map(supported).collect(),
        finalized_features_epoch: levels.epoch,
        finalized_features: FEATURES.iter().filter_map(|feature| finalized(feature, &levels)).collect(),
    })
}

fn supported(feature: &Feature) -> SupportedFeatureKey {
    message!(SupportedFeatureKey {
        name: feature.name.into(),
        min_version: feature.min,
        max_version: feature.max,
    })
}

/// `None`: it is off.
fn finalized(feature: &Feature, levels: &Levels) -> Option<FinalizedFeatureKey> {
    let level = Some(levels.level(feature)).filter(|level| *level > 0)?;
    Some(message!(FinalizedFeatureKey {
        name: feature.name.into(),
        min_version_level: level,
        max_version_level: level,
    }))
}

/// The answer to a version that is not known, for the layout of version 0.
pub(crate) fn unsupported() -> ApiVersionsResponse {
    message!(ApiVersionsResponse { error_code: ErrorCode::UnsupportedVersion.code(), api_keys: served() })
}

fn served() -> Vec<ApiVersion> {
    let row = |api: &flumen_protocol::Api| {
        message!(ApiVersion { api_key: api.key as i16, min_version: api.min, max_version: api.max })
    };
    TABLE.iter().map(row).collect()
}

/// Kafka's rule for the name and the version of a client's library.
fn is_word(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    let outer = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(outer) && text.ends_with(outer) && text.chars().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn library_names_follow_kafkas_rule() {
        assert!(is_word("apache-kafka-java") && is_word("4.3.1") && is_word("x"));
        assert!(!is_word("") && !is_word("-x") && !is_word("x.") && !is_word("a b"));
    }

    #[test]
    fn an_unknown_version_still_learns_the_table() {
        let response = unsupported();
        assert_eq!(response.error_code, 35);
        let produce = response.api_keys.iter().find(|api| api.api_key == 0).unwrap();
        assert_eq!(produce.min_version, 0);
    }
}
