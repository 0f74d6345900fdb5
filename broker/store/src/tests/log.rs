//! The store as a whole: what was appended is there, in order, whatever happened in between.

use std::fs;

use flumen_records::{BatchBuilder, Compression, ControlRecord, NewRecord};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Timestamp, TopicId};

use crate::tests::testing::*;
use crate::{AppendError, Bound, Origin, ReadError, TopicError};

fn values(fixture: &Fixture) -> Vec<String> {
    read_all(&fixture.t()).into_iter().map(|(_, _, value)| value.unwrap_or_default()).collect()
}

#[test]
fn what_is_appended_becomes_durable_and_can_be_read() {
    let fixture = Fixture::new(&[]);
    let t = fixture.t();
    let first = t.append(plain("a"), Origin::Client, NOW).unwrap();
    let second = t.append(plain("b"), Origin::Client, NOW).unwrap();
    assert_eq!((first.base, second.base, second.last), (Offset(0), Offset(1), Offset(1)));
    wait_durable(&t);
    let read = t.read(Offset(0), 1 << 20, Bound::HighWatermark, true).unwrap();
    assert_eq!(read.next, Offset(2));
    assert_eq!(values(&fixture), ["a", "b"]);
    assert!(matches!(
        t.read(Offset(3), 100, Bound::LogEnd, true),
        Err(ReadError::OutOfRange { offset: Offset(3), start: Offset(0), end: Offset(2) })
    ));
    assert!(t.read(Offset(2), 100, Bound::LogEnd, true).unwrap().bytes.is_empty());
}

#[test]
fn a_clean_stop_brings_everything_back() {
    let mut fixture = Fixture::new(&[]);
    for n in 0..100 {
        fixture.t().append(plain(&n.to_string()), Origin::Client, NOW).unwrap();
    }
    let before = values(&fixture);
    fixture.reopen();
    assert_eq!(values(&fixture), before);
    assert_eq!(fixture.t().append(plain("x"), Origin::Client, NOW).unwrap().base, Offset(100));
    fixture.reopen();
    assert_eq!(values(&fixture).len(), 101);
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_stays() {
    for tail in [&[0_u8; 30][..], &[0; 200], &[0xff; 500], &plain("torn")[..20]] {
        let mut fixture = Fixture::new(&[]);
        for n in 0..10 {
            fixture.t().append(plain(&n.to_string()), Origin::Client, NOW).unwrap();
        }
        wait_durable(&fixture.t());
        fixture.kill();
        let log = fixture.folder().join("00000000000000000000.log");
        let mut content = fs::read(&log).unwrap();
        let whole = content.len();
        content.extend_from_slice(tail);
        fs::write(&log, &content).unwrap();
        fixture.open();
        assert_eq!(values(&fixture).len(), 10);
        assert_eq!(fs::metadata(&log).unwrap().len(), whole as u64);
        assert_eq!(fixture.t().append(plain("x"), Origin::Client, NOW).unwrap().base, Offset(10));
    }
}

#[test]
fn segments_roll_and_read_on_across_their_ends() {
    let mut fixture = Fixture::new(&[("internal.segment.bytes", "300"), ("index.interval.bytes", "100")]);
    for n in 0..50 {
        fixture.t().append(plain(&n.to_string()), Origin::Client, NOW).unwrap();
    }
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert!(fixture.t().segments_now().len() > 10);
    assert_eq!(values(&fixture), expected);
    fixture.reopen();
    assert_eq!(values(&fixture), expected);
    fixture.t().append(plain("x"), Origin::Client, NOW).unwrap();
    wait_durable(&fixture.t());
    fixture.kill();
    fixture.open();
    assert_eq!(values(&fixture).len(), 51);
}

#[test]
fn indexes_that_are_missing_or_garbled_are_rebuilt() {
    let mut fixture = Fixture::new(&[("internal.segment.bytes", "1000"), ("index.interval.bytes", "100")]);
    for n in 0..50 {
        fixture.t().append(plain(&n.to_string()), Origin::Client, NOW).unwrap();
    }
    fixture.store.take().unwrap().close().unwrap();
    for entry in fs::read_dir(fixture.folder()).unwrap() {
        let path = entry.unwrap().path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("index") => fs::write(path, [0xff; 24]).unwrap(),
            Some("timeindex") => fs::remove_file(path).unwrap(),
            _ => {}
        }
    }
    // One that could be right, and is not.
    let index = fs::read_dir(fixture.folder()).unwrap().map(|entry| entry.unwrap().path());
    let index = index.filter(|path| path.extension().is_some_and(|e| e == "index")).min().unwrap();
    fs::write(index, [0, 0, 0, 1, 0, 0, 0, 100]).unwrap();
    fixture.open();
    for from in 0..50 {
        let read = fixture.t().read(Offset(from), 1, Bound::HighWatermark, true).unwrap();
        assert_eq!(read.next, Offset(from + 1));
    }
    assert_eq!(fixture.t().offset_for_time(NOW).unwrap().unwrap().offset, Offset(0));
}

