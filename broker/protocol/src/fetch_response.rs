//! A fetch's answer in pieces: headers that are encoded here, and the records by reference.
//!
//! The generated encoder would copy every record batch into one buffer. Here each level (answer,
//! topic, partition) is encoded by the generated code without what it contains, cut where the contents
//! belong, and put together again around the contents.
//!
//! Invariants: the pieces joined are byte for byte what the generated encoder would have written, in the
//! versions that it knows.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_wire_core::{ApiVersion, EncodeError, Encoder, KafkaEncode};

use crate::messages::{FetchResponse, KafkaMessage};
use crate::old;
use crate::response::{begin_frame, encode_response, set_length};

/// Records shorter than this are copied: a piece of its own costs more than the copy.
pub(crate) const COPIED_BYTES_MAX: usize = 2048;

/// A whole response frame, its length included, to be written in one go.
pub fn encode_fetch_response(
    correlation: i32,
    mut response: FetchResponse,
    version: i16,
) -> Result<Vec<Bytes>, EncodeError> {
    if version < FetchResponse::SUPPORTED_VERSIONS.min().value() {
        return old::encode_fetch_response(correlation, response, version);
    }
    if !response.node_endpoints.is_empty() {
        return Ok(vec![encode_response(correlation, &response, version)?]);
    }
    let mut out = Pieces {
        done: Vec::new(),
        open: begin_frame::<FetchResponse>(correlation, version),
        version: ApiVersion::new(version),
        flexible: FetchResponse::is_flexible(ApiVersion::new(version)),
    };
    let topics = std::mem::take(&mut response.responses);
    out.around(&response)?;
    out.array_len(topics.len())?;
    for topic in topics {
        out.topic(topic)?;
    }
    out.no_tags();
    finish(out.done, out.open)
}

struct Pieces {
    done: Vec<Bytes>,
    open: BytesMut,
    version: ApiVersion,
    flexible: bool,
}

impl Pieces {
    fn topic(&mut self, mut topic: FetchableTopicResponse) -> Result<(), EncodeError> {
        let partitions = std::mem::take(&mut topic.partitions);
        self.around(&topic)?;
        self.array_len(partitions.len())?;
        for partition in partitions {
            self.partition(partition)?;
        }
        self.no_tags();
        Ok(())
    }

    fn partition(&mut self, mut partition: PartitionData) -> Result<(), EncodeError> {
        let by_reference = |records: &Bytes| records.len() > COPIED_BYTES_MAX;
        if !partition.records.as_ref().is_some_and(by_reference) || has_tags(&partition) {
            return self.whole(&partition);
        }
        let records = partition.records.replace(Bytes::new()).unwrap_or_default();
        self.around(&partition)?;
        self.bytes_len(records.len())?;
        self.done.push(self.open.split().freeze());
        self.done.push(records);
        self.no_tags();
        Ok(())
    }

    fn whole(&mut self, message: &impl KafkaEncode) -> Result<(), EncodeError> {
        message.encode_into(&mut self.open, self.version).map(drop)
    }

    /// Writes a message whose last field is empty and which has no tags, without both.
    fn around(&mut self, message: &impl KafkaEncode) -> Result<(), EncodeError> {
        self.whole(message)?;
        // Empty is a length of one byte, and the tags a count of none.
        let behind = if self.flexible { 2 } else { 4 };
        self.open.truncate(self.open.len() - behind);
        Ok(())
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.open.put_u8(0);
        }
    }

    fn array_len(&mut self, length: usize) -> Result<(), EncodeError> {
        let mut encoder = Encoder::new(&mut self.open);
        match self.flexible {
            true => encoder.write_compact_array_len(length),
            false => encoder.write_array_len(length),
        }
    }

    fn bytes_len(&mut self, length: usize) -> Result<(), EncodeError> {
        let mut encoder = Encoder::new(&mut self.open);
        let length = i32::try_from(length).map_err(|_| EncodeError::FrameTooLarge { bytes: length })?;
        match self.flexible {
            // A compact length counts from one.
            true => encoder.write_unsigned_varint(length as u32 + 1),
            false => encoder.write_i32(length),
        }
    }
}

/// The pieces that are done and the last one as a frame, which begins with its length.
pub(crate) fn finish(mut done: Vec<Bytes>, open: BytesMut) -> Result<Vec<Bytes>, EncodeError> {
    if !open.is_empty() {
        done.push(open.freeze());
    }
    let length = done.iter().map(Bytes::len).sum::<usize>() - 4;
    let mut head = BytesMut::from(std::mem::take(&mut done[0]));
    set_length(&mut head, length)?;
    done[0] = head.freeze();
    Ok(done)
}

fn has_tags(partition: &PartitionData) -> bool {
    let none = PartitionData::default();
    partition.diverging_epoch != none.diverging_epoch
        || partition.current_leader != none.current_leader
        || partition.snapshot_id != none.snapshot_id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ApiKey;
    use crate::messages::FetchRequest;
    use crate::request::decode_response;

    fn response(version: i16, partitions: &[usize]) -> FetchResponse {
        let mut response = FetchResponse::default();
        response.session_id = if version >= 7 { 77 } else { 0 };
        for (n, &size) in partitions.iter().enumerate() {
            let mut partition = PartitionData::default();
            partition.partition_index = n as i32;
            partition.high_watermark = 1000;
            partition.records = (size > 0).then(|| Bytes::from(vec![n as u8; size]));
            let mut topic = FetchableTopicResponse::default();
            topic.topic = if version < 13 { "t".into() } else { "".into() };
            topic.partitions = vec![partition; 2];
            response.responses.push(topic);
        }
        response
    }

    #[test]
    fn the_pieces_are_what_the_generated_encoder_writes() {
        for version in ApiKey::Fetch.api().generated_from..=ApiKey::Fetch.api().max {
            for sizes in [&[][..], &[0], &[10], &[3000], &[3000, 0, 100_000], &[5, 2049, 2048]] {
                let response = response(version, sizes);
                let whole = encode_response(3, &response, version).unwrap();
                let pieces = encode_fetch_response(3, response, version).unwrap();
                assert_eq!(pieces.concat(), whole, "version {version}, {sizes:?}");
            }
        }
    }

    #[test]
    fn large_records_are_not_copied() {
        for version in [0, 12] {
            let response = response(version, &[50_000]);
            let records = response.responses[0].partitions[0].records.clone().unwrap();
            let pieces = encode_fetch_response(3, response, version).unwrap();
            assert!(pieces.iter().any(|piece| piece.as_ptr() == records.as_ptr()), "{version}");
        }
    }

    #[test]
    fn a_partition_with_tags_is_written_whole() {
        let mut response = response(12, &[3000]);
        response.responses[0].partitions[0].diverging_epoch.epoch = 5;
        let pieces = encode_fetch_response(3, response, 12).unwrap();
        let read = decode_response::<FetchRequest>(pieces.concat()[8..].to_vec().into(), 12).unwrap();
        assert_eq!(read.responses[0].partitions[0].diverging_epoch.epoch, 5);
        assert_eq!(read.responses[0].partitions[1].records.as_ref().unwrap().len(), 3000);
    }
}
