//! A streams group (KIP-1071) as records of `__consumer_offsets`, in Kafka's own bytes.
//!
//! ```text
//! key    version i16 | group string | [19, 21, 22] member id string
//! value  version i16 (0); compact and with tagged fields from here on; a tombstone takes the fact back
//!   17   group epoch i32 | hash of the topics i64
//!        | tagged (0: epoch of the topology that fits i32; 1: settings, an array of pair)
//!   19   instance id nullable string | rack id nullable string | client id string | client host string
//!        | rebalance timeout i32 | topology epoch i32 | process id string | nullable endpoint
//!        | tags array of pair
//!   20   assignment epoch i32 | tagged (0: assigned at i64)
//!   21   active, standby, warm-up tasks
//!   22   member epoch i32 | previous epoch i32 | state i8 | active, standby, warm-up tasks
//!        | the same pending revocation
//!   23   topology epoch i32 | array of subtopology
//!
//! tasks        array of (subtopology string | array of i32
//!              | tagged ([22] 0: epochs, a nullable array of i32, null but for active tasks))
//! subtopology  id string | sources array of string | regular expressions array of string
//!              | changelogs array of topic | sinks array of string | repartition sources array of topic
//!              | array of (sources, regular expressions, repartition sources: array of i16 | tagged) | tagged
//! topic        name string | partitions i32 | replication factor i16 | settings array of pair | tagged
//! pair         string | string | tagged
//! endpoint     i8 (1; -1 is null) | host string | port u16 | tagged
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::Millis;

use crate::consumer::MemberState;
use crate::consumer_records::{TargetEpoch, group_key, read_i32s, read_value, tagged};
use crate::streams::{
    Copartition, Current, Endpoint, InternalTopic, Owned, Profile, Subtopology, Task, TaskSet, Tasks,
    Topology, by_subtopology,
};
use crate::wire::{Reader, WireError, Writer};

/// One lasting fact about a group; `None` takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Epoch(Option<GroupEpoch>),
    Member { id: Arc<str>, profile: Option<Profile> },
    TargetEpoch(Option<TargetEpoch>),
    Target { id: Arc<str>, tasks: Option<Tasks> },
    Current { id: Arc<str>, current: Option<Current> },
    Topology(Option<Topology>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupEpoch {
    pub epoch: i32,
    /// Of the topics of the topology, as they were at this epoch.
    pub topics_hash: i64,
    /// The epoch of the topology whose topics were all as they have to be; -1: they were not.
    pub validated: i32,
    /// What the assignment depends on.
    pub configs: BTreeMap<String, String>,
}

impl Default for GroupEpoch {
    fn default() -> Self {
        GroupEpoch { epoch: 0, topics_hash: 0, validated: -1, configs: BTreeMap::new() }
    }
}

const EPOCH: i16 = 17;
const MEMBER: i16 = 19;
const TARGET_EPOCH: i16 = 20;
const TARGET: i16 = 21;
const CURRENT: i16 = 22;
const TOPOLOGY: i16 = 23;

impl Change {
    /// Whether a key of this version is one of these.
    pub(crate) fn has_key(version: i16) -> bool {
        matches!(version, EPOCH | MEMBER..=TOPOLOGY)
    }

    /// Whether it takes a fact back.
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Change::Epoch(epoch) => epoch.is_none(),
            Change::Member { profile, .. } => profile.is_none(),
            Change::TargetEpoch(epoch) => epoch.is_none(),
            Change::Target { tasks, .. } => tasks.is_none(),
            Change::Current { current, .. } => current.is_none(),
            Change::Topology(topology) => topology.is_none(),
        }
    }

    pub(crate) fn write_key(&self, group: &str) -> Bytes {
        let (version, member) = match self {
            Change::Epoch(_) => (EPOCH, None),
            Change::Member { id, .. } => (MEMBER, Some(id)),
            Change::TargetEpoch(_) => (TARGET_EPOCH, None),
            Change::Target { id, .. } => (TARGET, Some(id)),
            Change::Current { id, .. } => (CURRENT, Some(id)),
            Change::Topology(_) => (TOPOLOGY, None),
        };
        group_key(version, group, member)
    }

    /// `None` is a tombstone.
    pub(crate) fn write_value(&self) -> Option<Bytes> {
        let mut out = Writer::default();
        out.i16(0);
        match self {
            Change::Epoch(epoch) => write_epoch(epoch.as_ref()?, &mut out),
            Change::Member { profile, .. } => write_profile(profile.as_ref()?, &mut out),
            Change::TargetEpoch(epoch) => epoch.as_ref()?.write(&mut out),
            Change::Target { tasks, .. } => {
                let tasks = tasks.as_ref()?;
                for tasks in [&tasks.active, &tasks.standby, &tasks.warmup] {
                    write_tasks(tasks, &[], &mut out);
                }
                out.tagged(&[]);
            }
            Change::Current { current, .. } => write_current(current.as_ref()?, &mut out),
            Change::Topology(topology) => write_topology(topology.as_ref()?, &mut out),
        }
        Some(out.finish())
    }

    /// Of what stands behind the key's version: the group, and what is said of it.
    pub(crate) fn read(
        version: i16,
        key: &mut Reader,
        value: Option<&Bytes>,
    ) -> Result<(String, Change), WireError> {
        let group = key.string(false, "group")?;
        let mut id = || key.string(false, "member id").map(Arc::from);
        let change = match version {
            EPOCH => Change::Epoch(read_value(value, read_epoch)?),
            MEMBER => Change::Member { id: id()?, profile: read_value(value, read_profile)? },
            TARGET_EPOCH => Change::TargetEpoch(read_value(value, TargetEpoch::read)?),
            TARGET => Change::Target { id: id()?, tasks: read_value(value, read_target)? },
            CURRENT => Change::Current { id: id()?, current: read_value(value, read_current)? },
            TOPOLOGY => Change::Topology(read_value(value, read_topology)?),
            version => return Err(WireError::Version { what: "group's key", version }),
        };
        Ok((group, change))
    }
}

