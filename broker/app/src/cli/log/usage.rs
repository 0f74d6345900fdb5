//! `flumen log usage`: what takes the room in a data directory, partition by partition.
//!
//! Sizes are those of the files; what waits to be deleted or was set aside is counted apart, because the
//! log no longer holds it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::{Kind, base_offset, check_folder, collect, kind};
use crate::cli::out::Value;
use crate::cli::{Failure, Out, Outcome};

#[derive(Default)]
struct Usage {
    segments: u64,
    log: u64,
    indexes: u64,
    other: u64,
    aside: u64,
    first: Option<i64>,
}

impl Usage {
    fn bytes(&self) -> u64 {
        self.log + self.indexes + self.other + self.aside
    }

    fn add(&mut self, other: &Usage) {
        self.segments += other.segments;
        self.log += other.log;
        self.indexes += other.indexes;
        self.other += other.other;
        self.aside += other.aside;
    }
}

pub(super) fn run(path: &Path, out: &Out) -> Outcome {
    check_folder(path)?;
    let mut files = Vec::new();
    collect(path, &mut files)?;
    let mut folders: BTreeMap<String, Usage> = BTreeMap::new();
    for file in &files {
        let unreadable = |error| Failure::new(format!("cannot read {}", file.display())).because(error);
        let size = match std::fs::metadata(file) {
            Ok(metadata) => metadata.len(),
            // The broker that runs has deleted it meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let folder = file.parent().filter(|folder| *folder != path).and_then(|folder| folder.file_name());
        let name = folder.map_or_else(|| ".".into(), |name| name.to_string_lossy().into_owned());
        count(folders.entry(name).or_default(), file, size);
    }
    let mut total = Usage::default();
    folders.values().for_each(|usage| total.add(usage));
    let mut rows: Vec<(String, Usage)> = folders.into_iter().collect();
    rows.sort_by_key(|(_, usage)| std::cmp::Reverse(usage.bytes()));
    rows.push(("total".into(), total));
    if out.json() {
        let fields = |(name, u): &(String, Usage)| {
            json!({
                "folder": name, "segments": u.segments, "log_bytes": u.log, "index_bytes": u.indexes,
                "other_bytes": u.other, "aside_bytes": u.aside, "first_offset": u.first,
            })
        };
        return Ok(out.document(&rows.iter().map(fields).collect::<Vec<_>>())?);
    }
    let cells = rows.iter().map(|(name, u)| {
        let first = u.first.map_or_else(String::new, |first| first.to_string());
        [
            Value::name(name),
            u.segments.into(),
            first.into(),
            u.log.into(),
            u.indexes.into(),
            u.other.into(),
            u.aside.into(),
        ]
    });
    out.table(["FOLDER", "SEGMENTS", "FIRST OFFSET", "LOG", "INDEXES", "OTHER", "SET ASIDE"], cells)?;
    Ok(())
}

fn count(usage: &mut Usage, file: &Path, size: u64) {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let live = ["log", "index", "timeindex", "txnindex", "snapshot"];
    let end = name.rsplit('.').next().unwrap_or_default();
    match kind(file) {
        Some(Kind::Aside) => usage.aside += size,
        _ if base_offset(file).is_some() && !live.contains(&end) => usage.aside += size,
        Some(Kind::Segment) => {
            usage.segments += 1;
            usage.log += size;
            let base = base_offset(file);
            usage.first = usage.first.into_iter().chain(base).min();
        }
        Some(Kind::Index | Kind::TimeIndex | Kind::TransactionIndex) => usage.indexes += size,
        _ => usage.other += size,
    }
}
