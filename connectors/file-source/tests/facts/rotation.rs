//! Files that are renamed, cut short, or written anew.

use serde_json::json;

use crate::folder::{Folder, texts, troubles};

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
fn a_file_that_is_renamed_while_it_is_read_comes_whole() {
    let folder = Folder::new();
    let lines: String = (0..50_000).map(|line| format!("{line}\n")).collect();
    folder.write("a.log", &lines);
    let mut source = folder.source("a.log", json!({}));
    source.open(None).unwrap();
    let mut read = source.poll(1000).unwrap();
    folder.rename("a.log", "a.log.1");
    folder.append("a.log.1", "50000\n");
    folder.write("a.log", "50001\n");
    read.records.extend(source.drain(1000).unwrap().records);
    assert!(read.records.iter().enumerate().all(|(at, record)| record.text() == at.to_string()));
    assert_eq!(read.records.len(), 50_002);
}

#[test]
fn a_file_that_is_renamed_before_its_turn_comes_too() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2\n");
    folder.write("b.log", "3\n");
    let mut source = folder.source("*.log", json!({"at_end": "exit"}));
    source.open(None).unwrap();
    folder.rename("b.log", "b.log.1");
    folder.write("b.log", "another\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["1", "2", "3"]);
}

#[test]
fn a_file_that_becomes_shorter_while_it_is_read_gives_no_half_lines() {
    let folder = Folder::new();
    let lines: String = (0..200_000).map(|line| format!("line {line}\n")).collect();
    folder.write("a.log", &lines);
    for at_end in ["exit", "follow"] {
        let mut source = folder.source("a.log", json!({"at_end": at_end, "poll_interval": "1h"}));
        source.open(None).unwrap();
        let mut read = source.poll(1000).unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(folder.path("a.log")).unwrap();
        file.set_len(1_000_003).unwrap();
        read.records.extend(source.drain(100_000).unwrap().records);
        assert!(read.records.iter().enumerate().all(|(at, r)| r.text() == format!("line {at}")));
        assert_eq!(read.records.len(), lines[..1_000_003].matches('\n').count());
        assert_eq!(troubles(&source), ["a.log: it has become shorter while it was read"]);
        folder.write("a.log", &lines);
    }
}

#[test]
fn a_file_with_several_names_comes_once() {
    let folder = Folder::new();
    folder.write("b.log", "1\n");
    std::fs::hard_link(folder.path("b.log"), folder.path("a.log")).unwrap();
    std::os::unix::fs::symlink("b.log", folder.path("c.log")).unwrap();
    let mut source = folder.source("*.log", json!({}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), ["1"]);
    folder.append("c.log", "2\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["2"]);
    std::fs::remove_file(folder.path("a.log")).unwrap();
    folder.append("b.log", "3\n");
    assert_eq!(texts(&source.drain(100).unwrap()), ["3"]);
}
