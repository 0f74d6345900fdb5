//! Of each topic a contiguous range for each of its consumers, the first of them one more if it does
//! not come out even. Static members stand before the others and by their instance, so that one that
//! came back under another id has what it had.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_types::PartitionId;

use super::{Assignment, Situation};

pub(super) fn assign(situation: &Situation) -> BTreeMap<Arc<str>, Assignment> {
    let mut assigned: BTreeMap<Arc<str>, Assignment> =
        situation.members.keys().map(|id| (id.clone(), Assignment::new())).collect();
    for (topic, mut consumers) in situation.consumers() {
        consumers.sort_by_key(|id| {
            let instance = situation.members[*id].instance_id.as_ref();
            (instance.is_none(), instance, *id)
        });
        let (partitions, count) = (situation.partitions[&topic], consumers.len() as i32);
        let mut next = 0;
        for (n, id) in consumers.into_iter().enumerate() {
            let end = next + partitions / count + i32::from((n as i32) < partitions % count);
            let range = (next..end).map(|partition| (topic, PartitionId(partition)));
            assigned.entry(id.clone()).or_default().extend(range);
            next = end;
        }
    }
    assigned
}
