//! One partition as it should be: all batches that were appended, and how far they are promised.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;

/// A record: what a consumer would see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) offset: i64,
    pub(crate) key: Bytes,
    pub(crate) value: Option<Bytes>,
    pub(crate) timestamp: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Data { transactional: bool },
    Marker { commit: bool },
}

/// A batch that was appended, or may have been.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) kind: Kind,
    /// Id, epoch, first sequence; without a sequence for a marker.
    pub(crate) producer: Option<(i64, i16, i32)>,
    /// As it was given to the store: all but the bytes that it assigns.
    pub(crate) bytes: Bytes,
    pub(crate) rows: Vec<Row>,
    pub(crate) at_ms: i64,
}

/// Where a producer stands on a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) next_sequence: i32,
    /// Where its open transaction begins.
    pub(crate) open: Option<i64>,
    /// Its last batch with a sequence, as a place in the list.
    pub(crate) last: Option<usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) batches: Vec<Written>,
    pub(crate) end: i64,
    /// Below: durable, as far as anybody was told.
    pub(crate) acked: i64,
    /// What was acknowledged at the last start; behind it, a compacted log may have a gap where appends
    /// were lost that nobody was told of.
    pub(crate) unsure: i64,
    /// A start that was made durable, and the highest that anybody was told or may come true.
    pub(crate) start_acked: i64,
    pub(crate) start_max: i64,
    /// What a media fault may have taken.
    pub(crate) rotten: Vec<Range<i64>>,
    /// Appends are acknowledged before they are durable.
    pub(crate) behind: bool,
    /// Of old, or now.
    pub(crate) compacted: bool,
    /// The partition has told that a sync failed.
    pub(crate) failed: bool,
    pub(crate) high_watermark: i64,
    pub(crate) last_stable: i64,
}

impl Log {
    pub(crate) fn push(&mut self, written: Written) {
        self.end = written.last + 1;
        self.batches.push(written);
    }

    /// The log ends here after all.
    pub(crate) fn truncate(&mut self, end: i64) {
        self.batches.retain(|batch| batch.base < end);
        self.end = end;
    }

    pub(crate) fn at(&self, base: i64) -> Option<&Written> {
        let at = self.batches.binary_search_by_key(&base, |batch| batch.base).ok()?;
        Some(&self.batches[at])
    }

    /// The batch that holds an offset.
    pub(crate) fn holding(&self, offset: i64) -> Option<&Written> {
        let at = self.batches.partition_point(|batch| batch.base <= offset).checked_sub(1)?;
        Some(&self.batches[at]).filter(|batch| batch.last >= offset)
    }

    pub(crate) fn producers(&self) -> BTreeMap<i64, Producer> {
        self.producers_from(0)
    }

    /// As who has the log from an offset on knows them.
    fn producers_from(&self, start: i64) -> BTreeMap<i64, Producer> {
        let mut producers: BTreeMap<i64, Producer> = BTreeMap::new();
        for (place, batch) in self.batches.iter().enumerate().filter(|(_, batch)| batch.last >= start) {
            let Some((id, epoch, sequence)) = batch.producer else { continue };
            let producer = producers.entry(id).or_default();
            match batch.kind {
                Kind::Data { transactional } => {
                    *producer = Producer {
                        epoch,
                        next_sequence: sequence + (batch.last - batch.base) as i32 + 1,
                        open: if transactional { producer.open.or(Some(batch.base)) } else { None },
                        last: Some(place),
                    };
                }
                Kind::Marker { .. } => {
                    producer.open = None;
                    if epoch > producer.epoch {
                        *producer = Producer { epoch, next_sequence: 0, open: None, last: None };
                    }
                }
            }
        }
        producers
    }

    /// Where the first open transaction begins, of what is not before an offset.
    pub(crate) fn first_open(&self, start: i64) -> Option<i64> {
        self.producers_from(start).values().filter_map(|producer| producer.open).min()
    }

    /// Records of committed transactions and of none, in order, before an offset.
    pub(crate) fn committed(&self, before: i64) -> Vec<&Row> {
        let mut committed = Vec::new();
        for (place, batch) in self.batches.iter().enumerate() {
            let seen = match batch.kind {
                Kind::Marker { .. } => false,
                Kind::Data { transactional: false } => true,
                Kind::Data { transactional: true } => self.is_committed(place),
            };
            if seen {
                committed.extend(batch.rows.iter().filter(|row| row.offset < before));
            }
        }
        committed
    }

    fn is_committed(&self, place: usize) -> bool {
        let id = self.batches[place].producer.map(|(id, ..)| id);
        let markers =
            self.batches[place + 1..].iter().filter(|batch| batch.producer.map(|(id, ..)| id) == id);
        let mut ends = markers.filter_map(|batch| match batch.kind {
            Kind::Marker { commit } => Some(commit),
            Kind::Data { .. } => None,
        });
        ends.next().unwrap_or(false)
    }

    pub(crate) fn may_have_lost(&self, offset: i64) -> bool {
        self.rotten.iter().any(|range| range.contains(&offset))
    }
}
