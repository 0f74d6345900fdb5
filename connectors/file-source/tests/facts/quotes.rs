//! Quotes that are never closed, or not yet.

use serde_json::json;

use crate::folder::{Folder, reasons, texts, troubles};

#[test]
fn a_quote_that_is_never_closed_costs_one_line_of_a_long_file() {
    let folder = Folder::new();
    let rows: String = (0..100_000).map(|row| format!("{row},{row}\n")).collect();
    folder.write("o.csv", format!("a,b\n1,\"2\n{rows}"));
    let read = folder.import("o.csv", json!({"format": "csv", "max_line_bytes": "64KiB"}));
    assert_eq!((read.records.len(), read.bad.len()), (100_000, 1));
}

#[test]
fn a_quote_that_is_never_closed_costs_one_line_of_a_short_file() {
    let folder = Folder::new();
    folder.write("o.csv", "a,b\n1,2\n3,\"4\n5,6\n7,8\n");
    let read = folder.import("o.csv", json!({"format": "csv"}));
    assert_eq!(texts(&read), [r#"{"a":1,"b":2}"#, r#"{"a":5,"b":6}"#, r#"{"a":7,"b":8}"#]);
    assert_eq!(reasons(&read), ["o.csv:3 a quote that is not closed"]);
    assert_eq!(read.bad[0].data, b"3,\"4\n");
}

#[test]
fn a_quote_that_stays_open_is_waited_for_and_told() {
    let folder = Folder::new();
    folder.write("o.csv", "a,b\n1,2\n3,\"4\n");
    let mut source = folder.source("o.csv", json!({"format": "csv"}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), [r#"{"a":1,"b":2}"#]);
    assert!(troubles(&source).is_empty(), "the rest may be being written");
    for _ in 0..10 {
        assert_eq!(source.drain(100).unwrap().records, []);
    }
    assert!(troubles(&source)[0].starts_with("o.csv: the row in line 3 has a quote that is not closed"));
    folder.append("o.csv", "\"\n5,6\n");
    assert_eq!(texts(&source.drain(100).unwrap()), [r#"{"a":3,"b":"4\n"}"#, r#"{"a":5,"b":6}"#]);
    source.drain(100).unwrap();
    assert!(troubles(&source).is_empty());
}

#[test]
fn a_quote_that_is_never_closed_costs_one_line_of_a_file_that_grows() {
    let folder = Folder::new();
    folder.write("o.csv", "a,b\n1,\"2\n");
    let mut source = folder.source("o.csv", json!({"format": "csv", "max_line_bytes": "1KiB"}));
    source.open(None).unwrap();
    let mut rows = 0;
    for _ in 0..100 {
        folder.append("o.csv", &"3,4\n".repeat(100));
        let read = source.drain(100).unwrap();
        assert!(read.bad.iter().all(|bad| bad.data == b"1,\"2\n"));
        rows += read.records.len();
    }
    assert_eq!(rows, 10_000);
}
