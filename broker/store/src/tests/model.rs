//! The log against a model: a list of values, whatever is done to it in whatever order.

use std::collections::VecDeque;

use proptest::prelude::*;

use flumen_types::Offset;

use crate::tests::testing::*;
use crate::{Bound, Origin};

#[derive(Clone, Debug)]
enum Step {
    /// So many appends of values of a length.
    Append(u8, u16),
    Reopen,
    Kill,
    /// Ends without a clean stop, and the tail of the last file is garbled beyond what was durable.
    KillTorn(Vec<u8>),
    /// To a part of what is there.
    Trim(u8),
    Roll,
    Maintain,
    Checkpoint,
    /// From a part of what is there, so many bytes.
    Read(u8, u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..8_u8, 0..400_u16).prop_map(|(count, length)| Step::Append(count, length)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Kill),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Step::KillTorn),
        1 => any::<u8>().prop_map(Step::Trim),
        1 => Just(Step::Roll),
        1 => Just(Step::Maintain),
        1 => Just(Step::Checkpoint),
        3 => (any::<u8>(), 0..2000_u16).prop_map(|(at, bytes)| Step::Read(at, bytes)),
    ]
}

struct Model {
    start: i64,
    values: VecDeque<String>,
}

impl Model {
    fn end(&self) -> i64 {
        self.start + self.values.len() as i64
    }

    fn part(&self, at: u8) -> i64 {
        self.start + self.values.len() as i64 * i64::from(at) / 255
    }
}

fn run(steps: Vec<Step>) {
    let mut fixture = Fixture::new(&[
        ("internal.segment.bytes", "1500"),
        ("index.interval.bytes", "200"),
        ("retention.ms", "-1"),
        ("file.delete.delay.ms", "0"),
    ]);
    let mut model = Model { start: 0, values: VecDeque::new() };
    for step in steps {
        match step {
            Step::Append(count, length) => {
                for n in 0..count {
                    let value = format!("{}-{}", model.end() + i64::from(n), "x".repeat(length.into()));
                    let appended = fixture.t().append(plain(&value), Origin::Client, NOW).unwrap();
                    assert_eq!(appended.base.0, model.end());
                    model.values.push_back(value);
                }
            }
            Step::Reopen => fixture.reopen(),
            Step::Kill => {
                wait_durable(&fixture.t());
                fixture.kill();
                fixture.open();
            }
            Step::KillTorn(garbage) => {
                wait_durable(&fixture.t());
                fixture.kill();
                let last = fixture.files(".log").pop().unwrap();
                let path = fixture.folder().join(last);
                let mut content = std::fs::read(&path).unwrap();
                content.extend_from_slice(&garbage);
                std::fs::write(&path, content).unwrap();
                fixture.open();
            }
            Step::Trim(at) => {
                wait_durable(&fixture.t());
                let to = model.part(at);
                assert_eq!(fixture.t().trim(Offset(to)).unwrap().0, to);
                model.values.drain(..(to - model.start) as usize);
                model.start = to;
            }
            Step::Roll => {
                let t = fixture.t();
                t.roll(&mut t.writer()).unwrap();
                t.mark_dirty();
            }
            Step::Maintain => fixture.store().maintain_at(NOW),
            Step::Checkpoint => fixture.store().upkeep().checkpoint().unwrap(),
            Step::Read(at, bytes) => check_read(&fixture, &model, model.part(at), bytes.into()),
        }
        let sizes: u64 = fixture.t().segments_now().iter().map(|segment| segment.size()).sum();
        assert_eq!(fixture.t().size_bytes(), sizes);
        let marks = fixture.t().marks();
        assert_eq!((marks.start.0, marks.end.0), (model.start, model.end()));
    }
    wait_durable(&fixture.t());
    let found: Vec<String> = read_all(&fixture.t()).into_iter().filter_map(|(_, _, value)| value).collect();
    assert_eq!(found, Vec::from(model.values));
}

fn check_read(fixture: &Fixture, model: &Model, from: i64, bytes_max: usize) {
    let read = fixture.t().read(Offset(from), bytes_max, Bound::LogEnd, true).unwrap();
    assert_eq!(read.next.0 > from, from < model.end(), "progress unless at the end");
    let found: Vec<_> = flumen_records::batches(read.bytes.clone()).map(Result::unwrap).collect();
    assert!(read.bytes.len() <= bytes_max || found.len() == 1);
    for (n, batch) in found.iter().enumerate() {
        assert_eq!(batch.header().base_offset.0, from + n as i64);
        batch.verify_crc().unwrap();
        let records = batch.records(1 << 20).unwrap();
        let value = records.iter().next().unwrap().unwrap().value.unwrap();
        let expected = &model.values[(from - model.start) as usize + n];
        assert_eq!(value, expected.as_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_log_is_the_list_of_what_was_appended(steps in prop::collection::vec(step(), 1..40)) {
        run(steps);
    }
}
