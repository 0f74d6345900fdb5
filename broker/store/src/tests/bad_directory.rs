//! Directories that something happened to while nobody looked: what a survey says, what a repair makes of
//! them, and what an open does without one. docs/reference/log-recovery.md has the same table for people.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_records::ControlRecord;
use flumen_types::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicId, TopicPartition};

use crate::tests::testing::*;
use crate::{Bound, Finding, OpenError, Origin, OsFiles, ReadError, Repair, Store};

const CONFIGS: [(&str, &str); 2] = [("internal.segment.bytes", "1000"), ("index.interval.bytes", "100")];

/// 60 records of one size in several segments, an aborted transaction among them, and a clean stop.
fn stopped() -> Fixture {
    let mut fixture = running();
    fixture.store.take().unwrap().close().unwrap();
    fixture
}

fn running() -> Fixture {
    let fixture = Fixture::new(&CONFIGS);
    let t = fixture.t();
    for n in 0..58 {
        if n == 5 {
            t.append(sequenced(7, 0, "aborted", true), Origin::Client, NOW).unwrap();
            let abort = ControlRecord::Abort { coordinator_epoch: 0 };
            t.append_marker(ProducerId(7), ProducerEpoch(0), abort, NOW).unwrap();
        }
        let record = keyed(&[("k", Some(&format!("{n:04}")))], Timestamp(NOW.0 + n));
        t.append(record, Origin::Client, NOW).unwrap();
    }
    wait_durable(&t);
    drop(t);
    fixture
}

fn bases(fixture: &Fixture) -> Vec<i64> {
    let logs = fixture.files(".log").into_iter();
    logs.map(|name| name.trim_end_matches(".log").parse().unwrap()).collect()
}

fn part(fixture: &Fixture, base: i64, extension: &str) -> PathBuf {
    fixture.folder().join(format!("{base:020}.{extension}"))
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::write(path, content).unwrap();
}

/// Every file below a folder, and what is in it.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(content(&path)),
            false => drop(files.insert(path.clone(), fs::read(path).unwrap())),
        }
    }
    files
}

fn said(found: &[Finding]) -> String {
    let line = |finding: &Finding| {
        format!("{}: {} [{}] {:?}\n", finding.path.display(), finding.what, finding.remedy, finding.lost)
    };
    found.iter().map(line).collect()
}

/// A harm, what is said of it, and which offsets are lost by it.
struct Row {
    name: &'static str,
    harm: fn(&Fixture, &[i64]),
    says: &'static [&'static str],
    lost: fn(&[i64]) -> Vec<i64>,
}

fn size_of_batch() -> usize {
    keyed(&[("k", Some("0000"))], NOW).len()
}

