//! `docs/reference/protocol.md`: what is served, from the broker's own table; what Kafka serves, from its
//! recorded answer; what differs, from the differences that the cases know.
//!
//! `UPDATE_DOCS=1 cargo test -p flumen-diff --test reference` renews the page.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use flumen_protocol::api::TABLE;
use regex::Regex;
use serde::Deserialize;

const HEAD: &str = "# Kafka's protocol

Every API, with the versions that are served here and those of Apache Kafka 4.3.1. This page is generated
(`UPDATE_DOCS=1 cargo test -p flumen-diff --test reference`) from the broker's table, from what Kafka answered
to ApiVersions, and from the differences that the suite in `tests/diff` knows.

- Where Flumen serves older versions than Kafka 4, it converts: clients from before record batches work.
- What is not served is answered by the end of the connection, as Kafka does, with a line in the log.
- Newer clients take from ApiVersions what there is: transactions of version 2, unless `kafka-features` turns them down.
- A streams group's topology is bounded; beyond that it is told STREAMS_INVALID_TOPOLOGY: 1,000 subtopologies, 10,000 topics and as
  many of their settings, 1 MiB of names, 100,000 tasks.
- `__transaction_state` is there from the first idempotent producer on, and internal topics are neither deleted nor given more
  partitions: where a group or a transaction is kept depends on them.
- There is no quorum, so `kraft.version` is 0, and `kafka-features upgrade --release-version`, which wants 1, is refused.

| API | number | Flumen | Kafka 4.3.1 |
| --- | --- | --- | --- |
";

const DIFFERENCES: &str = "
## What is answered otherwise

Each is shown by the cases named (`tests/diff/cases`; `*` is anything). \"Open\" is to go.

| cases | why |
| --- | --- |
";

#[derive(Deserialize)]
struct Known {
    known: Vec<Difference>,
}

#[derive(Deserialize)]
struct Difference {
    cases: String,
    why: String,
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Number to oldest and newest version.
fn kafkas() -> BTreeMap<i16, (i16, i16)> {
    let recorded = read(&here().join("cases/api-versions/versions.expected"));
    let row = Regex::new(r"apiKey: (\d+), minVersion: (\d+), maxVersion: (\d+)").expect("a pattern");
    let number = |text: &str| text.parse::<i16>().expect("a number");
    let rows = row.captures_iter(&recorded).map(|c| (number(&c[1]), (number(&c[2]), number(&c[3]))));
    rows.collect()
}

/// Number to name, of what Kafka's definitions define.
fn names() -> BTreeMap<i16, String> {
    let listed = std::fs::read_dir(here().join("schema")).expect("the definitions");
    let key = Regex::new(r#""apiKey":\s*(\d+)"#).expect("a pattern");
    let name = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix("Request.json")?.to_string();
        Some((key.captures(&read(&path))?[1].parse().ok()?, name))
    };
    listed.filter_map(|entry| name(entry.expect("an entry").path())).collect()
}

fn page() -> String {
    let (kafka, names) = (kafkas(), names());
    assert!(kafka.len() > 50, "{kafka:?}");
    let mut rows: BTreeMap<i16, (String, String)> = BTreeMap::new();
    for (number, versions) in &kafka {
        let name = names.get(number).unwrap_or_else(|| panic!("API {number} has no name")).clone();
        rows.insert(*number, (name, format!("- | {}", text(*versions))));
    }
    for api in TABLE {
        let theirs = kafka.get(&(api.key as i16)).map_or_else(|| "-".into(), |versions| text(*versions));
        let served = format!("{} | {theirs}", text((api.min, api.max)));
        rows.insert(api.key as i16, (api.key.name().to_string(), served));
    }
    let mut page = HEAD.to_string();
    for (number, (name, versions)) in rows {
        writeln!(page, "| {name} | {number} | {versions} |").expect("a string takes it");
    }
    page.push_str(DIFFERENCES);
    let known: Known = toml::from_str(&read(&here().join("known-differences.toml"))).expect("TOML");
    let mut told: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for difference in &known.known {
        told.entry(&difference.why).or_default().push(&difference.cases);
    }
    for (why, mut cases) in told {
        cases.dedup();
        let cases: Vec<String> = cases.iter().map(|case| format!("`{case}`")).collect();
        writeln!(page, "| {} | {} |", cases.join(", "), why.replace('|', "\\|")).expect("a string takes it");
    }
    page
}

fn text((min, max): (i16, i16)) -> String {
    if min == max { min.to_string() } else { format!("{min} to {max}") }
}

#[test]
fn the_reference_is_what_is_served() {
    let path = here().join("../../docs/reference/protocol.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("the page is written");
    }
    assert_eq!(read(&path), page, "renew it: UPDATE_DOCS=1 cargo test -p flumen-diff --test reference");
}
