//! A disk that is full, and one that fails.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use flumen_types::{ByteSize, Offset, TopicId, TopicPartition};

use crate::files::open_files::Closable;
use crate::segment::{Part, Segment};
use crate::tests::testing::*;
use crate::{
    AppendError, Bound, Events, Marks, Options, Origin, Scope, Site, Store, Threads, TopicChange, TopicError,
    Work,
};

/// Takes so many more bytes; fails the syncs of records when told to.
#[derive(Default)]
struct BadDisk {
    full: AtomicBool,
    room: AtomicU64,
    broken: AtomicBool,
    /// Of one file's records.
    syncs: AtomicU64,
}

impl Faults for BadDisk {
    fn write(&self, bytes: usize) -> io::Result<usize> {
        if !self.full.load(Ordering::SeqCst) {
            return Ok(bytes);
        }
        match self.room.swap(0, Ordering::SeqCst) as usize {
            0 => Err(io::ErrorKind::StorageFull.into()),
            room => Ok(room.min(bytes)),
        }
    }

    fn sync(&self, scope: Scope, site: Site) -> io::Result<()> {
        let records = [Site::ActiveRecords, Site::SealedRecords, Site::Distrusted, Site::RecoveredRecords]
            .contains(&site);
        self.syncs.fetch_add(u64::from(records), Ordering::SeqCst);
        let broken = self.broken.load(Ordering::SeqCst) && (records || scope == Scope::FileSystem);
        if broken { Err(io::Error::other("EIO")) } else { Ok(()) }
    }
}

#[derive(Default)]
struct Heard(AtomicBool);

impl Events for Heard {
    fn marks(&self, _: &TopicPartition, marks: Marks) {
        self.0.fetch_or(marks.failed, Ordering::SeqCst);
    }
}

struct Setup {
    dir: tempfile::TempDir,
    disk: Arc<BadDisk>,
    heard: Arc<Heard>,
    store: Store,
}

fn setup(partitions: i32) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let (disk, heard) = (Arc::new(BadDisk::default()), Arc::new(Heard::default()));
    let options =
        Options { files: Arc::new(Faulty(disk.clone())), syncfs_over: 2, ..Options::new(dir.path()) };
    let store = Store::open(options, heard.clone()).unwrap();
    store.create_topic("t", TopicId(uuid::Uuid::new_v4()), partitions, Default::default()).unwrap();
    Setup { dir, disk, heard, store }
}

#[test]
fn a_full_disk_refuses_appends_until_there_is_room() {
    let Setup { dir, disk, store, .. } = setup(1);
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    t.append(plain("before"), Origin::Client, NOW).unwrap();
    disk.full.store(true, Ordering::SeqCst);
    disk.room.store(20, Ordering::SeqCst);
    for _ in 0..3 {
        match t.append(plain("refused"), Origin::Client, NOW) {
            Err(AppendError::Storage(error)) => assert!(error.is_full()),
            other => panic!("{other:?}"),
        }
    }
    assert!(t.health().full, "who asks is told");
    let log = dir.path().join("t-0/00000000000000000000.log");
    assert_eq!(std::fs::metadata(&log).unwrap().len(), t.size_bytes(), "the torn write was cut off");
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(t.append(plain("after"), Origin::Client, NOW).unwrap().base, Offset(1));
    wait_durable(&t);
    assert!(!t.marks().failed && !t.health().full);
    let values: Vec<_> = read_all(&t).into_iter().filter_map(|(_, _, value)| value).collect();
    assert_eq!(values, ["before", "after"]);
}