fn write_pairs<'a>(pairs: impl ExactSizeIterator<Item = (&'a String, &'a String)>, out: &mut Writer) {
    out.compact_count(pairs.len());
    for (key, value) in pairs {
        out.compact_string(key);
        out.compact_string(value);
        out.tagged(&[]);
    }
}

fn read_pairs<T: FromIterator<(String, String)>>(input: &mut Reader) -> Result<T, WireError> {
    read_array(input, "pairs", |input| {
        let pair = (input.string(true, "key")?, input.string(true, "value")?);
        input.tagged("pair's tagged fields")?;
        Ok(pair)
    })
}

fn read_array<T, C: FromIterator<T>>(
    input: &mut Reader,
    what: &'static str,
    mut read: impl FnMut(&mut Reader) -> Result<T, WireError>,
) -> Result<C, WireError> {
    let count = input.count(true, what)?.unwrap_or(0);
    (0..count).map(|_| read(input)).collect()
}

fn write_epoch(epoch: &GroupEpoch, out: &mut Writer) {
    out.i32(epoch.epoch);
    out.i64(epoch.topics_hash);
    let mut configs = Writer::default();
    write_pairs(epoch.configs.iter(), &mut configs);
    let mut fields = vec![(1, configs.finish())];
    if epoch.validated != -1 {
        fields.insert(0, (0, Bytes::copy_from_slice(&epoch.validated.to_be_bytes())));
    }
    out.tagged(&fields);
}

fn read_epoch(input: &mut Reader) -> Result<GroupEpoch, WireError> {
    let (epoch, topics_hash) = (input.i32("group epoch")?, input.i64("hash of the topics")?);
    let mut read = GroupEpoch { epoch, topics_hash, ..GroupEpoch::default() };
    for (tag, mut value) in input.tagged("tagged fields")? {
        match tag {
            0 => read.validated = value.i32("epoch of the topology that fits")?,
            1 => read.configs = read_pairs(&mut value)?,
            _ => {}
        }
    }
    Ok(read)
}

