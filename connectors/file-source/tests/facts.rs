//! What file-source reads, and what it makes of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use file_source::FileSource;
use flumen_sdk::testing::{Harness, Read, Record, setup};
use flumen_sdk::{Error, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    fn append(&self, name: &str, content: &str) {
        OpenOptions::new().append(true).open(self.path(name)).unwrap().write_all(content.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// A source over `pattern` in this folder, which looks again at every poll.
    fn source(&self, pattern: &str, more: Value) -> Harness<FileSource> {
        let mut config = json!({ "paths": [self.path(pattern)], "poll_interval": 0 });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Harness::new(&config.to_string()).unwrap()
    }

    /// Reads everything there is, once, as an import does.
    fn import(&self, pattern: &str, more: Value) -> Read {
        let mut more = more;
        more["at_end"] = json!("exit");
        let mut source = self.source(pattern, more);
        source.open(None).unwrap();
        let read = source.drain(1 << 20).unwrap();
        assert!(read.finished);
        read
    }
}

fn texts(read: &Read) -> Vec<&str> {
    read.records.iter().map(Record::text).collect()
}

fn keys(read: &Read) -> Vec<&str> {
    read.records.iter().map(|record| std::str::from_utf8(record.key.as_ref().unwrap()).unwrap()).collect()
}

fn reasons(read: &Read) -> Vec<String> {
    let name = |origin: &str| origin.rsplit('/').next().unwrap().to_owned();
    read.bad.iter().map(|bad| format!("{} {}", name(&bad.origin), bad.reason)).collect()
}

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
fn rotation_by_rename_loses_and_repeats_nothing() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2\n");
    let mut source = folder.source("a.log", json!({}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), ["1", "2"]);
    folder.append("a.log", "3\n");
    folder.rename("a.log", "a.log.1");
    folder.append("a.log.1", "4\n");
    folder.write("a.log", "5\n");
    let mut read = texts(&source.drain(100).unwrap()).iter().map(|text| text.to_string()).collect::<Vec<_>>();
    read.sort();
    assert_eq!(read, ["3", "4", "5"]);
}

#[test]
fn rotation_while_it_was_down_is_found_by_identity() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2\n");
    let mut first = folder.source("a.log", json!({}));
    first.open(None).unwrap();
    let cursor = first.drain(100).unwrap().cursor;
    folder.append("a.log", "3\n");
    folder.rename("a.log", "a.log.1");
    folder.write("a.log", "4\n");
    let mut second = folder.source("a.log", json!({}));
    second.open(cursor.as_deref()).unwrap();
    let read = second.drain(100).unwrap();
    let mut read = texts(&read);
    read.sort();
    assert_eq!(read, ["3", "4"]);
}

#[test]
fn a_rename_inside_the_pattern_repeats_nothing() {
    let folder = Folder::new();
    folder.write("a.log", "1\n");
    let mut source = folder.source("a.log*", json!({}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), ["1"]);
    folder.rename("a.log", "a.log.1");
    folder.append("a.log.1", "2\n");
    folder.write("a.log", "3\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["2", "3"]);
}

#[test]
fn copytruncate_begins_anew_even_if_it_has_grown_past() {
    let folder = Folder::new();
    folder.write("a.log", "old 1\nold 2\n");
    let mut source = folder.source("a.log", json!({}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()).len(), 2);
    // The same inode, as `: > a.log` leaves it.
    folder.write("a.log", "new 1\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["new 1"]);
    folder.write("a.log", "newer 1\nnewer 2\nnewer 3\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["newer 1", "newer 2", "newer 3"]);
}

#[test]
fn a_file_truncated_to_nothing_while_it_was_down_begins_anew() {
    let folder = Folder::new();
    folder.write("a.log", "old 1\nold 2\n");
    let mut first = folder.source("a.log", json!({}));
    first.open(None).unwrap();
    let cursor = first.drain(100).unwrap().cursor;
    folder.write("a.log", "");
    let mut second = folder.source("a.log", json!({}));
    second.open(cursor.as_deref()).unwrap();
    assert_eq!(texts(&second.drain(100).unwrap()), [""; 0]);
    folder.append("a.log", "new\n");
    assert_eq!(texts(&second.drain(100).unwrap()), ["new"]);
}

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
fn tasks_divide_the_files() {
    let folder = Folder::new();
    for file in 0..20 {
        folder.write(&format!("{file}.log"), format!("{file}\n"));
    }
    let mut all = Vec::new();
    for task in 0..3 {
        let mut setup = setup(&[], &["out"]);
        (setup.task, setup.tasks, setup.finish) = (task, 3, true);
        let config = json!({ "paths": [folder.path("*.log")] }).to_string();
        let mut source = Harness::<FileSource>::with_setup(&config, &setup).unwrap();
        source.open(None).unwrap();
        all.extend(
            source.drain(1000).unwrap().records.iter().map(|record| record.text().parse::<u32>().unwrap()),
        );
    }
    all.sort();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let refused = |config: Value| -> String {
        let made: Result<Harness<FileSource>> = Harness::new(&config.to_string());
        made.map(drop).unwrap_err().reason().to_owned()
    };
    assert!(refused(json!({"paths": ["a"], "key": "x"})).contains("lines"));
    assert!(refused(json!({"paths": ["a"], "columns": ["x"]})).contains("csv"));
    assert!(refused(json!({"paths": ["a"], "format": "csv", "delimiter": "ab"})).contains("delimiter"));
    assert!(refused(json!({"paths": ["a"], "format": "csv", "header": false})).contains("columns"));
    assert!(refused(json!({"paths": ["a"], "fromat": "csv"})).contains("fromat"));
}
