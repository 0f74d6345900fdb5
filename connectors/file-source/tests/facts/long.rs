//! Lines and rows that are longer than a record may be, and quotes that stay open.

use flumen_sdk::Error;
use serde_json::json;

use crate::folder::{Folder, reasons, texts};

#[test]
fn a_line_of_50_mib_is_got_over() {
    let folder = Folder::new();
    let mut content = b"first\n".to_vec();
    content.resize(50 << 20, b'x');
    content.extend_from_slice(b"\nlast\n");
    folder.write("a.log", content);
    let read = folder.import("a.log", json!({}));
    assert_eq!(texts(&read), ["first", "last"]);
    assert_eq!(reasons(&read), ["a.log:2 longer than max_line_bytes = 1048576"]);
    assert_eq!(read.bad[0].data.len(), 64 << 10);
    assert_eq!(texts(&folder.import("a.log", json!({"on_long_line": "skip"}))), ["first", "last"]);
    let read = folder.import("a.log", json!({"on_long_line": "truncate", "max_line_bytes": "2KiB"}));
    assert_eq!(read.records.iter().map(|record| record.text().len()).collect::<Vec<_>>(), [5, 2048, 4]);
}

#[test]
fn a_quote_that_is_never_closed_costs_one_line_of_a_long_file() {
    let folder = Folder::new();
    let rows: String = (0..100_000).map(|row| format!("{row},{row}\n")).collect();
    folder.write("o.csv", format!("a,b\n1,\"2\n{rows}"));
    let read = folder.import("o.csv", json!({"format": "csv", "max_line_bytes": "64KiB"}));
    assert_eq!((read.records.len(), read.bad.len()), (100_000, 1));
}

#[test]
fn long_lines_can_stop_the_source() {
    let folder = Folder::new();
    folder.write("a.log", "abcdef\n");
    let mut source = folder.source("a.log", json!({"on_long_line": "fail", "max_line_bytes": 3}));
    source.open(None).unwrap();
    assert!(matches!(source.poll(100), Err(Error::Fatal(reason)) if reason.contains("a.log:1")));
}
