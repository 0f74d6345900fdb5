//! How the leader of a classic group divides partitions: Kafka's range assignor.
//!
//! Pure. For each topic, the members that want it, in order of their ids, get consecutive partitions;
//! the first ones get one more where it does not divide evenly.

use std::collections::BTreeMap;

/// Partitions of each topic, for each member.
pub(crate) type Assignments = BTreeMap<String, BTreeMap<String, Vec<i32>>>;

/// `members`: who wants which topics. `topics`: how many partitions each has; unknown ones are left
/// out.
pub(crate) fn range(members: &BTreeMap<String, Vec<String>>, topics: &BTreeMap<String, i32>) -> Assignments {
    let mut assignments: Assignments =
        members.keys().map(|member| (member.clone(), BTreeMap::new())).collect();
    for (topic, &partitions) in topics {
        let takers: Vec<&String> =
            members.iter().filter(|(_, wanted)| wanted.contains(topic)).map(|(member, _)| member).collect();
        let mut next = 0;
        for (at, member) in takers.iter().enumerate() {
            let (share, spare) = (partitions as usize / takers.len(), partitions as usize % takers.len());
            let count = (share + usize::from(at < spare)) as i32;
            if count > 0
                && let Some(mine) = assignments.get_mut(*member)
            {
                mine.insert(topic.clone(), (next..next + count).collect());
            }
            next += count;
        }
    }
    assignments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(list: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        list.iter().map(|(m, t)| (m.to_string(), t.iter().map(|t| t.to_string()).collect())).collect()
    }

    #[test]
    fn ranges_are_consecutive_and_the_first_get_the_spare_ones() {
        let given = range(
            &wants(&[("b", &["t"]), ("a", &["t"]), ("c", &["u"])]),
            &BTreeMap::from([("t".into(), 5), ("u".into(), 1)]),
        );
        assert_eq!(given["a"]["t"], [0, 1, 2]);
        assert_eq!(given["b"]["t"], [3, 4]);
        assert_eq!(given["c"]["u"], [0]);
    }

    #[test]
    fn more_members_than_partitions_leaves_some_with_nothing() {
        let given = range(&wants(&[("a", &["t"]), ("b", &["t"])]), &BTreeMap::from([("t".into(), 1)]));
        assert_eq!(given["a"]["t"], [0]);
        assert!(given["b"].is_empty());
    }

    #[test]
    fn a_topic_that_is_not_there_is_nobodys() {
        assert!(range(&wants(&[("a", &["gone"])]), &BTreeMap::new())["a"].is_empty());
    }
}