const ROWS: [Row; 14] = [
    Row { name: "nothing", harm: |_, _| {}, says: &[], lost: |_| Vec::new() },
    Row {
        name: "a byte rots in the middle",
        harm: |fixture, bases| change(&part(fixture, bases[2], "log"), |content| content[66] ^= 1),
        says: &["not whole batches", "keep bytes 0 to"],
        lost: |bases| vec![bases[2]],
    },
    Row {
        name: "a middle segment is gone",
        harm: |fixture, bases| fs::remove_file(part(fixture, bases[2], "log")).unwrap(),
        says: &["are missing before it"],
        lost: |bases| (bases[2]..bases[3]).collect(),
    },
    Row {
        name: "the last segment is gone",
        harm: |fixture, bases| fs::remove_file(part(fixture, *bases.last().unwrap(), "log")).unwrap(),
        says: &["records up to 59 were durable"],
        lost: |bases| (*bases.last().unwrap()..60).collect(),
    },
    Row {
        name: "the last segment is cut short",
        harm: |fixture, bases| {
            let path = part(fixture, *bases.last().unwrap(), "log");
            change(&path, |content| content.truncate(content.len() - size_of_batch()));
        },
        says: &["records up to 59 were durable"],
        lost: |_| vec![59],
    },
    Row {
        name: "an index is gone",
        harm: |fixture, bases| fs::remove_file(part(fixture, bases[1], "index")).unwrap(),
        says: &[".index: it is missing", "make the indexes anew"],
        lost: |_| Vec::new(),
    },
    Row {
        name: "an index is wrong",
        harm: |fixture, bases| change(&part(fixture, bases[1], "index"), |content| content[7] ^= 2),
        says: &[".index: no batch begins at byte"],
        lost: |_| Vec::new(),
    },
    Row {
        name: "a time index is wrong",
        harm: |fixture, bases| {
            let last = |content: &mut Vec<u8>| {
                let at = content.len() - 5;
                content[at] ^= 1;
            };
            change(&part(fixture, bases[1], "timeindex"), last);
        },
        says: &[".timeindex: "],
        lost: |_| Vec::new(),
    },
    Row {
        name: "the index of transactions is gone",
        harm: |fixture, bases| fs::remove_file(part(fixture, bases[0], "txnindex")).unwrap(),
        says: &["it lacks what producer 7 aborted, 5 to 6"],
        lost: |_| Vec::new(),
    },
    Row {
        name: "a snapshot is not one",
        harm: |fixture, bases| change(&part(fixture, bases[2], "snapshot"), |content| content[3] ^= 1),
        says: &["snapshot: it cannot be read", "set aside"],
        lost: |_| Vec::new(),
    },
    Row {
        name: "the leader epochs are not the batches'",
        harm: |fixture, _| {
            fs::write(fixture.folder().join("leader-epoch-checkpoint"), "0\n1\n3 0\n").unwrap()
        },
        says: &["leader-epoch-checkpoint: ", "write it anew"],
        lost: |_| Vec::new(),
    },
    Row {
        name: "a segment has another's name",
        harm: |fixture, bases| {
            fs::rename(part(fixture, bases[3], "log"), part(fixture, bases[1] + 1, "log")).unwrap();
        },
        says: &["which does not fit its name", "set aside"],
        lost: |bases| (bases[3]..bases[4]).collect(),
    },
    Row {
        name: "a copy of a segment's end lies beside it",
        harm: |fixture, bases| {
            let whole = fs::read(part(fixture, bases[3], "log")).unwrap();
            let size = size_of_batch();
            fs::write(part(fixture, bases[3] + 2, "log"), &whole[2 * size..4 * size]).unwrap();
        },
        says: &["are in the segment before it too", "set aside"],
        lost: |_| Vec::new(),
    },
    Row {
        name: "the folder does not say whose it is",
        harm: |fixture, _| fs::remove_file(fixture.folder().join("partition.metadata")).unwrap(),
        says: &["does not say whose"],
        lost: |_| Vec::new(),
    },
];

#[test]
fn whatever_happened_is_found_repaired_and_told_and_no_byte_is_removed() {
    for Row { name, harm, says, lost } in ROWS {
        let mut fixture = stopped();
        let bases = bases(&fixture);
        assert!(bases.len() >= 5, "{bases:?}");
        harm(&fixture, &bases);
        let before = content(&fixture.dir.path().join("data"));
        let found = surveyed(&fixture);
        assert_eq!(content(&fixture.dir.path().join("data")), before, "{name}: a survey changes nothing");
        let text = said(&found);
        assert!(says.iter().all(|says| text.contains(says)), "{name}: {text}");
        assert_eq!(found.is_empty(), says.is_empty(), "{name}: {text}");

        let left = repair(&fixture);
        assert!(left.iter().all(|finding| !finding.remedy.is_some()), "{name}: {}", said(&left));
        let after = content(&fixture.dir.path().join("data"));
        for (path, bytes) in before.iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "log")) {
            assert!(after.values().any(|kept| kept == bytes), "{name}: {} is gone", path.display());
        }

        for _ in 0..2 {
            fixture.open();
            let lost = lost(&bases);
            let expected: Vec<i64> = (0..60).filter(|offset| !lost.contains(offset)).collect();
            let t = fixture.t();
            assert_eq!((readable(&t).0, t.marks().end), (expected, Offset(60)), "{name}");
            let committed = t.read(Offset(0), 10_000, Bound::LastStable, true).unwrap();
            assert_eq!(committed.aborted.len(), 1, "{name}: what was aborted still is");
            drop(t);
            fixture.store.take().unwrap().close().unwrap();
        }
    }
}

