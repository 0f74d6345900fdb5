//! PushTelemetry (72): a client's own metrics, kept for whoever asks for the broker's.

use flumen_protocol::messages::{PushTelemetryRequest, PushTelemetryResponse, Uuid};
use flumen_protocol::{ErrorCode, message};

use crate::ctx::Ctx;
use crate::telemetry::{Client, Push};

/// Ids that no client has.
const RESERVED: [Uuid; 2] = [Uuid::ZERO, Uuid::from_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])];

pub(crate) async fn handle(ctx: &Ctx, request: PushTelemetryRequest, _: i16) -> PushTelemetryResponse {
    let taken = match RESERVED.contains(&request.client_instance_id) {
        true => Err(ErrorCode::InvalidRequest),
        false => {
            let client = Client::of(ctx, request.client_instance_id);
            let push = Push {
                subscription_id: request.subscription_id,
                terminating: request.terminating,
                compression: request.compression_type,
                bytes: request.metrics.len(),
            };
            let subscriptions = ctx.broker.client_metrics().subscriptions();
            ctx.broker.telemetry().push(&client, &subscriptions, push, request.metrics)
        }
    };
    message!(PushTelemetryResponse { error_code: taken.err().unwrap_or_default().code() })
}
