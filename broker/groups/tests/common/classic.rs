//! What consumers of the classic protocol write: subscriptions and assignments.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use flumen_groups::consumer::Assignment;
use flumen_types::{PartitionId, TopicId};

/// Version 1, to these topics, with partitions that the member still has.
pub fn subscription(topics: &[(&str, Vec<i32>)]) -> Bytes {
    let mut bytes = BytesMut::from(&b"\0\x01"[..]);
    bytes.put_i32(topics.len() as i32);
    for (topic, _) in topics {
        put_name(&mut bytes, topic);
    }
    bytes.put_i32(-1);
    put_partitions(&mut bytes, topics);
    bytes.freeze()
}

/// Version 1.
pub fn assignment(topics: &[(&str, Vec<i32>)]) -> Bytes {
    let mut bytes = BytesMut::from(&b"\0\x01"[..]);
    put_partitions(&mut bytes, topics);
    bytes.put_i32(-1);
    bytes.freeze()
}

fn put_partitions(bytes: &mut BytesMut, topics: &[(&str, Vec<i32>)]) {
    let topics: Vec<_> = topics.iter().filter(|(_, partitions)| !partitions.is_empty()).collect();
    bytes.put_i32(topics.len() as i32);
    for (topic, partitions) in topics {
        put_name(bytes, topic);
        bytes.put_i32(partitions.len() as i32);
        partitions.iter().for_each(|partition| bytes.put_i32(*partition));
    }
}

fn put_name(bytes: &mut BytesMut, name: &str) {
    bytes.put_i16(name.len() as i16);
    bytes.put_slice(name.as_bytes());
}

/// The partitions in an assignment, of topics that `id_of` knows.
pub fn assigned(bytes: &Bytes, id_of: impl Fn(&str) -> Option<TopicId>) -> Assignment {
    let mut input = bytes.clone();
    let mut all = Assignment::new();
    if input.is_empty() {
        return all;
    }
    input.get_i16();
    for _ in 0..input.get_i32() {
        let length = input.get_i16() as usize;
        let name = String::from_utf8(input.split_to(length).to_vec()).expect("a topic's name");
        for _ in 0..input.get_i32() {
            let partition = PartitionId(input.get_i32());
            all.extend(id_of(&name).map(|topic| (topic, partition)));
        }
    }
    all
}
