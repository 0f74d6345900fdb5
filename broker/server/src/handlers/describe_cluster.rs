//! DescribeCluster (60): the only node.

use flumen_auth::Operation;
use flumen_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use flumen_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use flumen_protocol::{ErrorCode, message};

use crate::access::{NOT_ASKED, Resource};
use crate::ctx::Ctx;

const BROKERS: i8 = 1;

pub(crate) async fn handle(ctx: &Ctx, request: DescribeClusterRequest, _: i16) -> DescribeClusterResponse {
    if request.endpoint_type != BROKERS {
        return message!(DescribeClusterResponse {
            error_code: ErrorCode::MismatchedEndpointType.code(),
            error_message: Some("this is a broker; there are no controllers of their own".into()),
            endpoint_type: BROKERS,
        });
    }
    let advertised = ctx.advertised();
    let broker = message!(DescribeClusterBroker {
        broker_id: ctx.node_id(),
        host: advertised.host.into(),
        port: i32::from(advertised.port),
    });
    let cluster_authorized_operations = match request.include_cluster_authorized_operations {
        false => NOT_ASKED,
        true => match ctx.may(Operation::Describe, Resource::Cluster) {
            Ok(()) => ctx.operations(Resource::Cluster),
            Err(_) => 0,
        },
    };
    message!(DescribeClusterResponse {
        cluster_authorized_operations,
        endpoint_type: BROKERS,
        cluster_id: ctx.broker.cluster_id().into(),
        controller_id: ctx.node_id(),
        brokers: vec![broker],
    })
}