/// Seeds 41372 and 45145 of the simulation: who trimmed again was told so too early.
#[test]
fn a_trim_that_a_full_disk_had_no_room_for_is_durable_when_it_is_asked_for_again() {
    let Setup { dir, disk, store, .. } = setup(1);
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    for value in ["gone", "there"] {
        t.append(plain(value), Origin::Client, NOW).unwrap();
    }
    wait_durable(&t);
    let starts = dir.path().join("log-start-offset-checkpoint");
    disk.full.store(true, Ordering::SeqCst);
    assert_eq!(t.trim(Offset(1)).unwrap(), Offset(1));
    assert!(!starts.exists());
    disk.full.store(false, Ordering::SeqCst);
    assert_eq!(t.trim(Offset(1)).unwrap(), Offset(1));
    assert!(std::fs::read_to_string(&starts).unwrap().ends_with("t 0 1\n"));
}

#[test]
fn a_failed_sync_poisons_its_partition_and_is_not_tried_again() {
    let Setup { dir, disk, heard, store } = setup(1);
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    t.append(plain("good"), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    disk.broken.store(true, Ordering::SeqCst);
    t.append(plain("lost?"), Origin::Client, NOW).unwrap();
    wait_until("it is poisoned", || t.marks().failed);
    assert!(heard.0.load(Ordering::SeqCst));
    let syncs = disk.syncs.load(Ordering::SeqCst);
    disk.broken.store(false, Ordering::SeqCst);
    assert!(matches!(t.append(plain("x"), Origin::Client, NOW), Err(AppendError::Poisoned)));
    assert!(!t.wait_durable(Offset(2), std::time::Duration::from_secs(20)));
    assert_eq!(t.marks().high_watermark, Offset(1));
    assert_eq!(t.read(Offset(0), 1 << 20, Bound::HighWatermark, true).unwrap().next, Offset(1));
    assert_eq!(disk.syncs.load(Ordering::SeqCst), syncs);
    // No mark of a clean stop: the next open recovers, and the partition takes appends again.
    store.close().unwrap();
    drop((t, store));
    assert!(!dir.path().join(".kafka_cleanshutdown").exists());
    let store = Store::open(Options::new(dir.path()), Arc::new(())).unwrap();
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    let next = t.append(plain("y"), Origin::Client, NOW).unwrap().base;
    assert!(next == Offset(1) || next == Offset(2));
}

#[test]
fn many_dirty_partitions_become_durable_together() {
    let Setup { dir: _dir, store, .. } = setup(60);
    let partitions: Vec<_> =
        (0..60).map(|n| store.partition(&TopicPartition::new("t", n)).unwrap()).collect();
    for round in 0..20 {
        for partition in &partitions {
            partition.append(plain(&round.to_string()), Origin::Client, NOW).unwrap();
        }
    }
    for partition in &partitions {
        wait_durable(partition);
        assert_eq!(partition.marks().high_watermark, Offset(20));
    }
}

#[test]
fn a_failed_sync_of_all_poisons_those_whose_own_sync_fails() {
    let Setup { dir: _dir, disk, store, .. } = setup(60);
    disk.broken.store(true, Ordering::SeqCst);
    for n in 0..60 {
        let partition = store.partition(&TopicPartition::new("t", n)).unwrap();
        partition.append(plain("x"), Origin::Client, NOW).unwrap();
    }
    for n in 0..60 {
        let partition = store.partition(&TopicPartition::new("t", n)).unwrap();
        wait_until("it is poisoned", || partition.marks().failed);
        assert_eq!(partition.marks().high_watermark, Offset(0));
    }
}

#[test]
fn more_segments_than_files_may_be_open() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { open_files_max: 4, ..Options::new(dir.path()) };
    let store = Store::open(options, Arc::new(())).unwrap();
    let configs = [("internal.segment.bytes".to_string(), "200".to_string())].into();
    store.create_topic("t", TopicId(uuid::Uuid::new_v4()), 3, configs).unwrap();
    for n in 0..3 {
        let t = store.partition(&TopicPartition::new("t", n)).unwrap();
        for n in 0..100 {
            t.append(plain(&n.to_string()), Origin::Client, NOW).unwrap();
        }
        wait_durable(&t);
        assert_eq!(read_all(&t).len(), 100);
        assert!(store.shared.open_files.count() <= 4);
        let in_memory = t.segments_now().iter().filter(|segment| segment.has_index_in_memory()).count();
        assert_eq!(in_memory, 1, "the active one's");
    }
}