#[test]
fn an_open_without_a_repair_serves_nothing_in_a_wrong_place() {
    // A segment under another's name, and a copy that lies over the next ones.
    let harms: [fn(&Fixture, &[i64]); 2] = [
        |fixture, bases| {
            fs::copy(part(fixture, bases[3], "log"), part(fixture, bases[1] + 1, "log")).unwrap();
        },
        |fixture, bases| {
            let all: Vec<u8> =
                bases[1..4].iter().flat_map(|base| fs::read(part(fixture, *base, "log")).unwrap()).collect();
            fs::write(part(fixture, bases[1], "log"), all).unwrap();
        },
    ];
    for (n, harm) in harms.into_iter().enumerate() {
        let mut fixture = stopped();
        let bases = bases(&fixture);
        harm(&fixture, &bases);
        fixture.open();
        let t = fixture.t();
        wait_until("it is found", || !t.health().misfits.is_empty());
        let (found, _) = readable(&t);
        assert!(found.windows(2).all(|two| two[0] < two[1]), "{n}: in order, none twice: {found:?}");
        assert!(found.contains(&bases[4]), "{n}: what is behind is served");
    }
}

fn refused(fixture: &Fixture) -> String {
    match Store::open(fixture.options(), Arc::new(())) {
        Err(error) => crate::error::chain(&error),
        Ok(_) => panic!("it was opened"),
    }
}

#[test]
fn a_half_copied_directory_is_refused_as_it_is_and_a_repair_says_what_it_costs() {
    type Harm = (&'static str, fn(&Fixture), &'static str);
    let harms: [Harm; 3] = [
        (
            "a folder",
            |fixture| fs::remove_dir_all(fixture.folder()).unwrap(),
            "records up to offset 59 were in it",
        ),
        (
            "meta.properties",
            |fixture| fs::remove_file(fixture.dir.path().join("data/meta.properties")).unwrap(),
            "copied in part",
        ),
        (
            "meta.properties and the catalogue",
            |fixture| {
                for name in ["meta.properties", "flumen-topics.json"] {
                    fs::remove_file(fixture.dir.path().join("data").join(name)).unwrap();
                }
            },
            "copied in part",
        ),
    ];
    for (name, harm, says) in harms {
        let mut fixture = stopped();
        harm(&fixture);
        let before = content(&fixture.dir.path().join("data"));
        let text = refused(&fixture);
        assert!(text.contains(says) && text.contains("flumen log repair"), "{name}: {text}");
        let mut after = content(&fixture.dir.path().join("data"));
        after.retain(|path, _| before.contains_key(path));
        // But for the lock's, which says who was here last.
        after.keys().filter(|path| !path.ends_with(".lock")).for_each(|path| {
            assert_eq!(after[path], before[path], "{name}: {}", path.display());
        });
        assert!(repair(&fixture).iter().all(|finding| !finding.remedy.is_some()), "{name}");
        fixture.open();
        let t = fixture.t();
        assert_eq!(t.marks().end, Offset(60), "{name}: no offset is given again");
        assert_eq!(t.append(plain("next"), Origin::Client, NOW).unwrap().base, Offset(60));
    }
}