#[test]
fn a_producers_retry_is_answered_with_the_first_offsets_even_after_a_restart() {
    let mut fixture = Fixture::new(&[]);
    for clean in [true, false] {
        let t = fixture.t();
        let base = i32::try_from(t.marks().end.0).unwrap();
        let first = t.append(sequenced(7, base, "a", false), Origin::Client, NOW).unwrap();
        let again = t.append(sequenced(7, base, "a", false), Origin::Client, NOW).unwrap();
        assert!(again.duplicate && !first.duplicate);
        assert_eq!(again.base, first.base);
        wait_durable(&t);
        drop(t);
        if clean {
            fixture.reopen();
        } else {
            fixture.kill();
            fixture.open();
        }
        let t = fixture.t();
        assert!(t.append(sequenced(7, base, "a", false), Origin::Client, NOW).unwrap().duplicate);
        assert!(matches!(
            t.append(sequenced(7, base + 5, "gap", false), Origin::Client, NOW),
            Err(AppendError::OutOfOrderSequence { .. })
        ));
    }
    assert_eq!(values(&fixture), ["a", "a"]);
}

#[test]
fn committed_readers_stop_at_an_open_transaction_and_are_told_of_aborted_ones() {
    let mut fixture = Fixture::new(&[]);
    let abort = ControlRecord::Abort { coordinator_epoch: 0 };
    let t = fixture.t();
    t.append(plain("before"), Origin::Client, NOW).unwrap();
    t.append(sequenced(1, 0, "aborted", true), Origin::Client, NOW).unwrap();
    t.append(sequenced(2, 0, "open", true), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    assert_eq!(t.marks().last_stable, Offset(1));
    t.append_marker(ProducerId(1), ProducerEpoch(0), abort, NOW).unwrap();
    wait_durable(&t);
    assert_eq!(t.marks().last_stable, Offset(2));
    drop(t);
    for clean in [true, false] {
        let read = fixture.t().read(Offset(0), 1 << 20, Bound::LastStable, true).unwrap();
        assert_eq!(read.next, Offset(2));
        assert_eq!(read.aborted.iter().map(|a| a.first_offset).collect::<Vec<_>>(), [Offset(1)]);
        if clean {
            fixture.reopen();
        } else {
            fixture.kill();
            fixture.open();
        }
    }
    let commit = ControlRecord::Commit { coordinator_epoch: 0 };
    fixture.t().append_marker(ProducerId(2), ProducerEpoch(0), commit, NOW).unwrap();
    wait_durable(&fixture.t());
    assert_eq!(fixture.t().marks().last_stable, Offset(5));
    let read = fixture.t().read(Offset(0), 1 << 20, Bound::LastStable, true).unwrap();
    assert_eq!((read.next, read.aborted.len()), (Offset(5), 1));
}

#[test]
fn the_first_record_at_or_after_a_time_is_found() {
    let mut fixture = Fixture::new(&[("internal.segment.bytes", "400"), ("index.interval.bytes", "100")]);
    let at = |n: i64| Timestamp(NOW.0 + n * 10);
    for n in 0..40 {
        let batch = keyed(&[("k", Some("x")), ("k", Some("y"))], at(n));
        fixture.t().append(batch, Origin::Client, NOW).unwrap();
    }
    for _ in 0..2 {
        for n in 0..40 {
            for time in [at(n), Timestamp(at(n).0 - 9)] {
                let found = fixture.t().offset_for_time(time).unwrap().unwrap();
                assert_eq!((found.offset, found.timestamp), (Offset(2 * n), at(n)));
            }
        }
        assert_eq!(fixture.t().offset_for_time(at(40)).unwrap(), None);
        assert_eq!(fixture.t().max_timestamp().unwrap().unwrap().offset, Offset(78));
        fixture.reopen();
    }
}

#[test]
fn a_directory_without_a_catalogue_is_adopted_and_keeps_everything() {
    let mut fixture = Fixture::new(&[]);
    fixture.t().append(plain("old"), Origin::Client, NOW).unwrap();
    let id = fixture.store().topics()[0].id;
    fixture.store.take().unwrap().close().unwrap();
    fs::remove_file(fixture.dir.path().join("data/flumen-topics.json")).unwrap();
    fixture.open();
    assert_eq!(fixture.store().topics()[0].id, id);
    assert_eq!(values(&fixture), ["old"]);
    assert_eq!(fixture.t().config().retention.0, -1);
}

#[test]
fn folders_of_nobody_are_put_aside_and_those_of_deleted_topics_go() {
    let mut fixture = Fixture::new(&[]);
    fixture.t().append(plain("x"), Origin::Client, NOW).unwrap();
    fixture.store.take().unwrap().close().unwrap();
    let data = fixture.dir.path().join("data");
    let catalogue = fs::read_to_string(data.join("flumen-topics.json")).unwrap();
    // As a crash right after the deletion's first step would leave it.
    let deleted = catalogue.replace("\"topics\"", "\"tmp\"").replace("\"deleting\": []", "\"topics\": []");
    fs::write(data.join("flumen-topics.json"), deleted.replace("\"tmp\"", "\"deleting\"")).unwrap();
    fs::create_dir(data.join("nobody-0")).unwrap();
    fixture.open();
    assert!(fixture.store().topics().is_empty());
    assert!(data.join("nobody-0-stray").is_dir() && !data.join("t-0").exists());
    wait_until("the folder is gone", || {
        let mut names = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name());
        !names.any(|name| name.to_string_lossy().ends_with("-delete"))
    });
    fixture.reopen();
    assert!(fixture.store().topics().is_empty());
}

