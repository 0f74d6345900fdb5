//! Sources: records and cursor are one transaction.

use std::fs;
use std::path::Path;
use std::time::Duration;

use flumen_host::{Access, Done, Folder, Kind, PluginSpec, State};
use serde_json::json;

use crate::memory::{Fault, Memory, guest, guest_again, host, status};

const DRAIN: Duration = Duration::from_secs(10);

fn files(folder: &Path) -> PluginSpec {
    let mut spec = PluginSpec::new("lines", Kind::Source, guest("file-source"));
    spec.config = json!({ "paths": ["inbox/*.txt"], "format": "lines" });
    spec.outputs = vec!["out".into()];
    let grant = Folder { path: folder.to_owned(), access: Access::Read };
    spec.grants.files.insert("inbox".into(), grant);
    spec
}

fn append(path: &Path, lines: std::ops::Range<u32>) {
    use std::io::Write;
    let mut file = fs::File::options().create(true).append(true).open(path).expect("the input");
    let text: String = lines.map(|n| format!("line {n}\n")).collect();
    file.write_all(text.as_bytes()).expect("it takes the lines");
}

fn expected(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("line {n}")).collect()
}

#[tokio::test]
async fn a_finite_import_ends_and_the_next_finds_nothing_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    append(&folder.path().join("a.txt"), 0..20_000);
    let memory = Memory::default();
    let host = host(&memory);
    let spec = PluginSpec { finish: true, ..files(folder.path()) };
    host.start(spec.clone()).await.expect("it starts");
    assert_eq!(host.done("lines").await, Some(Done::Finished));
    assert_eq!(memory.seen_values("out"), expected(20_000));
    assert!(memory.cursor_of("lines", 0).is_some());
    assert_eq!(status(&host, "lines").state, State::Finished);
    host.stop_all(DRAIN).await;

    host.start(spec).await.expect("it starts");
    assert_eq!(host.done("lines").await, Some(Done::Finished));
    assert_eq!(memory.seen("out").len(), 20_000);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_tail_goes_on_over_lost_commits_swaps_and_restarts() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    memory.model().faults.extend([Fault::LoseCommit, Fault::None, Fault::LoseAnswer]);
    let host = host(&memory);
    host.start(files(folder.path())).await.expect("it starts");
    for round in 0..6 {
        append(&folder.path().join("a.txt"), 50 * round..50 * round + 50);
        memory.until_count("out", 50 * round as usize + 50).await;
        match round {
            1 | 3 => {
                let spec = PluginSpec { wasm: guest_again("file-source", round), ..files(folder.path()) };
                host.replace(spec).await.expect("it is swapped");
            }
            4 => {
                host.stop_all(DRAIN).await;
                host.start(files(folder.path())).await.expect("it starts again");
            }
            _ => {}
        }
    }
    assert_eq!(memory.seen_values("out"), expected(300));
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn partitions_that_are_added_to_an_output_are_written_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    let host = host(&memory);
    append(&folder.path().join("a.txt"), 0..1);
    host.start(files(folder.path())).await.expect("it starts");
    memory.until_count("out", 1).await;
    memory.grow("out", 4);
    let mut lines = 1;
    memory
        .until("another partition", || {
            append(&folder.path().join("a.txt"), lines..lines + 1);
            lines += 1;
            let seen = memory.seen("out");
            if seen.iter().any(|seen| seen.partition > 0) { Ok(()) } else { Err(seen.len()) }
        })
        .await;
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_line_that_its_topic_refuses_is_parked_and_the_rest_arrives() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("a.txt"), format!("first\n{}\nlast\n", "x".repeat(200_000)))
        .expect("the input");
    let memory = Memory::default();
    memory.model().record_bytes_max = Some(100_000);
    let host = host(&memory);
    host.start(PluginSpec { finish: true, ..files(folder.path()) }).await.expect("it starts");
    assert_eq!(host.done("lines").await, Some(Done::Finished));
    assert_eq!(memory.seen_values("out"), ["first", "last"]);
    assert_eq!(memory.seen("lines-dlq").len(), 1);
    assert_eq!(status(&host, "lines").rejected, 1);
    host.stop_all(DRAIN).await;
}