#[test]
fn folders_that_were_exchanged_between_topics_are_refused() {
    let mut fixture = running();
    let store = fixture.store();
    store.create_topic("u", TopicId(uuid::Uuid::new_v4()), 1, BTreeMap::new()).unwrap();
    let u = store.partition(&TopicPartition::new("u", 0)).unwrap();
    u.append(plain("of u"), Origin::Client, NOW).unwrap();
    wait_durable(&u);
    drop(u);
    fixture.store.take().unwrap().close().unwrap();
    let data = fixture.dir.path().join("data");
    fs::rename(data.join("t-0"), data.join("x")).unwrap();
    fs::rename(data.join("u-0"), data.join("t-0")).unwrap();
    fs::rename(data.join("x"), data.join("u-0")).unwrap();
    assert!(refused(&fixture).contains("were folders exchanged?"));
    assert!(said(&surveyed(&fixture)).contains("were folders exchanged"));
    assert!(data.join("t-0").is_dir() && data.join("u-0").is_dir(), "nothing was moved");
}

/// Two partitions of one topic do not say which is which. That their ends differ is what is seen.
#[test]
fn files_that_were_exchanged_between_partitions_are_told_of_when_they_are_longer_or_shorter() {
    let mut fixture = running();
    fixture.store().grow_topic("t", 2).unwrap();
    let second = fixture.store().partition(&TopicPartition::new("t", 1)).unwrap();
    for _ in 0..3 {
        second.append(keyed(&[("k", Some("0000"))], NOW), Origin::Client, NOW).unwrap();
    }
    wait_durable(&second);
    drop(second);
    fixture.store.take().unwrap().close().unwrap();
    let data = fixture.dir.path().join("data");
    fs::rename(data.join("t-0"), data.join("x")).unwrap();
    fs::rename(data.join("t-1"), data.join("t-0")).unwrap();
    fs::rename(data.join("x"), data.join("t-1")).unwrap();
    let text = said(&surveyed(&fixture));
    assert!(text.contains("the log ends at 3; records up to 59 were durable"), "{text}");
    assert!(text.contains("the log ends at 60, at the last clean stop it ended at 3"), "{text}");
    fixture.open();
    assert_eq!(fixture.t().lost(), [Offset(3)..Offset(60)], "no offset is given again");
}

#[test]
fn a_missing_first_segment_is_as_if_retention_had_taken_it() {
    let mut fixture = stopped();
    let bases = bases(&fixture);
    fs::remove_file(part(&fixture, bases[0], "log")).unwrap();
    fixture.open();
    assert_eq!((fixture.t().marks().start.0, fixture.t().marks().end.0), (bases[1], 60));
    assert!(matches!(
        fixture.t().read(Offset(0), 99, Bound::LogEnd, true),
        Err(ReadError::OutOfRange { .. })
    ));
}

#[test]
fn what_is_no_regular_file_is_told_passed_over_and_set_aside() {
    let fixture = stopped();
    let bases = bases(&fixture);
    let pipe = part(&fixture, bases[1], "log");
    fs::remove_file(&pipe).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let folder = part(&fixture, 99, "log");
    fs::create_dir(&folder).unwrap();
    let checkpoint = fixture.dir.path().join("data/cleaner-offset-checkpoint");
    let _ = fs::remove_file(&checkpoint);
    fs::create_dir(&checkpoint).unwrap();
    let found = surveyed(&fixture);
    for path in [&pipe, &folder, &checkpoint] {
        let of: Vec<_> = found.iter().filter(|finding| finding.path == *path).collect();
        assert!(matches!(&*of, [one] if one.what.contains("no regular file")), "{}", said(&found));
    }
    assert!(said(&found).contains("are missing before it"), "the rest is looked through: {}", said(&found));
    let left = said(&repair(&fixture));
    assert!(!left.contains("no regular file"), "{left}");
    assert!(fixture.folder().join("set-aside").join(folder.file_name().unwrap()).is_dir());
}

#[test]
fn a_meta_that_no_broker_starts_with_is_told() {
    let fixture = stopped();
    let meta = fixture.dir.path().join("data/meta.properties");
    for (text, says) in [
        ("version=1\nflumen.version=9\n", "written by a newer Flumen"),
        ("version=one\n", "edited by hand"),
        ("node.id=first\n", "node.id=first is no number"),
        ("version\n", "is not key=value"),
    ] {
        fs::write(&meta, text).unwrap();
        let found = said(&surveyed(&fixture));
        assert!(found.contains("no broker starts with it") && found.contains(says), "{found}");
    }
}

