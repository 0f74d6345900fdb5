//! `flumen log`: what the files of a data directory say, beside a broker or without one.
//!
//! Invariants: but for `repair --yes`, files are opened for reading only; beside a broker that writes, what it
//! is just writing is passed over, and files may go. Damage is reported with file and place, and the rest is
//! read on. Memory is bounded by the largest batch.

mod beside;
mod directory;
mod index;
mod report;
mod segment;
mod usage;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use flumen_types::ByteSize;

use super::{Exit, Failure, Out, Outcome};
use report::Report;

/// Look into stored logs
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the batches, indexes, checkpoints and snapshots in folders or files; nothing is changed
    Dump(Dump),
    /// Read everything and print only what is damaged; in a data directory every index entry, snapshot, aborted
    /// transaction and leader epoch is compared with the log
    Verify(Files),
    /// Show what is wrong with a data directory, which offsets are lost, and what would be done; do it with
    /// --yes. Nothing is removed: what does not belong is set aside. Not while a broker runs
    Repair(Repair),
    /// Print what takes the room: segments, bytes and indexes of each partition
    Usage {
        /// A data directory or a partition's folder
        #[arg(value_name = "PATH")]
        path: PathBuf,
    },
}

#[derive(clap::Args)]
struct Dump {
    #[command(flatten)]
    files: Files,
    /// Each record of each batch too
    #[arg(long, short)]
    records: bool,
}

#[derive(clap::Args)]
struct Repair {
    /// The data directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Do it; without this the plan is only shown
    #[arg(long, alias = "execute")]
    yes: bool,
    /// Records of a batch that is larger when decompressed are not looked into
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    batch_max: ByteSize,
}

#[derive(clap::Args)]
struct Files {
    /// A data directory, a partition's folder, or single files
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// A batch that is larger when decompressed is reported and not opened
    #[arg(long, default_value = "256MiB", value_name = "SIZE")]
    batch_max: ByteSize,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    match args.command {
        Command::Dump(dump) => read_all(&dump.files, dump.records, Report::new(out), out),
        Command::Verify(files) => match files.paths.as_slice() {
            [dir] if directory::is_one(dir) => directory::verify(dir, files.batch_max.as_usize(), out),
            _ => read_all(&files, false, Report::of_problems(out), out),
        },
        Command::Repair(Repair { dir, yes, batch_max }) => {
            directory::repair(&dir, batch_max.as_usize(), yes, out)
        }
        Command::Usage { path } => usage::run(&path, out),
    }
}

fn read_all(named: &Files, records: bool, mut report: Report<'_>, out: &Out) -> Outcome {
    let mut files = Vec::new();
    for path in &named.paths {
        check_folder(path)?;
        collect(path, &mut files)?;
    }
    let sizes: Vec<u64> = files.iter().map(|file| std::fs::metadata(file).map_or(0, |m| m.len())).collect();
    let moving = moving(&files);
    let options = segment::Options { records, batch_bytes_max: named.batch_max.as_usize(), moving };
    let bar = report.is_silent().then(|| out.progress_bytes("reading", sizes.iter().sum()));
    for (file, size) in files.iter().zip(sizes) {
        let dumped = dump_file(file, &options, &mut report);
        // Beside a broker files go: deleted by retention, or replaced by the cleaner.
        if !(dumped.is_err() && !file.exists() && !options.moving.is_empty()) {
            dumped?;
        }
        if let Some(bar) = &bar {
            bar.inc(size);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    out.note(report.summary(files.len()));
    if report.problems() > 0 { Err(Failure::silent(Exit::Damaged)) } else { Ok(()) }
}

/// The last segment of each folder, where a broker uses the directory.
fn moving(files: &[PathBuf]) -> HashSet<PathBuf> {
    let mut last: HashMap<&Path, &PathBuf> = HashMap::new();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "log")) {
        // They are sorted.
        last.extend(file.parent().map(|folder| (folder, file)));
    }
    let mut known = HashMap::new();
    let mut in_use = |folder: &Path| {
        let dir = folder.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        *known.entry(dir.to_path_buf()).or_insert_with(|| flumen_store::is_in_use(dir).unwrap_or(false))
    };
    last.into_iter().filter(|(folder, _)| in_use(folder)).map(|(_, file)| file.clone()).collect()
}

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Segment,
    Index,
    TimeIndex,
    TransactionIndex,
    Snapshot,
    Checkpoint,
    Epochs,
    Text,
    /// What a recovery took out of the log (`.log.cut-POSITION`), and what it noted of that.
    Aside,
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    if name.contains(".log.cut-") || name.ends_with(".quarantine") {
        return Some(Kind::Aside);
    }
    // Suffixes of files that are being made, moved or removed.
    let name = [".deleted", ".cleaned", ".swap"]
        .iter()
        .fold(name, |name, end| name.strip_suffix(end).unwrap_or(name));
    Some(match name {
        "leader-epoch-checkpoint" => Kind::Epochs,
        "partition.metadata" | "meta.properties" | "flumen-topics.json" => Kind::Text,
        name if name.ends_with("-checkpoint") => Kind::Checkpoint,
        name => match name.rsplit_once('.')?.1 {
            "log" => Kind::Segment,
            "index" => Kind::Index,
            "timeindex" => Kind::TimeIndex,
            "txnindex" => Kind::TransactionIndex,
            "snapshot" => Kind::Snapshot,
            _ => return None,
        },
    })
}

