//! DescribeCluster (60): the only node.

use flumen_auth::Operation;
use flumen_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use flumen_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};
use flumen_protocol::{ErrorCode, message};

use crate::access::{NOT_ASKED, Resource};
use crate::ctx::Ctx;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(ctx: &Ctx, request: DescribeClusterRequest, _: i16) -> DescribeClusterResponse {
    let refused = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => {
            let words = "this is a broker; there are no controllers of their own";
            Some((ErrorCode::MismatchedEndpointType, words))
        }
        _ => Some((
            ErrorCode::UnsupportedEndpointType,
            "there are endpoints of brokers (1) and controllers (2)",
        )),
    };
    if let Some((error, words)) = refused {
        return message!(DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some(words.into()),
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
