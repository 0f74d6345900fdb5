//! Drives a plugin natively, as the host would: records are packed, handed over, and unpacked again.

use crate::{
    BadInput, Batch, Error, Filter, NewRecord, Output, Plugin, Polled, RecordRef, Rejections, Result, Setup,
    Sink, Source, SqlSink, Transform, filter, plugin, sink, sql::Database, transform,
};

/// A record that owns its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        Record { value: Some(value.into()), ..Record::default() }
    }

    pub fn tombstone(key: impl Into<Vec<u8>>) -> Self {
        Record { key: Some(key.into()), ..Record::default() }
    }

    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = timestamp;
        self
    }

    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), Some(value.into())));
        self
    }

    /// The value as text, for comparing.
    pub fn text(&self) -> &str {
        std::str::from_utf8(self.value.as_deref().unwrap_or_default()).unwrap_or("(not UTF-8)")
    }

    pub fn of(record: &RecordRef<'_>) -> Self {
        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        let headers = record.headers().iter();
        Record {
            timestamp: record.timestamp(),
            key: owned(record.key()),
            value: owned(record.value()),
            headers: headers.map(|(k, v)| (String::from_utf8_lossy(k).into_owned(), owned(v))).collect(),
        }
    }
}

/// What a transform made of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transformed {
    /// Output index and record; those of one output in order.
    pub records: Vec<(u32, Record)>,
    pub rejected: Rejections,
}

/// What a poll brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    pub records: Vec<Record>,
    pub bad: Vec<BadInput>,
    pub cursor: Option<Vec<u8>>,
    pub idle: bool,
    pub finished: bool,
}

/// A plugin with its place in a configuration.
pub struct Harness<P> {
    pub plugin: P,
    topic: String,
    next_offset: i64,
}

impl<P: Plugin> Harness<P> {
    /// From the configuration as JSON.
    pub fn new(config: &str) -> Result<Self> {
        Self::with_setup(config, &setup(&["in"], &["out"]))
    }

    pub fn with_setup(config: &str, setup: &Setup) -> Result<Self> {
        let plugin = P::new(plugin::parse_config::<P>(config)?, setup)?;
        let topic = setup.inputs.first().cloned().unwrap_or_default();
        Ok(Harness { plugin, topic, next_offset: 0 })
    }

    fn packed(&mut self, records: &[Record]) -> Packed {
        let packed = pack(&self.topic, self.next_offset, records);
        self.next_offset += records.len() as i64;
        packed
    }
}

impl<P: Filter> Harness<P> {
    /// For each record, whether it stays; the first rejection is an error.
    pub fn filter(&mut self, records: &[Record]) -> Result<Vec<bool>> {
        let (kept, rejected) = self.filter_all(records)?;
        match rejected.iter().next() {
            Some((position, reason)) => Err(Error::reject(format_args!("record {position}: {reason}"))),
            None => Ok(kept),
        }
    }

    pub fn filter_all(&mut self, records: &[Record]) -> Result<(Vec<bool>, Rejections)> {
        let packed = self.packed(records);
        let kept = filter::run(&mut self.plugin, &packed.batch())?;
        Ok(((0..packed.count).map(|position| kept.is_kept(position)).collect(), kept.rejected))
    }
}

impl<P: Transform> Harness<P> {
    pub fn transform(&mut self, records: &[Record]) -> Result<Transformed> {
        let packed = self.packed(records);
        let (out, rejected) = transform::run(&mut self.plugin, &packed.batch())?;
        Ok(Transformed { records: unpack(out), rejected })
    }
}

impl<P: Source> Harness<P> {
    pub fn open(&mut self, cursor: Option<&[u8]>) -> Result<()> {
        self.plugin.open(cursor)
    }

    pub fn poll(&mut self, max_bytes: usize) -> Result<Read> {
        let mut out = Output::default();
        let Polled { bad, cursor, idle, finished } = self.plugin.poll(max_bytes, &mut out)?;
        let records = unpack(out).into_iter().map(|(_, record)| record).collect();
        Ok(Read { records, bad, cursor, idle: idle.is_some(), finished })
    }

    /// Polls until the source is idle or has finished; the cursor is the last one.
    pub fn drain(&mut self, max_bytes: usize) -> Result<Read> {
        let mut all = Read::default();
        while !all.idle && !all.finished {
            let read = self.poll(max_bytes)?;
            all.records.extend(read.records);
            all.bad.extend(read.bad);
            all.cursor = read.cursor.or(all.cursor);
            (all.idle, all.finished) = (read.idle, read.finished);
        }
        Ok(all)
    }
}

impl<P: Sink> Harness<P> {
    pub fn write(&mut self, records: &[Record]) -> Result<Rejections> {
        let packed = self.packed(records);
        sink::rejections(self.plugin.write(&packed.batch()), packed.count)
    }
}

impl<P: SqlSink> Harness<P> {
    pub fn write_to(&mut self, database: &mut dyn Database, records: &[Record]) -> Result<Rejections> {
        let packed = self.packed(records);
        sink::rejections(self.plugin.write(&packed.batch(), database), packed.count)
    }
}

/// A setup with these topics, and nothing else out of the ordinary.
pub fn setup(inputs: &[&str], outputs: &[&str]) -> Setup {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Setup {
        name: "test".to_owned(),
        task: 0,
        tasks: 1,
        inputs: owned(inputs),
        outputs: owned(outputs),
        finish: false,
    }
}

/// A batch that owns its bytes.
#[derive(Clone, Debug)]
pub struct Packed {
    topic: String,
    base_offset: i64,
    base_timestamp: i64,
    count: u32,
    records: Vec<u8>,
}

impl Packed {
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            topic: &self.topic,
            partition: 0,
            base_offset: self.base_offset,
            base_timestamp: self.base_timestamp,
            append_timestamp: None,
            count: self.count,
            records: &self.records,
        }
    }
}

/// Packs records as the host would.
pub fn pack(topic: &str, base_offset: i64, records: &[Record]) -> Packed {
    let base_timestamp = records.first().map_or(0, |record| record.timestamp);
    let mut out = Output::new(Some(base_timestamp));
    for record in records {
        let headers: Vec<_> =
            record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())).collect();
        out.push(&NewRecord {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            ..NewRecord::at(record.timestamp)
        });
    }
    let records = out.into_batches().pop().map(|batch| (batch.count, batch.records)).unwrap_or_default();
    Packed { topic: topic.to_owned(), base_offset, base_timestamp, count: records.0, records: records.1 }
}

/// Unpacks what was written, by output in order of first use.
pub fn unpack(out: Output) -> Vec<(u32, Record)> {
    let mut records = Vec::new();
    for batch in out.into_batches() {
        let packed = Packed {
            topic: String::new(),
            base_offset: 0,
            base_timestamp: batch.base_timestamp,
            count: batch.count,
            records: batch.records,
        };
        records.extend(packed.batch().records().map(|record| (batch.output, Record::of(&record))));
    }
    records
}
