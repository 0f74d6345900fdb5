//! UpdateFeatures (57): what an operator turns down, and up again. All of a request or nothing.

use flumen_auth::Operation;
use flumen_protocol::messages::update_features_request::FeatureUpdateKey;
use flumen_protocol::messages::update_features_response::UpdatableFeatureResult;
use flumen_protocol::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use flumen_protocol::{ErrorCode, message};

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::features::{Feature, Levels};

/// From this version on a request says which way it goes, and only before it does each feature have an answer.
const FIRST_WITH_DIRECTION: i16 = 1;
const LAST_WITH_RESULTS: i16 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

pub(crate) async fn handle(
    ctx: &Ctx,
    request: UpdateFeaturesRequest,
    version: i16,
) -> UpdateFeaturesResponse {
    let validate_only = version >= FIRST_WITH_DIRECTION && request.validate_only;
    let updated = match ctx.may(Operation::Alter, Resource::Cluster) {
        Err(error) => Err(error.into()),
        Ok(()) => {
            let edit = |levels: &mut Levels| update(levels, &request.feature_updates, version);
            ctx.broker.features().edit(validate_only, edit).await
        }
    };
    match updated {
        Err(refusal) => message!(UpdateFeaturesResponse {
            error_code: refusal.error.code(),
            error_message: refusal.words(),
        }),
        Ok(()) => message!(UpdateFeaturesResponse {
            error_message: None,
            results: match version <= LAST_WITH_RESULTS {
                true => request.feature_updates.iter().map(done).collect(),
                false => vec![],
            },
        }),
    }
}

/// As Kafka says that nothing is wrong.
fn done(update: &FeatureUpdateKey) -> UpdatableFeatureResult {
    let nothing = Some(ErrorCode::None.name().into());
    message!(UpdatableFeatureResult { feature: update.feature.clone(), error_message: nothing })
}

fn update(levels: &mut Levels, updates: &[FeatureUpdateKey], version: i16) -> Result<(), Refusal> {
    for update in updates {
        let (name, level) = (&*update.feature, update.max_version_level);
        let feature = decide(levels, name, level, direction(update, version)).map_err(|why| {
            let words = format!(
                "The update failed for all features since the following feature had an error: \
                 Invalid update version {level} for feature {name}. {why}"
            );
            Refusal::new(ErrorCode::InvalidUpdateVersion, words)
        })?;
        levels.set(feature, level);
    }
    Ok(())
}

/// `None`: of no known kind.
fn direction(update: &FeatureUpdateKey, version: i16) -> Option<Direction> {
    match update.upgrade_type {
        _ if version < FIRST_WITH_DIRECTION && update.allow_downgrade => Some(Direction::Down),
        _ if version < FIRST_WITH_DIRECTION => Some(Direction::Up),
        1 => Some(Direction::Up),
        // Safely, or not: nothing is lost here.
        2 | 3 => Some(Direction::Down),
        _ => None,
    }
}

/// The feature, if it may be set so.
fn decide(
    levels: &Levels,
    name: &str,
    level: i16,
    direction: Option<Direction>,
) -> Result<&'static Feature, String> {
    let direction = direction.ok_or("The controller does not support the given upgrade type.")?;
    if level < 0 {
        return Err("A feature version cannot be less than 0.".into());
    }
    let feature = Feature::find(name).ok_or("This broker does not support the feature.")?;
    if !(feature.min..=feature.max).contains(&level) {
        return Err(format!("This broker supports versions {} to {}.", feature.min, feature.max));
    }
    match (level.cmp(&levels.level(feature)), direction) {
        (std::cmp::Ordering::Less, Direction::Up) => {
            let words = "Can't downgrade the version of this feature without setting the upgrade type to either \
                         safe or unsafe downgrade.";
            Err(words.into())
        }
        (std::cmp::Ordering::Greater, Direction::Down) => Err("Can't downgrade to a newer version.".into()),
        _ => Ok(feature),
    }
}