#[test]
fn a_directory_that_is_in_use_is_surveyed_and_not_repaired() {
    let fixture = running();
    let data = fixture.dir.path().join("data");
    match Repair::begin(Arc::new(OsFiles), &data) {
        Err(OpenError::InUse { .. }) => {}
        other => panic!("{:?}", other.map(|_| ())),
    }
    // Appends go on meanwhile: what is just being written is no finding.
    let t = fixture.t();
    std::thread::scope(|scope| {
        let appends = scope.spawn(|| {
            for n in 0..300 {
                let record = keyed(&[("k", Some(&format!("{n:04}")))], Timestamp(NOW.0 + n));
                t.append(record, Origin::Client, NOW).unwrap();
            }
        });
        while !appends.is_finished() {
            let found = surveyed(&fixture);
            assert!(found.is_empty(), "{}", said(&found));
        }
    });
    assert!(
        matches!(Repair::begin(Arc::new(OsFiles), fixture.dir.path()), Err(OpenError::Malformed { .. })),
        "no data directory"
    );
}

#[test]
fn a_marker_that_rots_leaves_its_transaction_open_and_a_survey_says_how_to_end_it() {
    let mut fixture = stopped();
    change(&part(&fixture, 0, "log"), |content| {
        let at = content.windows(9).position(|w| w[..8] == 6_i64.to_be_bytes()).unwrap();
        content[at + 30] ^= 1;
    });
    let text = said(&surveyed(&fixture));
    assert!(text.contains("the transaction of producer 7 is open since offset 5"), "{text}");
    assert!(text.contains("flumen txn abort --topic t --partition 0 --start-offset 5"), "{text}");
    repair(&fixture);
    fixture.open();
    let found = fixture.t().read(Offset(6), 99, Bound::HighWatermark, true);
    assert!(matches!(found, Err(ReadError::Corrupt { .. })), "{found:?}");
}

/// The records are of 2023, and the store's own upkeep goes by today's clock.
const TEN_YEARS: i64 = 10 * 365 * 86_400_000;

/// The broker's clock decides what is too old. Time that goes back never removes anything, and what is
/// found by time stays found.
#[test]
fn a_clock_that_goes_back_removes_nothing() {
    let fixture = running();
    fixture.store().set_topic_configs("t", [("retention.ms".into(), TEN_YEARS.to_string())].into()).unwrap();
    let t = fixture.t();
    let before = readable(&t);
    fixture.store().maintain_at(Timestamp(NOW.0 - TEN_YEARS));
    t.append(keyed(&[("k", Some("early"))], Timestamp(NOW.0 - 86_400_000)), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    let after = readable(&t);
    assert_eq!(after.0[..before.0.len()], before.0);
    assert_eq!(t.offset_for_time(Timestamp(NOW.0 + 20)).unwrap().unwrap().timestamp, Timestamp(NOW.0 + 20));
    assert_eq!(t.offset_for_time(Timestamp(NOW.0 + 1_000_000)).unwrap(), None);
}

/// As in Kafka: whoever sets a time of retention has trusted the clock with it.
#[test]
fn a_clock_that_jumps_ahead_makes_records_old_and_their_files_stay_for_the_delay() {
    let fixture = running();
    let configs = [("retention.ms", TEN_YEARS.to_string()), ("file.delete.delay.ms", "60000".into())];
    let configs = configs.map(|(key, value)| (key.to_string(), value));
    fixture.store().set_topic_configs("t", configs.into()).unwrap();
    fixture.store().maintain_at(NOW);
    assert_eq!(fixture.t().marks().start, Offset(0));
    fixture.store().maintain_at(Timestamp(NOW.0 + 2 * TEN_YEARS));
    assert_eq!(fixture.t().marks().start, Offset(60));
    assert!(!fixture.files(".log.deleted").is_empty(), "a person who sees it in time can put them back");
}