fn write_profile(profile: &Profile, out: &mut Writer) {
    out.compact_nullable_string(profile.instance_id.as_deref());
    out.compact_nullable_string(profile.rack_id.as_deref());
    out.compact_string(&profile.client_id);
    out.compact_string(&profile.client_host);
    out.i32(i32::try_from(profile.rebalance_timeout.0).unwrap_or(i32::MAX));
    out.i32(profile.topology_epoch);
    out.compact_string(&profile.process_id);
    match &profile.endpoint {
        None => out.i8(-1),
        Some(Endpoint { host, port }) => {
            out.i8(1);
            out.compact_string(host);
            out.i16(*port as i16);
            out.tagged(&[]);
        }
    }
    write_pairs(profile.tags.iter(), out);
    out.tagged(&[]);
}

fn read_profile(input: &mut Reader) -> Result<Profile, WireError> {
    Ok(Profile {
        instance_id: input.nullable_string(true, "instance id")?,
        rack_id: input.nullable_string(true, "rack id")?,
        client_id: input.string(true, "client id")?,
        client_host: input.string(true, "client host")?,
        rebalance_timeout: Millis(input.i32("rebalance timeout")?.into()),
        topology_epoch: input.i32("topology epoch")?,
        process_id: input.string(true, "process id")?.into(),
        endpoint: match input.i8("mark of an endpoint")? {
            ..0 => None,
            _ => {
                let endpoint =
                    Endpoint { host: input.string(true, "host")?, port: input.i16("port")? as u16 };
                input.tagged("endpoint's tagged fields")?;
                Some(endpoint)
            }
        },
        tags: read_pairs(input)?,
    })
}

fn write_tasks(tasks: &TaskSet, fields: &[(u32, Bytes)], out: &mut Writer) {
    let subtopologies = by_subtopology(tasks);
    out.compact_count(subtopologies.len());
    for (subtopology, partitions) in subtopologies {
        out.compact_string(subtopology);
        out.compact_count(partitions.len());
        partitions.iter().for_each(|partition| out.i32(*partition));
        out.tagged(fields);
    }
}

fn read_tasks(input: &mut Reader) -> Result<TaskSet, WireError> {
    Ok(read_active(input)?.into_keys().collect())
}

fn write_active(tasks: &BTreeMap<Task, i32>, out: &mut Writer) {
    let subtopologies = by_subtopology(tasks.keys());
    out.compact_count(subtopologies.len());
    let mut epochs = tasks.values();
    for (subtopology, partitions) in subtopologies {
        out.compact_string(subtopology);
        out.compact_count(partitions.len());
        partitions.iter().for_each(|partition| out.i32(*partition));
        let mut own = Writer::default();
        own.compact_count(partitions.len());
        epochs.by_ref().take(partitions.len()).for_each(|epoch| own.i32(*epoch));
        out.tagged(&[(0, own.finish())]);
    }
}

fn read_active(input: &mut Reader) -> Result<BTreeMap<Task, i32>, WireError> {
    let count = input.count(true, "tasks")?.unwrap_or(0);
    let mut tasks = BTreeMap::new();
    for _ in 0..count {
        let subtopology: Arc<str> = input.string(true, "subtopology")?.into();
        let partitions = read_i32s(input)?;
        let epochs = match tagged(input, 0)? {
            Some(mut epochs) => read_i32s(&mut epochs)?,
            None => Vec::new(),
        };
        let epochs = epochs.into_iter().chain(std::iter::repeat(0));
        let named = partitions.into_iter().map(|partition| Task::new(subtopology.clone(), partition));
        tasks.extend(named.zip(epochs));
    }
    Ok(tasks)
}

fn read_target(input: &mut Reader) -> Result<Tasks, WireError> {
    Ok(Tasks { active: read_tasks(input)?, standby: read_tasks(input)?, warmup: read_tasks(input)? })
}

/// As Kafka counts the states of a member of a streams group: from 1.
const FIRST_STATE: i8 = 1;

