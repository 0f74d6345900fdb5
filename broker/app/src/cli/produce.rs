//! `flumen produce`: lines become records of any Kafka cluster's topic.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use bytes::Bytes;
use flumen_client::{Acks, Flushed, Producer, ProducerOptions, Record};
use flumen_records::Compression;
use flumen_types::ByteSize;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};

use super::kafka::{Broker, failed};
use super::{Exit, Failure, Out, Outcome, block_on};
use crate::clock;

/// Write lines of standard input, or of files, as records
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: Broker,
    topic: String,
    /// Read this file instead of standard input; may be repeated
    #[arg(long, short, value_name = "PATH")]
    file: Vec<PathBuf>,
    /// Each line is KEY, this text, VALUE; \t for a tab. Without it records have no key
    #[arg(long, short = 'k', value_name = "TEXT", value_parser = separator)]
    key_separator: Option<Bytes>,
    /// A value (or key) that is this text alone is null: a tombstone
    #[arg(long, value_name = "TEXT")]
    null_as: Option<String>,
    /// A header of every record; may be repeated
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = header)]
    header: Vec<(Bytes, Bytes)>,
    /// Only to this partition; else the key decides, as in Java's producer
    #[arg(long, short)]
    partition: Option<i32>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(long, short = 'z', default_value = "none")]
    compression: Compression,
    /// Who must have a record before it counts as written
    #[arg(long, default_value = "all")]
    acks: AcksArg,
    /// A batch is sent when its records take this much
    #[arg(long, default_value = "512KiB", value_name = "SIZE")]
    batch: ByteSize,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum AcksArg {
    /// All replicas in sync; the producer is idempotent
    All,
    /// The leader
    #[value(name = "1")]
    One,
    /// Nobody: records may be lost unseen
    #[value(name = "0")]
    Zero,
}

/// Lines above this are refused: what waits for the broker must fit in memory.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

fn separator(text: &str) -> Result<Bytes, String> {
    let text = super::format::unescape(text)?;
    if text.is_empty() { Err("a separator is one character at least".into()) } else { Ok(text.into()) }
}

fn header(text: &str) -> Result<(Bytes, Bytes), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value.as_bytes())))
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    block_on(produce(args, out))
}

async fn produce(args: Args, out: &Out) -> Outcome {
    let client = args.broker.connect().await?;
    let acks = match args.acks {
        AcksArg::All => Acks::All,
        AcksArg::One => Acks::Leader,
        AcksArg::Zero => Acks::None,
    };
    let options = ProducerOptions {
        acks,
        compression: args.compression,
        batch_bytes_max: args.batch.as_usize().clamp(1, ProducerOptions::default().buffer_bytes_max / 2),
        ..ProducerOptions::default()
    };
    let what = format!("cannot write to topic \"{}\"", args.topic);
    let producer = Producer::new(&client, options).await.map_err(failed(what))?;
    let lines = Lines {
        key_separator: args.key_separator,
        null_as: args.null_as.map(String::into_bytes),
        headers: args.header.into_iter().map(|(name, value)| (name, Some(value))).collect(),
    };
    let began = Instant::now();
    let mut input = Input { producer, lines, topic: args.topic, partition: args.partition };
    let read = input.read_all(&args.file, out).await;
    // What was read before the input failed is still written.
    let flushed = input.producer.flush().await;
    report(&input.topic, &flushed, began, out)?;
    read
}

fn report(topic: &str, flushed: &Flushed, began: Instant, out: &Out) -> Outcome {
    let seconds = began.elapsed().as_secs_f64();
    if out.json() {
        out.document(&json!({
            "topic": topic, "written": flushed.written, "failed": flushed.failed, "seconds": seconds,
        }))?;
    }
    match &flushed.error {
        Some(error) => {
            let what = format!(
                "{} records were written to \"{topic}\", {} were not",
                flushed.written, flushed.failed
            );
            let mut failure = Failure::new(what).exit(Exit::Rejected);
            failure.causes.push(error.to_string());
            Err(failure)
        }
        None => {
            out.note(format!("{} records written to \"{topic}\" in {seconds:.2} s", flushed.written));
            Ok(())
        }
    }
}

/// The work of one run.
struct Input {
    producer: Producer,
    lines: Lines,
    topic: String,
    partition: Option<i32>,
}

impl Input {
    async fn read_all(&mut self, files: &[PathBuf], out: &Out) -> Outcome {
        if files.is_empty() {
            let bar = ProgressBar::hidden();
            return self.read("standard input", &mut BufReader::new(tokio::io::stdin()), &bar).await;
        }
        let mut sizes = HashMap::new();
        for file in files {
            let metadata = tokio::fs::metadata(file).await.map_err(|error| unreadable(file, error))?;
            sizes.insert(file, metadata.len());
        }
        let bar = out.progress_bytes("producing", sizes.values().sum());
        for path in files {
            let file = tokio::fs::File::open(path).await.map_err(|error| unreadable(path, error))?;
            let mut reader = BufReader::with_capacity(256 * 1024, file);
            self.read(&path.display().to_string(), &mut reader, &bar).await?;
        }
        bar.finish_and_clear();
        Ok(())
    }

