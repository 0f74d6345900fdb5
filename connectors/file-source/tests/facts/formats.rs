//! From bytes to records.

use serde_json::json;

use crate::folder::{Folder, keys, reasons, texts, troubles};

#[test]
fn lines_of_all_files_in_order() {
    let folder = Folder::new();
    folder.write("b.log", "3\n\n4");
    folder.write("a.log", "1\r\n2\n");
    folder.write("sub/c.log", "no");
    assert_eq!(texts(&folder.import("*.log", json!({}))), ["1", "2", "3", "", "4"]);
    assert_eq!(texts(&folder.import("**/*.log", json!({"exclude": [folder.path("b*")]}))), ["1", "2", "no"]);
}

#[test]
fn rows_become_objects_with_types_keys_and_timestamps() {
    let folder = Folder::new();
    folder.write(
        "o.csv",
        "\u{feff}id,amount,name,zip,at\n7,1.50,\"Zoë \"\"Z\"\"\",01234,2026-11-21\n8,,\"\",5,2026-11-22\n",
    );
    let read = folder.import("o.csv", json!({"format": "csv", "key": "id", "timestamp": "at"}));
    assert_eq!(
        texts(&read),
        [
            r#"{"id":7,"amount":1.50,"name":"Zoë \"Z\"","zip":"01234","at":"2026-11-21"}"#,
            r#"{"id":8,"amount":null,"name":"","zip":5,"at":"2026-11-22"}"#,
        ]
    );
    assert_eq!(keys(&read), ["7", "8"]);
    assert_eq!(read.records[0].timestamp, 1_795_219_200_000);

    let typed =
        json!({"format": "csv", "infer": false, "types": {"id": "int", "amount": "float"}, "null": "8"});
    assert_eq!(
        texts(&folder.import("o.csv", typed))[0],
        r#"{"id":7,"amount":1.50,"name":"Zoë \"Z\"","zip":"01234","at":"2026-11-21"}"#
    );
}

#[test]
fn a_csv_may_bring_no_header_and_other_signs() {
    let folder = Folder::new();
    folder.write("o.csv", "1;'a;b'\n2;c\n");
    let config = json!({"format": "csv", "columns": ["id", "x"], "delimiter": ";", "quote": "'"});
    assert_eq!(texts(&folder.import("o.csv", config)), [r#"{"id":1,"x":"a;b"}"#, r#"{"id":2,"x":"c"}"#]);
    folder.write("p.csv", "a;b\n1;2\n");
    let config = json!({"format": "csv", "columns": ["id", "x"], "header": true, "delimiter": ";"});
    assert_eq!(texts(&folder.import("p.csv", config)), [r#"{"id":1,"x":2}"#]);
}

#[test]
fn rows_that_do_not_fit_are_bad_and_the_others_go_on() {
    let folder = Folder::new();
    folder.write("o.csv", b"id,n\n1\n2,3,4\n5,x\n\"6\"y,7\n8,\xff\n\n9,10\n");
    let read = folder.import("o.csv", json!({"format": "csv", "types": {"n": "int"}}));
    assert_eq!(texts(&read), [r#"{"id":9,"n":10}"#]);
    assert_eq!(
        reasons(&read),
        [
            "o.csv:2 1 fields where there are 2 columns: too few",
            "o.csv:3 3 fields where there are 2 columns: too many",
            "o.csv:4 n: \"x\" is no int",
            "o.csv:5 text behind a closing quote",
            "o.csv:6 not UTF-8 from byte 2 of the row",
        ]
    );
    assert_eq!(read.bad[0].data, b"1\n");
}

#[test]
fn quoted_line_ends_count_as_lines() {
    let folder = Folder::new();
    folder.write("o.csv", "a\n\"x\ny\"\nb,c\n");
    let read = folder.import("o.csv", json!({"format": "csv", "headers": true}));
    assert_eq!(texts(&read), [r#"{"a":"x\ny"}"#]);
    assert_eq!(read.records[0].headers[1], ("flumen.line".into(), Some(b"2".to_vec())));
    assert!(read.records[0].headers[0].1.as_ref().unwrap().ends_with(b"o.csv"));
    assert!(reasons(&read)[0].starts_with("o.csv:4 "));
}

#[test]
fn json_lines_are_checked_and_kept_as_written() {
    let folder = Folder::new();
    folder.write("o.jsonl", "{\"a\": {\"k\": \"x\\ty\"}}\n\n  {\"a\": 1}\nnope\n[1]\n");
    let read = folder.import("o.jsonl", json!({"format": "jsonl", "key": "a.k"}));
    assert_eq!(texts(&read), [r#"{"a": {"k": "x\ty"}}"#]);
    assert_eq!(keys(&read), ["x\ty"]);
    assert_eq!(reasons(&read).len(), 3);
    assert_eq!(texts(&folder.import("o.jsonl", json!({"format": "jsonl"}))).len(), 3);
}

#[test]
fn an_unusable_file_does_not_stop_the_others() {
    let folder = Folder::new();
    folder.write("a.csv", "id,id\n1,2\n");
    folder.write("b.csv", "x\n1\n");
    folder.write("c.csv", "id\n3\n");
    std::os::unix::fs::symlink(folder.path("nowhere"), folder.path("d.csv")).unwrap();
    let read = folder.import("*.csv", json!({"format": "csv", "key": "id"}));
    assert_eq!(texts(&read), [r#"{"id":3}"#]);
}

#[test]
fn nothing_to_read_is_an_end_too() {
    let folder = Folder::new();
    assert_eq!(folder.import("*.csv", json!({})).records, []);
    assert_eq!(folder.import("gone/*.csv", json!({})).records, []);
    folder.write("empty.csv", "");
    assert_eq!(folder.import("*.csv", json!({"format": "csv"})).records, []);
}

#[test]
fn a_row_without_a_key_is_bad() {
    let folder = Folder::new();
    folder.write("o.csv", "id,n\n1,2\n,3\n\"\",4\n");
    let read = folder.import("o.csv", json!({"format": "csv", "key": "id"}));
    assert_eq!(keys(&read), ["1", ""], "the text of no letters is a key if it was meant to be one");
    assert_eq!(reasons(&read), ["o.csv:3 no value in column \"id\" for the key"]);
}

#[test]
fn marks_and_line_ends_of_windows_are_no_part_of_a_record() {
    let folder = Folder::new();
    folder.write("a.log", "\u{feff}1\r\n2\r\n3\r");
    folder.write("b.csv", "\u{feff}a,b\r\n1,\"2\"\r\n\r\n3,\r\n");
    folder.write("c.jsonl", "\u{feff}{}\r\n\r\n[]\r\n");
    assert_eq!(texts(&folder.import("a.log", json!({}))), ["1", "2", "3"]);
    let read = folder.import("b.csv", json!({"format": "csv"}));
    assert_eq!(texts(&read), [r#"{"a":1,"b":2}"#, r#"{"a":3,"b":null}"#]);
    assert_eq!(texts(&folder.import("c.jsonl", json!({"format": "jsonl"}))), ["{}", "[]"]);
}

#[test]
fn a_csv_with_another_line_end_is_told_and_not_taken_for_a_header() {
    let folder = Folder::new();
    folder.write("cr.csv", "id,amount\r20,1\r21,2\r");
    let mut source = folder.source("cr.csv", json!({"format": "csv", "at_end": "exit"}));
    source.open(None).unwrap();
    let read = source.drain(1 << 20).unwrap();
    assert!(read.records.is_empty());
    assert!(troubles(&source)[0].contains("CR alone"), "{:?}", troubles(&source));
}
