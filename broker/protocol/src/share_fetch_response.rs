//! A share fetch's answer in pieces, as [`crate::fetch_response`]: the records by reference.
//!
//! Invariants: the pieces joined are byte for byte what the generated encoder would have written.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::share_fetch_response::{PartitionData, ShareFetchableTopicResponse};
use kafka_wire_core::{ApiVersion, EncodeError, Encoder, KafkaEncode};

use crate::fetch_response::{COPIED_BYTES_MAX, finish};
use crate::messages::ShareFetchResponse;
use crate::response::{begin_frame, encode_response};

/// What an empty array, or empty bytes, take.
const EMPTY: usize = 1;
const NO_TAGS: usize = 1;

/// A whole response frame, its length included, to be written in one go.
pub fn encode_share_fetch_response(
    correlation: i32,
    mut response: ShareFetchResponse,
    version: i16,
) -> Result<Vec<Bytes>, EncodeError> {
    if !response.node_endpoints.is_empty() {
        return Ok(vec![encode_response(correlation, &response, version)?]);
    }
    let mut out = Pieces {
        done: Vec::new(),
        open: begin_frame::<ShareFetchResponse>(correlation, version),
        version: ApiVersion::new(version),
    };
    let topics = std::mem::take(&mut response.responses);
    // Behind the topics come the endpoints, of which there are none.
    out.before(&response, EMPTY + EMPTY + NO_TAGS)?;
    out.count(topics.len())?;
    for topic in topics {
        out.topic(topic)?;
    }
    out.count(0)?;
    out.open.put_u8(0);
    finish(out.done, out.open)
}

struct Pieces {
    done: Vec<Bytes>,
    open: BytesMut,
    version: ApiVersion,
}

impl Pieces {
    fn topic(&mut self, mut topic: ShareFetchableTopicResponse) -> Result<(), EncodeError> {
        let partitions = std::mem::take(&mut topic.partitions);
        self.before(&topic, EMPTY + NO_TAGS)?;
        self.count(partitions.len())?;
        for partition in partitions {
            self.partition(partition)?;
        }
        self.open.put_u8(0);
        Ok(())
    }

    fn partition(&mut self, mut partition: PartitionData) -> Result<(), EncodeError> {
        if partition.records.len() <= COPIED_BYTES_MAX {
            return partition.encode_into(&mut self.open, self.version).map(drop);
        }
        let records = std::mem::take(&mut partition.records);
        let acquired = std::mem::take(&mut partition.acquired_records);
        self.before(&partition, EMPTY + EMPTY + NO_TAGS)?;
        self.count(records.len())?;
        self.done.push(self.open.split().freeze());
        self.done.push(records);
        self.count(acquired.len())?;
        for acquired in acquired {
            acquired.encode_into(&mut self.open, self.version)?;
        }
        self.open.put_u8(0);
        Ok(())
    }

    /// Writes a message without its last so many bytes, which are empty.
    fn before(&mut self, message: &impl KafkaEncode, behind: usize) -> Result<(), EncodeError> {
        message.encode_into(&mut self.open, self.version)?;
        self.open.truncate(self.open.len() - behind);
        Ok(())
    }

    /// Of items, or of bytes.
    fn count(&mut self, count: usize) -> Result<(), EncodeError> {
        Encoder::new(&mut self.open).write_compact_array_len(count)
    }
}

#[cfg(test)]
mod tests {
    use kafka_wire::share_fetch_response::AcquiredRecords;

    use super::*;
    use crate::api::ApiKey;

    fn response(sizes: &[usize]) -> ShareFetchResponse {
        let mut response = ShareFetchResponse::default();
        response.acquisition_lock_timeout_ms = 30_000;
        response.error_message = None;
        for (n, size) in sizes.iter().enumerate() {
            let mut partition = PartitionData::default();
            partition.partition_index = n as i32;
            partition.error_message = Some("words".into());
            partition.records = Bytes::from(vec![n as u8; *size]);
            let mut acquired = AcquiredRecords::default();
            acquired.last_offset = *size as i64;
            acquired.delivery_count = 1;
            partition.acquired_records = vec![acquired; n];
            let mut topic = ShareFetchableTopicResponse::default();
            topic.partitions = vec![partition; 2];
            response.responses.push(topic);
        }
        response
    }

    #[test]
    fn the_pieces_are_what_the_generated_encoder_writes() {
        let api = ApiKey::ShareFetch.api();
        for version in api.min..=api.max {
            for sizes in [&[][..], &[0], &[10], &[3000], &[3000, 0, 100_000, 7]] {
                let response = response(sizes);
                let whole = encode_response(3, &response, version).unwrap();
                let pieces = encode_share_fetch_response(3, response, version).unwrap();
                assert_eq!(pieces.concat(), whole, "version {version}, {sizes:?}");
            }
        }
    }

    #[test]
    fn large_records_are_not_copied() {
        let response = response(&[50_000]);
        let records = response.responses[0].partitions[0].records.clone();
        let pieces = encode_share_fetch_response(3, response, 2).unwrap();
        assert!(pieces.iter().any(|piece| piece.as_ptr() == records.as_ptr()));
    }
}