#[test]
fn topics_come_grow_change_and_go() {
    let mut fixture = Fixture::new(&[]);
    fixture.t().append(plain("old"), Origin::Client, NOW).unwrap();
    assert_eq!(fixture.store().grow_topic("t", 3).unwrap().partitions, 3);
    assert!(fixture.store().grow_topic("t", 2).is_err());
    assert!(fixture.store().set_topic_configs("t", [("nonsense".into(), "1".into())].into()).is_err());
    fixture.store().set_topic_configs("t", [("retention.ms".into(), "5".into())].into()).unwrap();
    assert_eq!(fixture.t().config().retention.0, 5);
    fixture.reopen();
    assert_eq!(fixture.store().topics()[0].partitions, 3);
    assert_eq!(fixture.t().config().retention.0, 5);
    let old = fixture.t();
    let gone = fixture.store().delete_topic("t").unwrap();
    assert!(matches!(old.append(plain("x"), Origin::Client, NOW), Err(AppendError::Closed)));
    fixture.store().create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, gone.configs).unwrap();
    fixture.reopen();
    assert!(values(&fixture).is_empty());
}

#[test]
fn a_topic_with_the_longest_name_can_be_deleted_and_the_store_opened_again() {
    let mut fixture = Fixture::new(&[]);
    let name = "x".repeat(249);
    let id = TopicId(uuid::Uuid::new_v4());
    fixture.store().create_topic(&name, id, 12, Default::default()).unwrap();
    // A folder of nobody with as long a name, too.
    fs::create_dir(fixture.dir.path().join("data").join(format!("{}-17", "y".repeat(249)))).unwrap();
    fixture.store().delete_topic(&name).unwrap();
    fixture.reopen();
    assert_eq!(fixture.store().topics().len(), 1);
    let mut left =
        fs::read_dir(fixture.dir.path().join("data")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.any(|name| name.to_string_lossy().starts_with("xxx")));
}