/// A folder that was named must be one of logs: nobody is told that all is well with a folder that holds none.
fn check_folder(path: &Path) -> Outcome {
    if !path.is_dir() || directory::is_one(path) || holds_log(path) {
        return Ok(());
    }
    let within = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    if within.filter(|entry| entry.is_dir()).any(|folder| holds_log(&folder)) {
        return Ok(());
    }
    let what = format!(
        "{} is no data folder of Kafka's or Flumen's: it has no meta.properties, and no log",
        path.display()
    );
    Err(Failure::new(what).todo("name what data.dir (of Kafka: log.dirs) says, or the folder of a partition"))
}

/// Whether a folder is a partition's, or was.
fn holds_log(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == "partition.metadata" || (is_numbered(name) && kind(&path).is_some())
    })
}

/// As the files of segments are: in 20 digits.
fn is_numbered(name: &str) -> bool {
    name.split('.').next().is_some_and(|stem| stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit()))
}

/// The files to dump, sorted, so that segments come in the order of their offsets. A file that was named
/// must be one of a log; in a folder others are passed over.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Outcome {
    let unreadable = |error| Failure::new(format!("cannot read {}", path.display())).because(error);
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_dir() {
        if kind(path).is_none() {
            let failure = Failure::new(format!("{} is no file of a log", path.display()));
            return Err(failure.todo("name a data directory, or a file such as 00000000000000000000.log"));
        }
        files.push(path.to_path_buf());
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let is_dir = entry.file_type().map_err(unreadable)?.is_dir();
        if is_dir || kind(&entry.path()).is_some() {
            entries.push(entry.path());
        }
    }
    entries.sort();
    for entry in entries {
        match entry.file_name().and_then(|name| name.to_str()) {
            // Whatever it is, it is told of by its name.
            Some(name) if is_numbered(name) => files.push(entry),
            _ => collect(&entry, files)?,
        }
    }
    Ok(())
}

fn dump_file(path: &Path, options: &segment::Options, report: &mut Report<'_>) -> Outcome {
    report.file(path)?;
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let what = "it is no regular file (a folder, a pipe, a socket or a device) and was passed over";
        return Ok(report.problem(None, what)?);
    }
    match kind(path) {
        Some(Kind::Segment) => segment::dump(path, options, report),
        Some(Kind::Index) => index::dump_offsets(path, report),
        Some(Kind::TimeIndex) => index::dump_times(path, report),
        Some(Kind::TransactionIndex) => index::dump_transactions(path, report),
        Some(Kind::Snapshot) => beside::dump_snapshot(path, report),
        Some(Kind::Checkpoint) => beside::dump_checkpoint(path, report),
        Some(Kind::Epochs) => beside::dump_epochs(path, report),
        Some(Kind::Text) => beside::dump_text(path, report),
        Some(Kind::Aside) => {
            Ok(report.problem(None, "set aside by a recovery, which says more in the broker's log")?)
        }
        None => Ok(()),
    }
}

/// Every byte of a file that is small by its nature.
fn read_small(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::new(format!("cannot read {}", path.display())).because(error))
}

/// `00000000000000000042.log` begins at offset 42.
fn base_offset(path: &Path) -> Option<i64> {
    path.file_name()?.to_str()?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        for (name, expected) in [
            ("00000000000000000042.log", Some(Kind::Segment)),
            ("00000000000000000042.log.deleted", Some(Kind::Segment)),
            ("00000000000000000042.timeindex", Some(Kind::TimeIndex)),
            ("leader-epoch-checkpoint", Some(Kind::Epochs)),
            ("recovery-point-offset-checkpoint", Some(Kind::Checkpoint)),
            (".lock", None),
            ("notes.txt", None),
        ] {
            assert_eq!(kind(Path::new(name)), expected, "{name}");
        }
        assert_eq!(base_offset(Path::new("a/00000000000000000042.log.swap")), Some(42));
    }
}
