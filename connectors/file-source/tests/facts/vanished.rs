//! Files and folders that are not there, for a moment or for good.

use std::fs;
use std::os::unix::fs::symlink;

use file_source::FileSource;
use flumen_sdk::testing::Harness;
use serde_json::json;

use crate::folder::{Folder, texts, troubles};

fn open(folder: &Folder, pattern: &str) -> Harness<FileSource> {
    let mut source = folder.source(pattern, json!({}));
    source.open(None).unwrap();
    source
}

/// As many scans as a file is waited for that is not there.
fn wait(source: &mut Harness<FileSource>) {
    for _ in 0..7 {
        assert_eq!(read(source), [""; 0]);
    }
}

/// A scan or more, after which the source waits.
fn read(source: &mut Harness<FileSource>) -> Vec<String> {
    texts(&source.drain(1 << 20).unwrap()).iter().map(|text| text.to_string()).collect()
}

#[test]
fn a_folder_that_is_missing_for_a_while_repeats_nothing() {
    let folder = Folder::new();
    folder.write("inbox/a.log", "1\n");
    folder.write("inbox/sub/b.log", "2\n");
    let mut source = open(&folder, "inbox/**/*.log");
    assert_eq!(read(&mut source), ["1", "2"]);
    folder.rename("inbox", "elsewhere");
    assert_eq!(read(&mut source), [""; 0]);
    assert_eq!(troubles(&source).len(), 1, "the folder, not its files");
    folder.append("elsewhere/a.log", "3\n");
    folder.rename("elsewhere", "inbox");
    assert_eq!(read(&mut source), ["3"]);
    assert_eq!(troubles(&source), [""; 0]);
}

#[test]
fn a_mount_that_is_missing_for_a_while_repeats_nothing() {
    let folder = Folder::new();
    for file in 0..50 {
        folder.write(&format!("inbox/{file}.log"), format!("{file}\n"));
    }
    folder.write("other/a.log", "x\n");
    let mut source = open(&folder, "{inbox,other}/*.log");
    assert_eq!(read(&mut source).len(), 51);
    folder.rename("inbox", "elsewhere");
    fs::create_dir(folder.path("inbox")).unwrap();
    folder.append("other/a.log", "y\n");
    let mut cursor = None;
    for _ in 0..10 {
        cursor = source.drain(1000).unwrap().cursor.or(cursor);
    }
    // Also if it was started anew meanwhile.
    let mut second = folder.source("{inbox,other}/*.log", json!({}));
    second.open(cursor.as_deref()).unwrap();
    assert_eq!(read(&mut second), [""; 0]);
    fs::remove_dir(folder.path("inbox")).unwrap();
    folder.rename("elsewhere", "inbox");
    folder.append("inbox/7.log", "more\n");
    assert_eq!(read(&mut source), ["more"]);
    assert_eq!(read(&mut second), ["more"]);
}

#[test]
fn a_file_that_cannot_be_looked_at_for_a_while_repeats_nothing() {
    let folder = Folder::new();
    folder.write("in/a.log", "1\n");
    folder.write("out/b.log", "");
    let mut source = open(&folder, "in/*.log");
    assert_eq!(read(&mut source), ["1"]);
    folder.rename("in/a.log", "out/a.log");
    symlink("a.log", folder.path("in/a.log")).unwrap();
    assert_eq!(read(&mut source), [""; 0]);
    assert!(troubles(&source)[0].starts_with("a.log: "), "{:?}", troubles(&source));
    fs::remove_file(folder.path("in/a.log")).unwrap();
    folder.rename("out/a.log", "in/a.log");
    assert_eq!(read(&mut source), [""; 0]);
}

