//! ConsumerGroupDescribe (69): epochs, members, what each has and what it is to have.

use flumen_auth::Operation;
use flumen_groups::AnyGroup;
use flumen_groups::consumer::{Group, Member, Place, TopicImage};
use flumen_protocol::messages::consumer_group_describe_response::{
    Assignment, DescribedGroup, Member as Described, TopicPartitions,
};
use flumen_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};

use super::group_places::{describe_each, may_describe, named};
use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::features::GROUP_VERSION;

const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

const HIDDEN: &str = "The described group uses topics that the client is not authorized to describe.";

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ConsumerGroupDescribeRequest,
    _version: i16,
) -> ConsumerGroupDescribeResponse {
    let groups = describe_each!(ctx, request, DescribedGroup, find);
    message!(ConsumerGroupDescribeResponse { groups })
}

async fn find(ctx: &Ctx, id: &str) -> Result<DescribedGroup, Refusal> {
    ctx.needs(GROUP_VERSION)?;
    if id.is_empty() {
        return Err(ErrorCode::InvalidGroupId.into());
    }
    ctx.may(Operation::Describe, Resource::Group(id))?;
    let missing = |words| Err(Refusal::new(ErrorCode::GroupIdNotFound, words));
    match ctx.broker.groups().describe(id).await? {
        Some(AnyGroup::Consumer(group)) => {
            let told = describe(ctx, &group);
            let used = told.members.iter().flat_map(|member| [&member.assignment, &member.target_assignment]);
            let used = used.flat_map(|places| &places.topic_partitions);
            may_describe(ctx, used.map(|topic| &*topic.topic_name), HIDDEN)?;
            Ok(told)
        }
        Some(_) => missing(format!("Group {id} is not a consumer group.")),
        None => missing(format!("Group {id} not found.")),
    }
}

fn describe(ctx: &Ctx, group: &Group) -> DescribedGroup {
    let groups = ctx.broker.groups();
    let topics = groups.topics();
    let members = group.members().map(|member| described(group, member, &topics));
    message!(DescribedGroup {
        group_state: group.state().name().into(),
        group_epoch: group.epoch(),
        assignment_epoch: group.assignment_epoch(),
        assignor_name: group.assignor(groups.consumer_options()).name().into(),
        members: members.collect(),
    })
}

fn described(group: &Group, member: &Member, topics: &TopicImage) -> Described {
    let profile = &member.profile;
    let target = group.target(&member.id);
    message!(Described {
        member_id: (&*member.id).into(),
        instance_id: profile.instance_id.as_deref().map(StrBytes::from),
        rack_id: profile.rack_id.as_deref().map(StrBytes::from),
        member_epoch: member.current.epoch,
        client_id: profile.client_id.as_str().into(),
        client_host: profile.client_host.as_str().into(),
        subscribed_topic_names: profile.topics.iter().map(|name| (&**name).into()).collect(),
        subscribed_topic_regex: Some(profile.regex.as_deref().unwrap_or_default().into()),
        assignment: assignment(member.current.places(), topics),
        target_assignment: assignment(&target, topics),
        member_type: if profile.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    })
}

fn assignment<'a>(places: impl IntoIterator<Item = &'a Place>, topics: &TopicImage) -> Assignment {
    let told = named(places, topics).map(|(topic_id, topic_name, partitions)| {
        message!(TopicPartitions { topic_id, topic_name, partitions })
    });
    message!(Assignment { topic_partitions: told.collect() })
}