#[test]
fn only_the_hot_end_stays_in_the_page_cache() {
    let dir = tempfile::tempdir().unwrap();
    let window = 16 << 20;
    let options = Options { cache_hot_window: Some(ByteSize(window)), ..Options::new(dir.path()) };
    let store = Store::open(options, Arc::new(())).unwrap();
    let configs = [("segment.bytes".to_string(), "5MiB".to_string())].into();
    store.create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, configs).unwrap();
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    let batch = plain(&"x".repeat(1_000_000));
    for _ in 0..64 {
        t.append(batch.clone(), Origin::Client, NOW).unwrap();
        wait_durable(&t);
    }
    wait_until("the flusher has told the page cache", || {
        let segments = t.segments_now();
        let dropped: u64 = segments.iter().map(|segment| segment.dropped()).sum();
        // Steps of 8 MiB, of a segment that is not whole in it, and of appends.
        t.size_bytes() - dropped <= window as u64 + (8 << 20) + (5 << 20)
    });
}

/// Whether the page cache has the page at a position; `None` where the file system does not say.
fn is_cached(file: &std::fs::File, position: u64) -> Option<bool> {
    let mut byte = [0];
    let read = rustix::io::preadv2(
        file,
        &mut [std::io::IoSliceMut::new(&mut byte)],
        position,
        rustix::io::ReadWriteFlags::NOWAIT,
    );
    match read {
        Ok(_) => Some(true),
        Err(rustix::io::Errno::AGAIN) => Some(false),
        Err(_) => None,
    }
}

#[test]
fn a_cold_reader_leaves_nothing_behind_it_and_takes_nothing_from_the_hot_end() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { cache_hot_window: Some(ByteSize(16 << 20)), ..Options::new(dir.path()) };
    let store = Store::open(options, Arc::new(())).unwrap();
    let configs = [("segment.bytes".to_string(), "40MiB".to_string())].into();
    store.create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, configs).unwrap();
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    let batch = plain(&"x".repeat(1_000_000));
    for _ in 0..100 {
        t.append(batch.clone(), Origin::Client, NOW).unwrap();
        wait_durable(&t);
    }
    let (mut from, mut bytes) = (Offset(0), 0);
    while from < t.marks().end {
        let read = t.read(from, 4 << 20, Bound::HighWatermark, true).unwrap();
        (from, bytes) = (read.next, bytes + read.bytes.len());
    }
    assert_eq!(bytes as u64, t.size_bytes());
    let segments = t.segments_now();
    let path = |segment: &Segment| segment.path(Part::Log);
    let files: Vec<_> = segments.iter().map(|segment| std::fs::File::open(path(segment)).unwrap()).collect();
    // A file system that does not say, says nothing against it.
    let tail = segments[2].size() - 4096;
    if is_cached(&files[2], tail).is_none() {
        return;
    }
    assert_eq!(is_cached(&files[2], tail), Some(true), "the hot end stays");
    for (file, position) in [(&files[0], 0), (&files[0], 20 << 20), (&files[0], 36 << 20), (&files[1], 0)] {
        wait_until("what was read is let go", || is_cached(file, position) == Some(false));
    }
}

/// Which syncs there were.
#[derive(Default)]
struct Synced(Mutex<Vec<Site>>);

impl Faults for Synced {
    fn sync(&self, _: Scope, site: Site) -> io::Result<()> {
        self.0.lock().unwrap().push(site);
        Ok(())
    }
}

