//! ShareGroupDescribe (77): epochs, members, and what each works on.

use flumen_auth::Operation;
use flumen_groups::AnyGroup;
use flumen_groups::consumer::{Assignment, TopicImage};
use flumen_groups::share::{ASSIGNOR, Group, Member};
use flumen_protocol::messages::share_group_describe_response::{
    Assignment as Told, DescribedGroup, Member as Described, TopicPartitions,
};
use flumen_protocol::messages::{ShareGroupDescribeRequest, ShareGroupDescribeResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};

use super::group_places::{describe_each, may_describe, named};
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::features::SHARE_VERSION;

const HIDDEN: &str = "The group has described topic(s) that the client is not authorized to describe.";

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ShareGroupDescribeRequest,
    _: i16,
) -> ShareGroupDescribeResponse {
    let groups = describe_each!(ctx, request, DescribedGroup, find);
    message!(ShareGroupDescribeResponse { groups })
}

async fn find(ctx: &Ctx, id: &str) -> Result<DescribedGroup, Refusal> {
    ctx.needs(SHARE_VERSION)?;
    ctx.may(Operation::Describe, Resource::Group(id))?;
    if id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    let missing = |words| Err(Refusal::new(ErrorCode::GroupIdNotFound, words));
    match ctx.broker.groups().describe(id).await? {
        Some(AnyGroup::Share(group)) => {
            let told = describe(ctx, &group);
            let used = told.members.iter().flat_map(|member| &member.assignment.topic_partitions);
            may_describe(ctx, used.map(|topic| &*topic.topic_name), HIDDEN)?;
            Ok(told)
        }
        Some(_) => missing(format!("Group {id} is not a share group.")),
        None => missing(format!("Group {id} not found.")),
    }
}

fn describe(ctx: &Ctx, group: &Group) -> DescribedGroup {
    let topics = ctx.broker.groups().topics();
    message!(DescribedGroup {
        error_message: None,
        group_state: group.state_name().into(),
        group_epoch: group.epoch(),
        assignment_epoch: group.assignment_epoch(),
        assignor_name: ASSIGNOR.into(),
        members: group.members().map(|member| described(member, &topics)).collect(),
    })
}

fn described(member: &Member, topics: &TopicImage) -> Described {
    let profile = &member.profile;
    message!(Described {
        member_id: (&*member.id).into(),
        rack_id: profile.rack_id.as_deref().map(StrBytes::from),
        member_epoch: member.current.epoch,
        client_id: profile.client_id.as_str().into(),
        client_host: profile.client_host.as_str().into(),
        subscribed_topic_names: profile.topics.iter().map(|name| (&**name).into()).collect(),
        assignment: assignment(&member.current.assigned, topics),
    })
}

fn assignment(assigned: &Assignment, topics: &TopicImage) -> Told {
    let told = named(assigned, topics).map(|(topic_id, topic_name, partitions)| {
        message!(TopicPartitions { topic_id, topic_name, partitions })
    });
    message!(Told { topic_partitions: told.collect() })
}
