//! A folder of files to read, and what was read of it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use file_source::FileSource;
use flumen_sdk::testing::{Harness, Read, Record};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn append(&self, name: &str, content: &str) {
        OpenOptions::new().append(true).open(self.path(name)).unwrap().write_all(content.as_bytes()).unwrap();
    }

    pub(crate) fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Gives a file a time of change that it never had.
    pub(crate) fn touch(&self, name: &str) {
        let file = OpenOptions::new().append(true).open(self.path(name)).unwrap();
        let last = file.metadata().unwrap().modified().unwrap();
        file.set_modified(last + Duration::from_secs(1)).unwrap();
    }

    /// A source over `pattern` in this folder, which looks again at every poll.
    pub(crate) fn source(&self, pattern: &str, more: Value) -> Harness<FileSource> {
        let mut config = json!({ "paths": [self.path(pattern)], "poll_interval": 0 });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Harness::new(&config.to_string()).unwrap()
    }

    /// Reads everything there is, once, as an import does.
    pub(crate) fn import(&self, pattern: &str, more: Value) -> Read {
        let mut more = more;
        more["at_end"] = json!("exit");
        let mut source = self.source(pattern, more);
        source.open(None).unwrap();
        let read = source.drain(1 << 20).unwrap();
        assert!(read.finished);
        read
    }
}

pub(crate) fn texts(read: &Read) -> Vec<&str> {
    read.records.iter().map(Record::text).collect()
}

pub(crate) fn keys(read: &Read) -> Vec<&str> {
    read.records.iter().map(|record| std::str::from_utf8(record.key.as_ref().unwrap()).unwrap()).collect()
}

pub(crate) fn reasons(read: &Read) -> Vec<String> {
    let name = |origin: &str| origin.rsplit('/').next().unwrap().to_owned();
    read.bad.iter().map(|bad| format!("{} {}", name(&bad.origin), bad.reason)).collect()
}

/// What is told to `status`, by the last part of the path.
pub(crate) fn troubles(source: &Harness<FileSource>) -> Vec<String> {
    let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    source.plugin.troubles().map(|(path, reason)| format!("{}: {reason}", last(path))).collect()
}