fn write_current(current: &Current, out: &mut Writer) {
    out.i32(current.epoch);
    out.i32(current.previous_epoch);
    out.i8(current.state as i8 + FIRST_STATE);
    for owned in [&current.assigned, &current.revoking] {
        write_active(&owned.active, out);
        // Kafka says of these that they have no epochs.
        let no_epochs = [(0, Bytes::from_static(&[0]))];
        write_tasks(&owned.standby, &no_epochs, out);
        write_tasks(&owned.warmup, &no_epochs, out);
    }
    out.tagged(&[]);
}

fn read_current(input: &mut Reader) -> Result<Current, WireError> {
    Ok(Current {
        epoch: input.i32("member epoch")?,
        previous_epoch: input.i32("previous epoch")?,
        state: {
            let found = input.i8("member's state")?;
            MemberState::read(found.wrapping_sub(FIRST_STATE))
                .ok_or(WireError::Meaning { what: "member's state", found: found.into() })?
        },
        assigned: read_owned(input)?,
        revoking: read_owned(input)?,
    })
}

fn read_owned(input: &mut Reader) -> Result<Owned, WireError> {
    Ok(Owned { active: read_active(input)?, standby: read_tasks(input)?, warmup: read_tasks(input)? })
}

fn write_topology(topology: &Topology, out: &mut Writer) {
    out.i32(topology.epoch);
    out.compact_count(topology.subtopologies.len());
    for (id, sub) in &topology.subtopologies {
        out.compact_string(id);
        write_strings(&sub.sources, out);
        write_strings(&sub.source_regexes, out);
        write_topics(&sub.changelogs, out);
        write_strings(&sub.sinks, out);
        write_topics(&sub.repartitions, out);
        out.compact_count(sub.copartitions.len());
        for group in &sub.copartitions {
            for places in [&group.sources, &group.source_regexes, &group.repartitions] {
                out.compact_count(places.len());
                places.iter().for_each(|place| out.i16(*place));
            }
            out.tagged(&[]);
        }
        out.tagged(&[]);
    }
    out.tagged(&[]);
}

fn read_topology(input: &mut Reader) -> Result<Topology, WireError> {
    Ok(Topology {
        epoch: input.i32("topology epoch")?,
        subtopologies: read_array(input, "subtopologies", read_subtopology)?,
    })
}

fn read_subtopology(input: &mut Reader) -> Result<(Arc<str>, Subtopology), WireError> {
    let id = input.string(true, "subtopology")?.into();
    let sub = Subtopology {
        sources: read_strings(input)?,
        source_regexes: read_strings(input)?,
        changelogs: read_array(input, "changelogs", read_topic)?,
        sinks: read_strings(input)?,
        repartitions: read_array(input, "repartition topics", read_topic)?,
        copartitions: read_array(input, "copartition groups", read_copartition)?,
    };
    input.tagged("subtopology's tagged fields")?;
    Ok((id, sub))
}

fn read_copartition(input: &mut Reader) -> Result<Copartition, WireError> {
    let mut places = || read_array(input, "places", |input| input.i16("place"));
    let group = Copartition { sources: places()?, source_regexes: places()?, repartitions: places()? };
    input.tagged("group's tagged fields")?;
    Ok(group)
}

fn write_strings(strings: &[impl AsRef<str>], out: &mut Writer) {
    out.compact_count(strings.len());
    strings.iter().for_each(|string| out.compact_string(string.as_ref()));
}

fn read_strings<T: From<String>>(input: &mut Reader) -> Result<Vec<T>, WireError> {
    read_array(input, "names", |input| input.string(true, "name").map(T::from))
}

fn write_topics(topics: &[InternalTopic], out: &mut Writer) {
    out.compact_count(topics.len());
    for topic in topics {
        out.compact_string(&topic.name);
        out.i32(topic.partitions);
        out.i16(topic.replication_factor);
        write_pairs(topic.configs.iter().map(|(key, value)| (key, value)), out);
        out.tagged(&[]);
    }
}