    async fn read(
        &mut self,
        place: &str,
        reader: &mut (impl AsyncBufRead + Unpin),
        bar: &ProgressBar,
    ) -> Outcome {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            let at = || format!("{place}:{number}");
            let taken = read_line(reader, &mut line)
                .await
                .map_err(|error| Failure::new(format!("cannot read {}", at())).because(error))?;
            if taken == 0 {
                break;
            }
            bar.inc(taken as u64);
            let record =
                self.lines.record(&line).map_err(|what| Failure::new(format!("{}: {what}", at())))?;
            let what = || format!("cannot write {} to topic \"{}\"", at(), self.topic);
            self.producer
                .send(&self.topic, self.partition, record)
                .await
                .map_err(|error| failed(what())(error))?;
        }
        Ok(())
    }
}

fn unreadable(path: &Path, error: std::io::Error) -> Failure {
    Failure::new(format!("cannot read {}", path.display())).because(error)
}

/// Reads up to a line feed, which is taken and not kept; returns how many bytes were taken.
async fn read_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut taken = 0;
    loop {
        let ready = reader.fill_buf().await?;
        let end = ready.iter().position(|byte| *byte == b'\n');
        let (keep, take) = end.map_or((ready.len(), ready.len()), |at| (at, at + 1));
        line.extend_from_slice(&ready[..keep]);
        reader.consume(take);
        taken += take;
        if line.len() > LINE_BYTES_MAX {
            let text = format!("the line is longer than {}", ByteSize(LINE_BYTES_MAX as i64));
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
        }
        if end.is_some() || take == 0 {
            return Ok(taken);
        }
    }
}

/// How a line becomes a record.
struct Lines {
    key_separator: Option<Bytes>,
    null_as: Option<Vec<u8>>,
    headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Lines {
    fn record(&self, line: &[u8]) -> Result<Record, String> {
        let (key, value) = match &self.key_separator {
            None => (None, line),
            Some(separator) => {
                let at = line.windows(separator.len()).position(|window| window == separator).ok_or_else(
                    || {
                        let separator = String::from_utf8_lossy(separator);
                        format!("the line has no {separator:?} between key and value")
                    },
                )?;
                (Some(&line[..at]), &line[at + separator.len()..])
            }
        };
        Ok(Record {
            timestamp: clock::now(),
            key: key.and_then(|key| self.piece(key)),
            value: self.piece(value),
            headers: self.headers.clone(),
        })
    }

    fn piece(&self, bytes: &[u8]) -> Option<Bytes> {
        (self.null_as.as_deref() != Some(bytes)).then(|| Bytes::copy_from_slice(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(key_separator: Option<&'static str>, null_as: Option<&str>) -> Lines {
        Lines {
            key_separator: key_separator.map(|text| Bytes::from_static(text.as_bytes())),
            null_as: null_as.map(|text| text.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    fn parts(lines: &Lines, line: &str) -> (Option<Bytes>, Option<Bytes>) {
        let record = lines.record(line.as_bytes()).unwrap();
        (record.key, record.value)
    }

    #[test]
    fn a_line_is_a_value_or_a_key_and_a_value() {
        assert_eq!(parts(&lines(None, None), "a:b"), (None, Some("a:b".into())));
        assert_eq!(parts(&lines(Some("::"), None), "a:b::c::d"), (Some("a:b".into()), Some("c::d".into())));
        assert_eq!(parts(&lines(Some(":"), None), ":"), (Some("".into()), Some("".into())));
    }

    #[test]
    fn a_line_without_its_separator_is_refused() {
        assert!(lines(Some(":"), None).record(b"abc").unwrap_err().contains("\":\""));
    }

    #[test]
    fn the_null_text_is_a_tombstone() {
        assert_eq!(parts(&lines(Some(":"), Some("NULL")), "k:NULL"), (Some("k".into()), None));
        assert_eq!(parts(&lines(None, Some("")), ""), (None, None));
    }

    #[tokio::test]
    async fn the_last_line_needs_no_end_and_one_too_long_is_an_error() {
        let mut reader: &[u8] = b"one\n\ntwo";
        let mut read = Vec::new();
        loop {
            let mut line = Vec::new();
            if read_line(&mut reader, &mut line).await.unwrap() == 0 {
                break;
            }
            read.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(read, ["one", "", "two"]);
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        assert!(read_line(&mut &long[..], &mut Vec::new()).await.is_err());
    }
}
