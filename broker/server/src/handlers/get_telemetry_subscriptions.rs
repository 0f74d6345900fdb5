//! GetTelemetrySubscriptions (71): which of its metrics a client is to push, and how often.

use flumen_protocol::message;
use flumen_protocol::messages::{GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse, Uuid};
use flumen_records::Compression;

use crate::ctx::Ctx;
use crate::telemetry::Client;

/// What may be pushed, the best first, which is what clients choose.
const ACCEPTED: [Compression; 4] =
    [Compression::Zstd, Compression::Lz4, Compression::Gzip, Compression::Snappy];

pub(crate) async fn handle(
    ctx: &Ctx,
    request: GetTelemetrySubscriptionsRequest,
    _: i16,
) -> GetTelemetrySubscriptionsResponse {
    let id = match request.client_instance_id.is_zero() {
        true => Uuid::from_bytes(uuid::Uuid::new_v4().into_bytes()),
        false => request.client_instance_id,
    };
    let telemetry = ctx.broker.telemetry();
    let subscriptions = ctx.broker.client_metrics().subscriptions();
    match telemetry.ask(&Client::of(ctx, id), &subscriptions) {
        Err(error) => message!(GetTelemetrySubscriptionsResponse { error_code: error.code() }),
        Ok(wanted) => message!(GetTelemetrySubscriptionsResponse {
            client_instance_id: id,
            subscription_id: wanted.subscription_id,
            accepted_compression_types: ACCEPTED.iter().map(|codec| *codec as i8).collect(),
            push_interval_ms: i32::try_from(wanted.interval.0).unwrap_or(i32::MAX),
            telemetry_max_bytes: i32::try_from(telemetry.bytes_max()).unwrap_or(i32::MAX),
            // What is added since the last push is added up here.
            delta_temporality: true,
            requested_metrics: wanted.metrics.iter().map(|metric| metric.as_str().into()).collect(),
        }),
    }
}
