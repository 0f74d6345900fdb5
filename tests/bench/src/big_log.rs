//! A partition of any size that takes hardly any room: every batch is whole and right, most are holes.
//!
//! A segment begins and ends with small batches of one record; between them are batches of 16 MiB
//! whose one record is zeros, of which the file system keeps nothing. Indexes and snapshots are there
//! as a broker leaves them. So whatever reads the log finds it right, and a test of 100 GB is possible
//! anywhere.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use flumen_log::producers::ProducerStates;
use flumen_records::{BatchBuilder, Compression, NewRecord, assign};
use flumen_types::{LeaderEpoch, Offset, Timestamp};

/// Small batches at each end of a segment.
pub(crate) const SMALL: i64 = 16;
const FILLER_BYTES: usize = 16 << 20;
/// Everything of a filler that is not zero lies before.
const HEAD: usize = 128;

/// What was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BigLog {
    pub(crate) segments: i64,
    /// Offsets in each.
    pub(crate) records: i64,
    pub(crate) bytes: u64,
}

impl BigLog {
    pub(crate) fn end(&self) -> i64 {
        self.segments * self.records
    }

    /// The offset of a small batch, by a number that need not mean anything.
    pub(crate) fn small(&self, n: u64) -> i64 {
        let (segment, within) = (n as i64 % self.segments, (n as i64 / self.segments) % (2 * SMALL));
        let at = if within < SMALL { within } else { self.records - 2 * SMALL + within };
        segment * self.records + at
    }
}

/// Replaces what is in the folder of a partition by so many segments of so many bytes.
pub(crate) fn make(folder: &Path, segments: u64, segment_bytes: u64) -> Result<BigLog> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".log", ".index", ".timeindex", ".snapshot"].iter().any(|end| name.ends_with(end)) {
            fs::remove_file(entry.path())?;
        }
    }
    let batches = [batch(1024)?, batch(FILLER_BYTES)?];
    let fillers = (segment_bytes / FILLER_BYTES as u64).saturating_sub(1).max(1) as i64;
    let mut log = BigLog { segments: segments as i64, records: 2 * SMALL + fillers, bytes: 0 };
    for n in 0..log.segments {
        log.bytes += segment(folder, n * log.records, fillers, &batches)?;
    }
    snapshot(folder, log.end())?;
    Ok(log)
}

/// Has a broker that was stopped believe in the end of it.
pub(crate) fn note_end(data: &Path, topic: &str, log: &BigLog) -> Result<()> {
    let path = data.join("recovery-point-offset-checkpoint");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let ours = format!("{topic} 0 ");
    let mut lines: Vec<String> =
        text.lines().skip(2).filter(|l| !l.starts_with(&ours)).map(Into::into).collect();
    lines.push(format!("{ours}{}", log.end()));
    fs::write(path, format!("0\n{}\n{}\n", lines.len(), lines.join("\n")))?;
    Ok(())
}

fn batch(value_bytes: usize) -> Result<Vec<u8>> {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![0; value_bytes];
    builder.push(&NewRecord {
        timestamp: Timestamp(1_700_000_000_000),
        key: None,
        value: Some(&value),
        headers: &[],
    });
    Ok(builder.build()?.to_vec())
}

fn segment(folder: &Path, base: i64, fillers: i64, [small, filler]: &[Vec<u8>; 2]) -> Result<u64> {
    let path = |extension: &str| folder.join(format!("{base:020}.{extension}"));
    let file = File::create(path("log"))?;
    let (mut position, mut index, mut relative) = (0_u64, Vec::new(), 0_u32);
    for n in 0..2 * SMALL + fillers {
        let is_small = n < SMALL || n >= SMALL + fillers;
        let batch = if is_small { small } else { filler };
        let mut head = batch[..HEAD].to_vec();
        assign(&mut head, Offset(base + n), LeaderEpoch(0));
        file.write_all_at(&head, position)?;
        relative = n as u32;
        if n > 0 {
            index.extend_from_slice(&relative.to_be_bytes());
            index.extend_from_slice(&u32::try_from(position)?.to_be_bytes());
        }
        position += batch.len() as u64;
    }
    file.set_len(position)?;
    fs::write(path("index"), index)?;
    let mut times = 1_700_000_000_000_i64.to_be_bytes().to_vec();
    times.extend_from_slice(&relative.to_be_bytes());
    fs::write(path("timeindex"), times)?;
    snapshot(folder, base)?;
    Ok(position)
}

fn snapshot(folder: &Path, at: i64) -> Result<()> {
    Ok(fs::write(folder.join(format!("{at:020}.snapshot")), ProducerStates::default().snapshot())?)
}
