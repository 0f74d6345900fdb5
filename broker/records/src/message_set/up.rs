//! From a message set, as a client sends it, to batches.
//!
//! Each wrapper becomes a batch in its codec, the plain messages between two wrappers become batches
//! without one. The offsets in a set are not looked at, as Kafka does not: what clients write there
//! differs (pykafka writes -1), and the order is the one that counts.

use bytes::Bytes;

use super::{Error, Message, Messages};
use crate::{BatchBuilder, Compression, NewRecord, TimestampType};

/// Plain messages are put into batches of about this size: small enough for every `max.message.bytes`
/// that their senders can have met, for that was a limit for each message.
const PLAIN_BATCH_BYTES: usize = 256 * 1024;

/// What the wrappers of sets may come to when they are unpacked; what they do come to is taken off.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub bytes: usize,
    /// Of one wrapper.
    pub wrapper_bytes: usize,
    pub messages: usize,
}

/// The records of a set as whole batches, one after another; nothing if the set is empty. A message at the
/// end that is cut short is left out, as Kafka leaves it out.
///
/// An error as soon as the room is found not to be enough.
pub fn upgrade(set: &[u8], room: &mut Room) -> Result<Bytes, Error> {
    let mut batches = Batches::default();
    for message in Messages::new(set) {
        let message = message?;
        match message.compression()? {
            Compression::None => batches.push(&message)?,
            codec => {
                let inner = message.unpack(room.bytes.min(room.wrapper_bytes))?;
                room.bytes -= inner.len();
                room.messages -= batches.push_wrapped(&message, &inner, codec, room.messages)?;
            }
        }
    }
    batches.close()?;
    Ok(batches.done.into())
}

#[derive(Default)]
struct Batches {
    done: Vec<u8>,
    /// Of plain messages.
    open: Option<BatchBuilder>,
}

impl Batches {
    fn push(&mut self, message: &Message<'_>) -> Result<(), Error> {
        let full = |open: &BatchBuilder| open.len_bytes() + message_len(message) > PLAIN_BATCH_BYTES;
        if self.open.as_ref().is_some_and(full) {
            self.close()?;
        }
        let open = self.open.get_or_insert_with(|| BatchBuilder::new(Compression::None));
        push(open, message)
    }

    /// How many there were.
    fn push_wrapped(
        &mut self,
        wrapper: &Message<'_>,
        set: &[u8],
        codec: Compression,
        count_max: usize,
    ) -> Result<usize, Error> {
        self.close()?;
        refuse_append_time(wrapper)?;
        let mut batch = BatchBuilder::new(codec);
        let mut messages = Messages::new(set);
        for message in messages.by_ref() {
            let message = message?;
            if batch.count() == count_max {
                return Err(Error::TooMany(count_max));
            }
            if message.magic != wrapper.magic {
                return Err(message.wrong("its magic is not that of its wrapper"));
            }
            if message.compression()? != Compression::None {
                return Err(message.wrong("it is compressed, and so is its wrapper"));
            }
            push(&mut batch, &message)?;
        }
        if !messages.rest().is_empty() {
            return Err(wrapper.wrong("a message in it is cut short"));
        }
        if batch.is_empty() {
            return Err(wrapper.wrong("its wrapper is empty"));
        }
        let count = batch.count();
        self.done.extend_from_slice(&batch.build()?);
        Ok(count)
    }

    fn close(&mut self) -> Result<(), Error> {
        if let Some(open) = self.open.take() {
            self.done.extend_from_slice(&open.build()?);
        }
        Ok(())
    }
}

fn push(batch: &mut BatchBuilder, message: &Message<'_>) -> Result<(), Error> {
    refuse_append_time(message)?;
    let Message { timestamp, key, value, .. } = *message;
    batch.push(&NewRecord { timestamp, key, value, headers: &[] });
    Ok(())
}

fn refuse_append_time(message: &Message<'_>) -> Result<(), Error> {
    match message.timestamp_type() {
        TimestampType::CreateTime => Ok(()),
        TimestampType::LogAppendTime => Err(Error::LogAppendTime),
    }
}

fn message_len(message: &Message<'_>) -> usize {
    message.key.map_or(0, <[u8]>::len) + message.value.map_or(0, <[u8]>::len)
}