#[test]
fn a_file_that_vanishes_while_it_is_read_is_read_to_its_end() {
    let folder = Folder::new();
    let lines: String = (0..100_000).map(|line| format!("{line}\n")).collect();
    folder.write("a.log", lines);
    let mut source = open(&folder, "*.log");
    let first = source.poll(1000).unwrap();
    fs::remove_file(folder.path("a.log")).unwrap();
    let rest = source.drain(10_000).unwrap();
    assert_eq!(first.records.len() + rest.records.len(), 100_000);
    assert_eq!(troubles(&source), [""; 0]);
}

#[test]
fn what_is_lost_with_a_file_is_told_until_it_comes_back() {
    let folder = Folder::new();
    folder.write("in/a.log", "1\n2");
    folder.write("out/b.log", "");
    let mut source = open(&folder, "in/*.log");
    assert_eq!(read(&mut source), ["1"]);
    folder.rename("in/a.log", "out/a.log");
    wait(&mut source);
    for _ in 0..3 {
        assert_eq!(read(&mut source), [""; 0]);
        assert_eq!(troubles(&source), ["a.log: it has vanished with 1 bytes not read"]);
    }
    folder.append("out/a.log", "3\n");
    folder.rename("out/a.log", "in/a.log");
    assert_eq!(read(&mut source), ["23"]);
    assert_eq!(troubles(&source), [""; 0]);
}

#[test]
fn a_new_file_under_the_inode_of_a_vanished_one_is_read() {
    let folder = Folder::new();
    folder.write("in/1.done", "ok\n");
    folder.write("out/nothing", "");
    for scans in [1, 7] {
        let mut source = open(&folder, "in/*.done");
        assert_eq!(read(&mut source), ["ok"]);
        let mut moved = |from: &str, to: &str, is_touched: bool| {
            folder.rename(from, "out/file");
            for _ in 0..scans {
                assert_eq!(read(&mut source), [""; 0]);
            }
            if is_touched {
                folder.touch("out/file");
            }
            folder.rename("out/file", to);
            read(&mut source)
        };
        assert_eq!(moved("in/1.done", "in/2.done", true), ["ok"]);
        assert_eq!(moved("in/2.done", "in/3.done", true), ["ok"]);
        assert_eq!(moved("in/3.done", "in/3.done", true), ["ok"], "under the same name too");
        assert_eq!(moved("in/3.done", "in/1.done", false), [""; 0], "untouched, it is the old one");
    }
}

#[test]
fn a_file_that_is_excluded_later_is_not_read_on() {
    let folder = Folder::new();
    folder.write("a.log", "1\n");
    folder.write("b.log", "2\n");
    let mut source = folder.source("*.log", json!({}));
    source.open(None).unwrap();
    let cursor = source.drain(100).unwrap().cursor;
    folder.append("a.log", "3\n");
    folder.append("b.log", "4\n");
    let mut second = folder.source("*.log", json!({"exclude": [folder.path("a.log")]}));
    second.open(cursor.as_deref()).unwrap();
    assert_eq!(read(&mut second), ["4"]);
}

#[test]
fn only_a_file_that_is_being_read_is_open() {
    let folder = Folder::new();
    for file in 0..100 {
        folder.write(&format!("{file}.log"), "1\n2");
    }
    let mut source = open(&folder, "*.log");
    assert_eq!(descriptors(&folder), 0);
    assert_eq!(source.poll(50).unwrap().records.len(), 8);
    assert!(descriptors(&folder) <= 1);
    assert_eq!(read(&mut source).len(), 92);
    for file in 0..100 {
        folder.touch(&format!("{file}.log"));
    }
    assert_eq!(read(&mut source).len(), 0);
    for file in 0..50 {
        folder.rename(&format!("{file}.log"), &format!("{file}.old"));
    }
    assert_eq!(read(&mut source).len(), 0);
    assert_eq!(descriptors(&folder), 0);
}

/// How many of this process lead into the folder.
fn descriptors(folder: &Folder) -> usize {
    let all = fs::read_dir("/proc/self/fd").unwrap().flatten();
    all.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(folder.path("")))).count()
}