#[test]
fn the_first_segment_of_a_folder_that_was_missing_has_a_durable_name_before_anything_is_acknowledged() {
    for gone in ["t-0", "t-0/00000000000000000000.log"] {
        let Setup { dir, store, .. } = setup(1);
        store.close().unwrap();
        drop(store);
        let gone = dir.path().join(gone);
        if gone.is_dir() { std::fs::remove_dir_all(&gone) } else { std::fs::remove_file(&gone) }.unwrap();
        let named = Arc::new(Synced::default());
        let options = Options { files: Arc::new(Faulty(named.clone())), ..Options::new(dir.path()) };
        let store = Store::open(options, Arc::new(())).unwrap();
        let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
        t.append(plain("x"), Origin::Client, NOW).unwrap();
        wait_durable(&t);
        let synced = named.0.lock().unwrap().clone();
        let names = [Site::PartitionNames, Site::SegmentNames, Site::RecoveredNames];
        assert!(synced.iter().any(|site| names.contains(site)), "{}: {synced:?}", gone.display());
    }
}

#[test]
fn a_recovery_syncs_what_it_does_not_trust_before_it_reads_it() {
    for partitions in [1, 20] {
        let Setup { dir, disk, store, .. } = setup(partitions);
        let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
        t.append(plain("x"), Origin::Client, NOW).unwrap();
        wait_durable(&t);
        drop((t, store));
        // What a disk has that fails now is not known: that is no day to go on from the page cache.
        let torn = dir.path().join("t-0/00000000000000000000.log");
        let mut content = std::fs::read(&torn).unwrap();
        content.extend_from_slice(b"torn");
        std::fs::write(&torn, &content).unwrap();
        disk.broken.store(true, Ordering::SeqCst);
        let options = Options { files: Arc::new(Faulty(disk.clone())), ..Options::new(dir.path()) };
        assert!(Store::open(options.clone(), Arc::new(())).is_err());
        assert_eq!(std::fs::read(&torn).unwrap(), content, "nothing was read, nothing cut off");
        disk.broken.store(false, Ordering::SeqCst);
        Store::open(options, Arc::new(())).unwrap();
        assert_ne!(std::fs::read(&torn).unwrap(), content);
    }
}

