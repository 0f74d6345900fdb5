//! Batches and message sets.

use bytes::Bytes;
use flumen_records::message_set::{Magic, Messages, Room, downgrade, upgrade};
use flumen_records::{Batch, HEADER_LEN, batches, old_message_format, old_message_len, seal};
use flumen_types::Offset;

/// A batch may grow to this when it is unpacked.
const ROOM: usize = 1 << 20;

pub(crate) fn run(data: &[u8]) {
    let _ = old_message_format(data);
    let _ = old_message_len(data);
    for batch in batches(Bytes::copy_from_slice(data)).map_while(Result::ok) {
        look_into(&batch);
        // Behind the CRC is more to get wrong than random bytes would ever reach.
        let mut sealed = batch.bytes().to_vec();
        seal(&mut sealed);
        let sealed = Batch::parse(sealed.into()).expect("a batch with another CRC is a batch");
        sealed.verify_crc().expect("a sealed batch has the right CRC");
        look_into(&sealed);
    }
}

fn look_into(batch: &Batch) {
    let header = batch.header();
    assert!(header.total_len() >= HEADER_LEN && header.total_len() == batch.bytes().len());
    let _ = (header.last_sequence(), batch.verify_crc(), batch.control());
    let Ok(records) = batch.records(ROOM) else { return };
    assert!(records.payload().len() <= ROOM, "what is unpacked is bounded");
    let mut left = records.payload().len();
    for record in records.iter().map_while(Result::ok) {
        assert!(record.raw().len() <= left, "records do not overlap");
        left -= record.raw().len();
        for header in record.headers() {
            let _ = header;
        }
    }
    for magic in [Magic::V0, Magic::V1] {
        let mut set = b"before".to_vec();
        let written = downgrade(batch, magic, Offset::ZERO, ROOM, &mut set);
        assert!(set.starts_with(b"before"));
        assert!(written.is_ok() || set.len() == 6, "after an error the set is as it was");
        if written.is_ok() {
            assert!(Messages::new(&set[6..]).all(|message| message.is_ok()), "what is written can be read");
        }
    }
}

pub(crate) fn run_message_set(data: &[u8]) {
    let mut room = Room { bytes: ROOM, wrapper_bytes: ROOM, messages: ROOM };
    let Ok(batch) = upgrade(data, &mut room) else { return };
    assert!(room.bytes <= ROOM && room.messages <= ROOM);
    for batch in batches(batch) {
        let batch = batch.expect("what a set becomes is whole batches");
        batch.verify_crc().expect("with the right CRC");
        let records = batch.records(4 * ROOM).expect("which can be unpacked");
        let read = records.iter().collect::<Result<Vec<_>, _>>().expect("and read");
        assert_eq!(read.len(), records.count() as usize);
    }
}
