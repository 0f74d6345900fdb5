//! Files that are renamed, cut short, or written anew.

use serde_json::json;

use crate::folder::{Folder, texts};

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

#[test]
fn a_name_that_leads_elsewhere_by_now_is_not_read_as_the_old_file() {
    let folder = Folder::new();
    folder.write("a.log", "1\n2\n3\n");
    folder.write("b.log", "4\n");
    let mut source = folder.source("*.log", json!({"at_end": "exit"}));
    source.open(None).unwrap();
    folder.rename("b.log", "b.log.1");
    folder.write("b.log", "other\n");
    let read = source.drain(100).unwrap();
    assert!(!texts(&read).contains(&"other"));
    assert_eq!(texts(&read)[..3], ["1", "2", "3"]);
}