#[test]
fn a_file_stays_open_until_its_bytes_are_synced() {
    let Setup { dir: _dir, disk, store, .. } = setup(1);
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    t.append(plain("x"), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    let active = t.segments_now().pop().unwrap();
    assert!(active.close());
    disk.broken.store(true, Ordering::SeqCst);
    t.append(plain("y"), Origin::Client, NOW).unwrap();
    wait_until("its sync has failed", || t.marks().failed);
    assert!(!active.close(), "who opened it anew would be told of no failure");
}

#[test]
fn a_topic_that_asks_for_less_is_synced_behind() {
    let Setup { dir: _dir, disk, store, .. } = setup(1);
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    let set = |key: &str, value: &str| {
        let configs = [(key, value), ("retention.ms", "-1")].map(|(k, v)| (k.to_string(), v.to_string()));
        store.set_topic_configs("t", configs.into()).unwrap();
    };
    let append = || {
        let appended = t.append(plain("x"), Origin::Client, NOW).unwrap();
        // Acknowledged and read at once.
        assert_eq!(t.marks().high_watermark, appended.last.next());
        assert!(t.read(appended.base, 100, Bound::LastStable, true).unwrap().next == appended.last.next());
    };
    set("flush.messages", "10");
    for _ in 0..9 {
        append();
    }
    assert_eq!((t.durable(), disk.syncs.load(Ordering::SeqCst)), (Offset(0), 0));
    assert!(!t.wait_durable(Offset(9), std::time::Duration::from_millis(50)));
    append();
    wait_until("ten are synced", || t.durable() == Offset(10));
    assert_eq!(disk.syncs.load(Ordering::SeqCst), 1);
    set("flush.ms", "100");
    let began = std::time::Instant::now();
    append();
    append();
    wait_until("their time has come", || t.durable() == Offset(12));
    assert!(began.elapsed() >= std::time::Duration::from_millis(90));
    // A trim, a stop and the setting's end do not leave it unsynced.
    set("flush.ms", "1d");
    append();
    assert_eq!(t.trim(Offset(13)).unwrap(), Offset(13));
    assert_eq!(t.durable(), Offset(13));
    append();
    set("flush.messages", "1");
    wait_until("it is synced again", || t.durable() == Offset(14));
    set("flush.ms", "9223372036854775806");
    append();
    store.close().unwrap();
    assert_eq!(t.durable(), Offset(15));
}

#[test]
fn topics_that_come_and_go_at_once_share_their_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let counted = Arc::new(Synced::default());
    let options = || Options {
        files: Arc::new(Faulty(counted.clone())),
        threads: Threads::Driven,
        ..Options::new(dir.path())
    };
    let syncs = || std::mem::take(&mut *counted.0.lock().unwrap());
    let store = Store::open(options(), Arc::new(Heard::default())).unwrap();
    let all = |change: &dyn Fn(String) -> TopicChange| {
        (0..100).map(|n| change(format!("t{n}"))).collect::<Vec<_>>()
    };
    let (id, configs) = (|| TopicId(uuid::Uuid::new_v4()), BTreeMap::new);
    let create = |name: String| TopicChange::Create { name, id: id(), partitions: 1, configs: configs() };
    let catalogue = [Site::ReplacedContent, Site::ReplacedName];
    syncs();
    let mut wanted = all(&create);
    wanted.push(create("..".into()));
    let made = store.change_topics(&wanted);
    assert!(made[..100].iter().all(Result::is_ok));
    assert!(matches!(made[100], Err(TopicError::BadName(_))), "and what is wrong of one is its own");
    assert_eq!(syncs(), [Site::CreatedTogether, catalogue[0], catalogue[1]]);
    assert!(
        store
            .change_topics(&all(&|name| TopicChange::Grow { name, partitions: 2 }))
            .iter()
            .all(Result::is_ok)
    );
    assert_eq!(syncs(), [Site::CreatedTogether, catalogue[0], catalogue[1]]);
    assert!(store.change_topics(&all(&|name| TopicChange::Delete { name })).iter().all(Result::is_ok));
    assert_eq!(syncs(), [catalogue[0], catalogue[1], Site::DeletedPartitions]);
    // A crash: nothing says yet that they are put away.
    drop(store);
    let store = Store::open(options(), Arc::new(Heard::default())).unwrap();
    assert!(store.topics().is_empty());
    while store.step(Work::Reap) {}
    let mut left = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_type().unwrap());
    assert!(!left.any(|kind| kind.is_dir()));
}

#[test]
fn topics_that_cannot_be_saved_together_have_all_not_been_made() {
    let Setup { dir, disk, store, .. } = setup(1);
    let change = |name: &str| TopicChange::Create {
        name: name.into(),
        id: TopicId(uuid::Uuid::new_v4()),
        partitions: 10,
        configs: BTreeMap::new(),
    };
    disk.broken.store(true, Ordering::SeqCst);
    let made = store.change_topics(&[change("a"), change("b"), TopicChange::Delete { name: "t".into() }]);
    assert!(made[..2].iter().all(|made| matches!(made, Err(TopicError::File(_)))));
    assert!(made[2].is_ok(), "what needs no such sync is done");
    assert!(
        store.topics().is_empty() && !dir.path().join("a-0").exists() && !dir.path().join("b-9").exists()
    );
}

#[test]
fn a_start_on_a_full_disk_needs_no_room_to_forget_deleted_topics() {
    let Setup { dir, disk, store, .. } = setup(1);
    store.delete_topic("t").unwrap();
    store.close().unwrap();
    drop(store);
    disk.full.store(true, Ordering::SeqCst);
    let options = Options { files: Arc::new(Faulty(disk.clone())), ..Options::new(dir.path()) };
    let store = Store::open(options, Arc::new(Heard::default())).unwrap();
    assert!(store.topics().is_empty());
    disk.full.store(false, Ordering::SeqCst);
    store.create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, BTreeMap::new()).unwrap();
}
