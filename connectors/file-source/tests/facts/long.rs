//! Lines and rows that are longer than a record may be.

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
fn long_lines_can_stop_the_source() {
    let folder = Folder::new();
    folder.write("a.log", "abcdef\n");
    let mut source = folder.source("a.log", json!({"on_long_line": "fail", "max_line_bytes": 3}));
    source.open(None).unwrap();
    assert!(matches!(source.poll(100), Err(Error::Fatal(reason)) if reason.contains("a.log:1")));
}

#[test]
fn a_long_row_is_got_over_with_the_line_ends_in_its_quotes() {
    let folder = Folder::new();
    let text = "a line of \"\"text\"\", 1\n".repeat(20_000);
    folder.write("o.csv", format!("a,b\n1,2\n3,\"{text}\"\n5,6\n7,\"{text}\""));
    for policy in ["reject", "skip"] {
        let config =
            json!({"format": "csv", "max_line_bytes": "64KiB", "on_long_line": policy, "headers": true});
        let read = folder.import("o.csv", config);
        assert_eq!(texts(&read), [r#"{"a":1,"b":2}"#, r#"{"a":5,"b":6}"#]);
        assert_eq!(read.records[1].headers[1].1, Some(b"20004".to_vec()));
        if policy == "reject" {
            let long = "longer than max_line_bytes = 65536";
            assert_eq!(reasons(&read), [format!("o.csv:3 {long}"), format!("o.csv:20005 {long}")]);
        }
    }
}

#[test]
fn a_long_row_that_is_being_written_is_waited_for() {
    let folder = Folder::new();
    let text = "a line\n".repeat(1_000);
    folder.write("o.csv", format!("a,b\n1,\"{text}"));
    let mut source = folder.source("*.csv", json!({"format": "csv", "max_line_bytes": "2KiB"}));
    source.open(None).unwrap();
    for _ in 0..3 {
        assert_eq!(source.drain(100).unwrap().records, []);
        folder.append("o.csv", &text);
    }
    folder.append("o.csv", "\"\n3,4\n");
    let read = source.drain(100).unwrap();
    assert_eq!(texts(&read), [r#"{"a":3,"b":4}"#]);
    assert_eq!(reasons(&read), ["o.csv:2 longer than max_line_bytes = 2048"]);
}
