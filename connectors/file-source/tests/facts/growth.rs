//! Files that grow, and going on where a cursor says.

use flumen_sdk::testing::Read;
use serde_json::json;

use crate::folder::{Folder, texts};

#[test]
fn only_whole_lines_are_read_from_a_file_that_grows() {
    let folder = Folder::new();
    folder.write("a.log", "one\ntw");
    let mut source = folder.source("*.log", json!({}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), ["one"]);
    assert_eq!(texts(&source.drain(100).unwrap()), [""; 0]);
    folder.append("a.log", "o\nthree\n");
    folder.write("b.log", "four\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["two", "three", "four"]);
}

#[test]
fn a_cursor_goes_on_where_it_was_taken() {
    let folder = Folder::new();
    let lines: String = (0..1000).map(|line| format!("line {line}\n")).collect();
    folder.write("a.csv", format!("h\n{lines}"));
    folder.write("b.csv", "h\nlast\n");
    let config = json!({"format": "csv", "at_end": "exit"});
    let (mut cursor, mut all) = (None::<Vec<u8>>, Vec::new());
    loop {
        let mut source = folder.source("*.csv", config.clone());
        source.open(cursor.as_deref()).unwrap();
        let read = source.poll(500).unwrap();
        all.extend(read.records.iter().map(|record| record.text().to_owned()));
        cursor = read.cursor.or(cursor);
        if read.finished {
            break;
        }
    }
    assert_eq!(all.len(), 1001);
    assert!(all.iter().take(1000).enumerate().all(|(at, text)| *text == format!("{{\"h\":\"line {at}\"}}")));
}

#[test]
fn a_second_import_reads_what_is_new() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2");
    let mut first = folder.source("*.log", json!({"at_end": "exit"}));
    first.open(None).unwrap();
    let cursor = first.drain(100).unwrap().cursor;
    folder.append("a.log", "\n3\n");
    folder.write("b.log", "4\n");
    let mut second = folder.source("*.log", json!({"at_end": "exit"}));
    second.open(cursor.as_deref()).unwrap();
    assert_eq!(texts(&second.drain(100).unwrap()), ["", "3", "4"]);
}

#[test]
fn what_is_there_at_the_first_start_can_be_left_out() {
    let folder = Folder::new();
    folder.write("a.log", "old\n");
    let mut source = folder.source("a.log", json!({"start": "end"}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), [""; 0]);
    folder.append("a.log", "new\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["new"]);
}

#[test]
fn the_first_row_after_a_start_at_the_end_is_a_row() {
    let folder = Folder::new();
    folder.write("a.csv", "id\n1\n2");
    folder.write("b.csv", "");
    folder.write("c.csv", "\u{feff}");
    let mut source = folder.source("*.csv", json!({"format": "csv", "start": "end"}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), [""; 0]);
    folder.append("a.csv", "3\n4\n");
    folder.append("b.csv", "id\n5\n");
    folder.append("c.csv", "id\n6\n");
    let read = source.drain(100).unwrap();
    assert_eq!(texts(&read), [r#"{"id":23}"#, r#"{"id":4}"#, r#"{"id":5}"#, r#"{"id":6}"#]);
}

#[test]
fn a_line_that_is_completed_during_an_import_stays_one() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2");
    folder.write("b.csv", "x,\"y\nz");
    let mut lines = folder.source("a.log", json!({"at_end": "exit"}));
    let mut rows = folder.source("b.csv", json!({"at_end": "exit", "format": "csv", "columns": ["a", "b"]}));
    lines.open(None).unwrap();
    rows.open(None).unwrap();
    folder.append("a.log", "3\n4\n");
    folder.append("b.csv", "\n\"\n1,2\n");
    let read = lines.drain(100).unwrap();
    assert_eq!(texts(&read), ["1", "23"]);
    assert_eq!(texts(&rows.drain(100).unwrap()), [r#"{"a":"x","b":"y\nz\n"}"#]);
    let mut again = folder.source("a.log", json!({"at_end": "exit"}));
    again.open(read.cursor.as_deref()).unwrap();
    assert_eq!(texts(&again.drain(100).unwrap()), ["4"]);
}

#[test]
fn a_long_file_comes_whole_however_often_it_is_looked_at() {
    let folder = Folder::new();
    let lines: String = (0..700_000).map(|line| format!("this is line {line}\n")).collect();
    assert!(lines.len() > 10 << 20);
    folder.write("a.log", &lines);
    // So that the second look comes after the first bytes.
    let mut source = folder.source("*.log", json!({"poll_interval": "5ms"}));
    source.open(None).unwrap();
    assert_is_numbered(&source.drain(64 << 10).unwrap(), "this is line ", 700_000);
}

#[test]
fn a_file_that_grows_faster_than_it_is_read_comes_in_order() {
    let folder = Folder::new();
    folder.write("a.log", "");
    let mut source = folder.source("*.log", json!({}));
    source.open(None).unwrap();
    let mut all = Read::default();
    for round in 0..200 {
        let lines: String = (round * 500..(round + 1) * 500).map(|line| format!("line {line}\n")).collect();
        let (whole, part) = lines.split_at(lines.len() - 5);
        folder.append("a.log", whole);
        all.records.extend(source.poll(1000).unwrap().records);
        folder.append("a.log", part);
        all.records.extend(source.poll(1000).unwrap().records);
    }
    all.records.extend(source.drain(100_000).unwrap().records);
    assert_is_numbered(&all, "line ", 100_000);
}

fn assert_is_numbered(read: &Read, before: &str, lines: usize) {
    assert!(read.bad.is_empty());
    for (at, text) in texts(read).iter().enumerate() {
        assert_eq!(*text, format!("{before}{at}"));
    }
    assert_eq!(read.records.len(), lines);
}
