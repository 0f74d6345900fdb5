//! What is packed comes out again; what is taken back leaves no trace.

use flumen_sdk::testing::{Harness, Record, pack, setup, unpack};
use flumen_sdk::{Error, NewRecord, Output, Plugin, RecordRef, Result, Setup, Transform};

fn sample() -> Vec<Record> {
    vec![
        Record::value("plain"),
        Record::value("x".repeat(10_000)).key("k").timestamp(-5).header("h", "v").header("empty", ""),
        Record::tombstone("gone").timestamp(1 << 40),
        Record::value("").key(""),
    ]
}

#[test]
fn records_survive_packing() {
    let packed = pack("t", 40, &sample());
    let batch = packed.batch();
    assert_eq!(batch.records().map(|record| Record::of(&record)).collect::<Vec<_>>(), sample());
    assert_eq!(batch.records().map(|record| record.offset()).collect::<Vec<_>>(), [40, 41, 42, 43]);
    assert_eq!(batch.records().map(|record| record.position()).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn the_last_header_of_a_name_counts() {
    let packed = pack("t", 0, &[Record::value("v").header("a", "1").header("b", "2").header("a", "3")]);
    let record = packed.batch().records().next().unwrap();
    assert_eq!(record.header("a"), Some(&b"3"[..]));
    assert_eq!(record.header("b"), Some(&b"2"[..]));
    assert_eq!(record.header("c"), None);
}

#[test]
fn a_topic_that_stamps_records_itself_decides_their_timestamps() {
    let packed = pack("t", 0, &sample());
    let mut batch = packed.batch();
    batch.append_timestamp = Some(77);
    assert!(batch.records().all(|record| record.timestamp() == 77));
}

#[test]
fn forwarded_records_are_equal_and_numbered_anew() {
    let packed = pack("t", 0, &sample());
    let mut out = Output::new(Some(3));
    for record in packed.batch().records().skip(1) {
        out.forward(&record);
    }
    let records: Vec<Record> = unpack(out).into_iter().map(|(_, record)| record).collect();
    assert_eq!(records, sample()[1..]);
}

#[test]
fn inherited_headers_come_before_new_ones() {
    let packed = pack("t", 0, &[Record::value("v").header("a", "1")]);
    let record = packed.batch().records().next().unwrap();
    let mut out = Output::default();
    out.push(&NewRecord { headers: &[(b"b", None)], ..NewRecord::like(&record, Some(b"w")) });
    let (_, made) = unpack(out).remove(0);
    assert_eq!(made.headers, [("a".into(), Some(b"1".to_vec())), ("b".into(), None)]);
    assert_eq!(made.text(), "w");
}

#[test]
#[should_panic(expected = "record 0 of 1 cannot be read")]
fn a_batch_that_lies_about_a_length_is_the_hosts_bug() {
    let packed = pack("t", 0, &[Record::value("v")]);
    let mut batch = packed.batch();
    let cut = &batch.records[..batch.records.len() - 1];
    batch.records = cut;
    batch.records().for_each(drop);
}

/// Writes each record twice, to two outputs, and only then looks whether it is bad.
struct Twice;

impl Plugin for Twice {
    type Config = ();
    fn new((): (), _: &Setup) -> Result<Self> {
        Ok(Twice)
    }
}

impl Transform for Twice {
    fn transform(&mut self, record: &RecordRef<'_>, out: &mut Output) -> Result<()> {
        out.forward(record);
        out.forward_to(1, record);
        match record.value() {
            Some(b"bad") => Err(Error::reject("it says so")),
            Some(b"down") => Err(Error::retry("later")),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_rejected_record_leaves_nothing_in_any_output() {
    let mut plugin = Harness::<Twice>::with_setup("null", &setup(&["in"], &["a", "b"])).unwrap();
    let records = ["one", "bad", "two", "bad"].map(Record::value);
    let done = plugin.transform(&records).unwrap();
    let written: Vec<_> = done.records.iter().map(|(output, record)| (*output, record.text())).collect();
    assert_eq!(written, [(0, "one"), (0, "two"), (1, "one"), (1, "two")]);
    assert_eq!(done.rejected.iter().collect::<Vec<_>>(), [(1, "it says so"), (3, "it says so")]);
}

#[test]
fn a_systemic_error_stops_the_batch() {
    let mut plugin = Harness::<Twice>::new("null").unwrap();
    let failed = plugin.transform(&["one", "down"].map(Record::value)).unwrap_err();
    assert_eq!(failed, Error::retry("later"));
}

#[test]
fn an_unknown_output_is_named_with_those_that_are_known() {
    let error = setup(&["in"], &["a", "b"]).output("c").unwrap_err();
    assert_eq!(error.reason(), "there is no output \"c\"; this plugin writes to a, b");
}