#[test]
fn a_change_that_cannot_be_saved_has_not_happened() {
    let mut fixture = Fixture::new(&[]);
    fixture.t().append(plain("kept"), Origin::Client, NOW).unwrap();
    let id = || TopicId(uuid::Uuid::new_v4());
    // A folder where the catalogue is written first: a disk that takes no new file.
    let beside = fixture.dir.path().join("data/flumen-topics.json.tmp");
    fs::create_dir(&beside).unwrap();
    let store = fixture.store();
    for _ in 0..2 {
        assert!(matches!(store.create_topic("new", id(), 1, Default::default()), Err(TopicError::File(_))));
        assert!(matches!(store.grow_topic("t", 2), Err(TopicError::File(_))));
        let configs = [("retention.ms".into(), "5".into())].into();
        assert!(matches!(store.set_topic_configs("t", configs), Err(TopicError::File(_))));
        assert!(matches!(store.delete_topic("t"), Err(TopicError::File(_))));
    }
    fs::remove_dir(&beside).unwrap();
    assert!(!fixture.dir.path().join("data/new-0").exists());
    store.create_topic("other", id(), 1, Default::default()).unwrap();
    store.create_topic("new", id(), 1, Default::default()).unwrap();
    fixture.reopen();
    let topics = fixture.store().topics();
    assert_eq!(topics.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["new", "other", "t"]);
    assert_eq!((topics[2].partitions, fixture.t().config().retention.0), (1, 604_800_000));
    assert_eq!(values(&fixture), ["kept"]);
}

#[test]
fn a_deletion_that_could_not_be_put_away_leaves_nothing_to_a_topic_of_the_same_name() {
    let mut fixture = Fixture::new(&[]);
    fixture.t().append(plain("old"), Origin::Client, NOW).unwrap();
    let (data, away) = (fixture.dir.path().join("data"), fixture.dir.path().join("away"));
    fs::rename(data.join("t-0"), &away).unwrap();
    fixture.store().delete_topic("t").unwrap();
    fs::rename(&away, data.join("t-0")).unwrap();
    fixture.store().create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, Default::default()).unwrap();
    assert!(values(&fixture).is_empty());
    fixture.reopen();
    assert!(values(&fixture).is_empty());
}

#[test]
fn a_deletion_that_the_next_start_finishes_takes_the_starts_along() {
    let mut fixture = Fixture::new(&[]);
    for n in 0..10 {
        fixture.t().append(plain(&n.to_string()), Origin::Client, NOW).unwrap();
    }
    wait_durable(&fixture.t());
    fixture.t().trim(Offset(8)).unwrap();
    let (data, configs) = (fixture.dir.path().join("data"), fixture.store().topics()[0].configs.clone());
    fixture.store.take().unwrap().close().unwrap();
    // As a crash right after the deletion's first step would leave it.
    let catalogue = fs::read_to_string(data.join("flumen-topics.json")).unwrap();
    let deleted = catalogue.replace("\"topics\"", "\"tmp\"").replace("\"deleting\": []", "\"topics\": []");
    fs::write(data.join("flumen-topics.json"), deleted.replace("\"tmp\"", "\"deleting\"")).unwrap();
    fixture.open();
    fixture.store().create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, configs).unwrap();
    for n in 0..10 {
        fixture.t().append(plain(&n.to_string()), Origin::Client, NOW).unwrap();
    }
    fixture.reopen();
    assert_eq!(values(&fixture).len(), 10);
}