fn read_topic(input: &mut Reader) -> Result<InternalTopic, WireError> {
    let topic = InternalTopic {
        name: input.string(true, "topic")?.into(),
        partitions: input.i32("partitions")?,
        replication_factor: input.i16("replication factor")?,
        configs: read_pairs(input)?,
    };
    input.tagged("topic's tagged fields")?;
    Ok(topic)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(change: &Change) -> Change {
        let (key, value) = (change.write_key("g"), change.write_value());
        let mut input = Reader::new(&key);
        let version = input.i16("version").unwrap();
        assert!(Change::has_key(version));
        let (group, read) = Change::read(version, &mut input, value.as_ref()).unwrap();
        assert_eq!(group, "g");
        read
    }

    fn own(name: &str) -> InternalTopic {
        InternalTopic {
            name: name.into(),
            partitions: 2,
            replication_factor: 1,
            configs: vec![("cleanup.policy".into(), "compact".into())],
        }
    }

    fn all() -> Vec<Change> {
        let task = |n| Task::new("0", n);
        let owned = Owned { active: [(task(1), 3)].into(), standby: [task(2)].into(), ..Owned::default() };
        let current = Current {
            epoch: 5,
            previous_epoch: 4,
            state: MemberState::Unrevoked,
            revoking: Owned { active: [(task(7), 2), (Task::new("1", 0), 4)].into(), ..Owned::default() },
            assigned: owned.clone(),
        };
        let profile = Profile {
            rack_id: Some("r".into()),
            client_id: "c".into(),
            client_host: "/h".into(),
            rebalance_timeout: Millis(9),
            topology_epoch: 1,
            process_id: "p".into(),
            endpoint: Some(Endpoint { host: "e".into(), port: 65_000 }),
            tags: [("zone".into(), "a".into())].into(),
            ..Profile::default()
        };
        let sub = Subtopology {
            sources: vec!["in".into()],
            changelogs: vec![own("log")],
            sinks: vec!["out".into()],
            repartitions: vec![own("rep")],
            copartitions: vec![Copartition {
                sources: vec![0],
                repartitions: vec![0],
                ..Copartition::default()
            }],
            ..Subtopology::default()
        };
        let epoch = GroupEpoch {
            epoch: 3,
            topics_hash: 9,
            validated: 0,
            configs: [("num.standby.replicas".into(), "1".into())].into(),
        };
        vec![
            Change::Epoch(Some(epoch)),
            Change::Member { id: "m".into(), profile: Some(profile) },
            Change::Target { id: "m".into(), tasks: Some(owned.tasks()) },
            Change::Current { id: "m".into(), current: Some(current) },
            Change::Topology(Some(Topology { epoch: 1, subtopologies: [("0".into(), sub)].into() })),
        ]
    }

    #[test]
    fn what_is_written_comes_back() {
        for change in all() {
            assert_eq!(read(&change), change);
        }
    }

    /// From Kafka's own classes, of the same values.
    #[test]
    fn a_group_its_members_and_its_topology_have_kafkas_bytes() {
        let changes = all();
        let value = |n: usize| hex(&changes[n].write_value().unwrap());
        expect!["0011000167"].assert_eq(&hex(&changes[0].write_key("g")));
        expect![
            "000000000003000000000000000902000400000000011902156e756d2e7374616e6462792e7265706c69636173023100"
        ]
        .assert_eq(&value(0));
        expect!["00000002720263032f6800000009000000010270010265fde80002057a6f6e6502610000"]
            .assert_eq(&value(1));
        expect!["00000202300200000001000202300200000002000100"].assert_eq(&value(2));
        expect!["0000000000050000000402020230020000000101000502000000030202300200000002010001000103023002000000070100050200000002023102000000000100050200000004010100"].assert_eq(&value(3));
        expect!["0000000000010202300203696e0102046c6f67000000020001020f636c65616e75702e706f6c69637908636f6d70616374000002046f75740204726570000000020001020f636c65616e75702e706f6c69637908636f6d7061637400000202000001020000000000"].assert_eq(&value(4));
    }
}
