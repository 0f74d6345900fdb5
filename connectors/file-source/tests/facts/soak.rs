//! Writing, rotating, reading and restarting in any order: every line comes once.

use serde_json::json;

use crate::folder::{Folder, texts};

/// A sequence that is the same in each run, and has no pattern that matters here.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

#[test]
fn every_line_comes_once_whatever_happens_between_two_polls() {
    for seed in 1..=20 {
        for pattern in ["in/a.log", "in/a.log*"] {
            soak(seed, pattern);
        }
    }
}

fn soak(seed: u64, pattern: &str) {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let folder = Folder::new();
    folder.write("in/a.log", "");
    let mut source = folder.source(pattern, json!({}));
    source.open(None).unwrap();
    let (mut cursor, mut read) = (None::<Vec<u8>>, Vec::new());
    let (mut written, mut rotations, mut polls) = (0, 0, 0);
    for _ in 0..400 {
        match dice.throw(12) {
            0..=4 => {
                let lines: String = (0..dice.throw(200)).map(|at| format!("{}\n", written + at)).collect();
                written += lines.matches('\n').count() as u64;
                // In two parts, so that a line may be seen half.
                let (first, rest) =
                    lines.split_at(lines.len() - dice.throw(3).min(lines.len() as u64) as usize);
                folder.append("in/a.log", first);
                if dice.throw(2) == 0 {
                    take(&mut source.poll(300).unwrap(), &mut read, &mut cursor);
                }
                folder.append("in/a.log", rest);
            }
            // What has left the patterns is followed for some scans only.
            5 if pattern.ends_with('*') || polls >= 5 => {
                rotations += 1;
                folder.rename("in/a.log", &format!("in/a.log.{rotations}"));
                folder.write("in/a.log", "");
                polls = 0;
            }
            6 => {
                source = folder.source(pattern, json!({}));
                source.open(cursor.as_deref()).unwrap();
            }
            7 => {
                folder.rename("in", "away");
                take(&mut source.poll(100).unwrap(), &mut read, &mut cursor);
                folder.rename("away", "in");
            }
            _ => {
                let bytes = 1 + dice.throw(2_000) as usize;
                take(&mut source.poll(bytes).unwrap(), &mut read, &mut cursor);
                polls += 1;
            }
        }
    }
    take(&mut source.drain(10_000).unwrap(), &mut read, &mut cursor);
    let mut times = vec![0; written as usize];
    read.iter().for_each(|line| times[*line as usize] += 1);
    let wrong: Vec<_> = times.iter().enumerate().filter(|(_, times)| **times != 1).collect();
    assert!(wrong.is_empty(), "seed {seed}, {pattern}: line and times: {wrong:?}");
}

fn take(polled: &mut flumen_sdk::testing::Read, read: &mut Vec<u64>, cursor: &mut Option<Vec<u8>>) {
    read.extend(texts(polled).iter().map(|text| text.parse::<u64>().unwrap()));
    *cursor = polled.cursor.take().or(cursor.take());
}