#[test]
fn a_partition_made_anew_believes_no_checkpoint_of_the_old_one() {
    let mut fixture = Fixture::new(&[("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")]);
    let checkpoint = |fixture: &Fixture, name: &str| {
        fs::read_to_string(fixture.dir.path().join("data").join(name)).unwrap_or_default()
    };
    let fill = |fixture: &Fixture| {
        let t = fixture.t();
        for _ in 0..20 {
            t.append(keyed(&[("k", Some("v"))], NOW), Origin::Client, NOW).unwrap();
        }
        t.roll(&mut t.writer()).unwrap();
        t.append(keyed(&[("k", Some("v"))], NOW), Origin::Client, NOW).unwrap();
        wait_durable(&t);
        fixture.store().maintain_at(NOW);
    };
    fill(&fixture);
    fixture.reopen();
    assert!(checkpoint(&fixture, "cleaner-offset-checkpoint").contains("t 0 20"));
    assert!(checkpoint(&fixture, "recovery-point-offset-checkpoint").contains("t 0 21"));
    // The folder goes missing.
    fixture.store.take().unwrap().close().unwrap();
    fs::remove_dir_all(fixture.folder()).unwrap();
    repair(&fixture);
    fixture.open();
    assert_eq!(fixture.t().marks().end, Offset(21), "none of its offsets is given again");
    fill(&fixture);
    fixture.reopen();
    let configs = fixture.store().delete_topic("t").unwrap().configs;
    fixture.store().create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, configs).unwrap();
    for name in ["cleaner-offset-checkpoint", "recovery-point-offset-checkpoint"] {
        assert!(!checkpoint(&fixture, name).contains("t 0"), "{name}");
    }
    fixture.kill();
    fixture.open();
    assert_eq!(fixture.t().cleaned_upto(), None);
}

#[test]
fn a_bomb_in_the_log_is_found_by_its_batch() {
    let fixture = Fixture::new(&[]);
    let t = fixture.t();
    t.append(keyed(&[("k", Some("before"))], Timestamp(NOW.0 - 10)), Origin::Client, NOW).unwrap();
    let mut builder = BatchBuilder::new(Compression::Zstd);
    let value = vec![0; 10 << 20];
    for n in 0..20 {
        let timestamp = Timestamp(NOW.0 + n);
        builder.push(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] });
    }
    t.append(builder.build().unwrap(), Origin::Client, NOW).unwrap();
    let found = t.offset_for_time(Timestamp(NOW.0 + 7)).unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (Offset(1), Timestamp(NOW.0 + 19)));
    // Large, and not too large.
    let mut builder = BatchBuilder::new(Compression::Zstd);
    for n in 30..35 {
        let timestamp = Timestamp(NOW.0 + n);
        builder.push(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] });
    }
    t.append(builder.build().unwrap(), Origin::Client, NOW).unwrap();
    assert_eq!(t.offset_for_time(Timestamp(NOW.0 + 32)).unwrap().unwrap().offset, Offset(23));
}

#[test]
fn a_retry_is_told_the_time_that_the_first_append_got() {
    let fixture = Fixture::new(&[("message.timestamp.type", "LogAppendTime")]);
    let later = Timestamp(NOW.0 + 5000);
    let first = fixture.t().append(sequenced(7, 0, "a", false), Origin::Client, NOW).unwrap();
    let again = fixture.t().append(sequenced(7, 0, "a", false), Origin::Client, later).unwrap();
    assert!(again.duplicate);
    assert_eq!((first.append_time, again.append_time), (Some(NOW), Some(NOW)));
}
