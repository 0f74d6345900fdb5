//! Which file a name stands for: the old one, or another one in its place.

use serde_json::{Value, json};

use crate::folder::{Folder, texts};

/// Two imports of a folder, and what the second one read.
fn imported_again(folder: &Folder, between: impl FnOnce(&Folder)) -> Vec<String> {
    let config = || json!({"format": "csv", "at_end": "exit"});
    let mut first = folder.source("*.csv", config());
    first.open(None).unwrap();
    let cursor = first.drain(1 << 20).unwrap().cursor;
    between(folder);
    let mut second = folder.source("*.csv", config());
    second.open(cursor.as_deref()).unwrap();
    texts(&second.drain(1 << 20).unwrap()).iter().map(|text| text.to_string()).collect()
}

#[test]
fn a_second_import_tells_a_new_file_under_the_old_inode() {
    let folder = Folder::new();
    folder.write("o.csv", "id\n1\n2\n");
    // Truncated and written anew, it has its inode as a new file may have it that follows a removed one.
    let read = imported_again(&folder, |folder| folder.write("o.csv", "id\n3\n4\n5\n6\n"));
    assert_eq!(read, [3, 4, 5, 6].map(|id| format!("{{\"id\":{id}}}")));
}

#[test]
fn files_with_the_same_long_header_are_told_apart() {
    let folder = Folder::new();
    let header: String = (0..100).map(|column| format!("column {column},")).collect();
    let row = |id: u32| format!("{id}{}\n", ",".repeat(100));
    folder.write("o.csv", format!("{header}id\n{}{}", row(1), row(2)));
    let new = format!("{header}id\n{}{}{}", row(3), row(4), row(5));
    assert_eq!(imported_again(&folder, |folder| folder.write("o.csv", new)).len(), 3);
}

#[test]
fn a_file_truncated_between_the_first_looks_begins_anew() {
    let folder = Folder::new();
    folder.write("a.log", "old 1\n");
    let mut source = folder.source("a.log", json!({"poll_interval": "1h"}));
    source.open(None).unwrap();
    let read = source.drain(100).unwrap();
    assert_eq!(texts(&read), ["old 1"]);
    folder.write("a.log", "new 1\nnew 2\n");
    let mut second = folder.source("a.log", json!({}));
    second.open(read.cursor.as_deref()).unwrap();
    assert_eq!(texts(&second.drain(100).unwrap()), ["new 1", "new 2"]);
}

#[test]
fn a_file_rewritten_to_the_same_size_begins_anew() {
    let folder = Folder::new();
    folder.write("a.log", "old 1\n");
    let mut source = folder.source("a.log", json!({}));
    source.open(None).unwrap();
    assert_eq!(texts(&source.drain(100).unwrap()), ["old 1"]);
    assert_eq!(texts(&source.drain(100).unwrap()), [""; 0]);
    folder.write("a.log", "new 1\n");
    folder.touch("a.log");
    assert_eq!(texts(&source.drain(100).unwrap()), ["new 1"]);
    folder.touch("a.log");
    assert_eq!(texts(&source.drain(100).unwrap()), [""; 0], "only touched");
}

/// A cursor as it is when files, and folders if told, have got other numbers since.
fn renumbered(cursor: &[u8], which: &[&str]) -> Vec<u8> {
    let mut cursor: Value = serde_json::from_slice(cursor).unwrap();
    for which in which {
        for entry in cursor[which].as_array_mut().unwrap() {
            entry["i"] = json!(entry["i"].as_u64().unwrap() ^ 1 << 40);
        }
    }
    serde_json::to_vec(&cursor).unwrap()
}

#[test]
fn files_are_known_by_name_and_content_when_all_identities_have_changed() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2\n");
    folder.write("b.log", "3\n");
    folder.write("c.log", "4\n5\n");
    let mut first = folder.source("*.log", json!({}));
    first.open(None).unwrap();
    let cursor = first.drain(100).unwrap().cursor.unwrap();
    folder.append("b.log", "6\n");
    folder.write("c.log", "7\n8\n");
    let mut second = folder.source("*.log", json!({}));
    second.open(Some(&renumbered(&cursor, &["files", "folders"]))).unwrap();
    let read = second.drain(100).unwrap();
    assert_eq!(texts(&read), ["6", "7", "8"], "c.log was replaced");
    let mut third = folder.source("*.log", json!({}));
    third.open(read.cursor.as_deref()).unwrap();
    assert_eq!(texts(&third.drain(100).unwrap()), [""; 0]);
}

#[test]
fn another_file_that_begins_with_all_that_was_read_is_another_file() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2\n");
    let mut first = folder.source("*.log", json!({}));
    first.open(None).unwrap();
    let cursor = first.drain(100).unwrap().cursor.unwrap();
    let mut second = folder.source("*.log", json!({}));
    second.open(Some(&renumbered(&cursor, &["files"]))).unwrap();
    assert_eq!(texts(&second.drain(100).unwrap()), ["1", "2"]);
}
