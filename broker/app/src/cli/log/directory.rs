//! A data directory as a whole: what is wrong with it, and what can be done.
//!
//! `verify` reads, beside a broker too. `repair` shows what it would do and does it when told to; it has to have
//! the directory for itself. docs/reference/log-recovery.md says what becomes of what.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_store::{Finding, OpenError, OsFiles, Question, Repair, Surveyed, survey};
use serde_json::json;

use super::collect;
use super::report::Report;
use crate::cli::{Exit, Failure, Out, Outcome};

/// Whether the store can tell of it as a whole.
pub(super) fn is_one(path: &Path) -> bool {
    let names = ["meta.properties", "flumen-topics.json", "recovery-point-offset-checkpoint"];
    path.is_dir() && names.iter().any(|name| path.join(name).exists())
}

/// All that is wrong; each thing is shown when it is found.
fn look(
    dir: &Path,
    batch_bytes_max: usize,
    report: &mut Report<'_>,
    out: &Out,
    survey: impl FnOnce(Question<'_>) -> Result<Surveyed, OpenError>,
) -> Result<(Vec<Finding>, Surveyed), Failure> {
    let mut files = Vec::new();
    collect(dir, &mut files)?;
    let logs = files.iter().filter(|file| file.extension().is_some_and(|end| end == "log"));
    let bytes = logs.map(|file| std::fs::metadata(file).map_or(0, |metadata| metadata.len())).sum();
    let bar = out.progress_bytes("reading", bytes);
    let (mut found, mut written) = (Vec::new(), Ok(()));
    let question = Question {
        files: Arc::new(OsFiles),
        dir: dir.to_path_buf(),
        batch_bytes_max,
        found: &mut |finding| {
            let shown = bar.suspend(|| report.finding(&finding));
            written = std::mem::replace(&mut written, Ok(())).and(shown);
            found.push(finding);
        },
        read: &mut |bytes| bar.inc(bytes),
    };
    let surveyed = survey(question)
        .map_err(|error| Failure::new(format!("cannot look through {}", dir.display())).because(error))?;
    bar.finish_and_clear();
    written?;
    Ok((found, surveyed))
}

pub(super) fn verify(dir: &Path, batch_bytes_max: usize, out: &Out) -> Outcome {
    let mut report = Report::of_problems(out);
    let (found, surveyed) = look(dir, batch_bytes_max, &mut report, out, survey)?;
    out.note(summary(&surveyed, found.len()));
    if surveyed.in_use {
        out.note("a broker uses the directory: what it is just writing was passed over");
    }
    if found.is_empty() {
        return Ok(());
    }
    if found.iter().any(|finding| finding.remedy.is_some()) {
        out.note("with the broker stopped, `flumen log repair` shows what can be done");
    }
    Err(Failure::silent(Exit::Damaged))
}

fn summary(surveyed: &Surveyed, found: usize) -> String {
    let Surveyed { partitions, segments, batches, records, .. } = surveyed;
    format!(
        "{partitions} partitions, {segments} segments, {batches} batches, {records} records, {found} problems"
    )
}

pub(super) fn repair(dir: &Path, batch_bytes_max: usize, yes: bool, out: &Out) -> Outcome {
    let refused = |error: OpenError| {
        let failure = Failure::new(format!("cannot repair {}", dir.display()));
        match &error {
            OpenError::InUse { .. } => failure.because(error).todo(
                "stop the broker first; beside it `flumen log verify` and `flumen status` tell what there is",
            ),
            _ => failure.because(error),
        }
    };
    let repair = Repair::begin(Arc::new(OsFiles), dir).map_err(refused)?;
    let mut report = Report::of_problems(out);
    let (found, surveyed) = look(dir, batch_bytes_max, &mut report, out, |question| repair.survey(question))?;
    out.note(summary(&surveyed, found.len()));
    let todo: Vec<&Finding> = found.iter().filter(|finding| finding.remedy.is_some()).collect();
    lost(&found, out);
    if todo.is_empty() {
        out.note("nothing is to be done");
        return Ok(());
    }
    if !yes {
        out.note(format!(
            "{} things would be done, nothing was; `flumen log repair --yes {}` does them",
            todo.len(),
            dir.display()
        ));
        return Err(Failure::silent(Exit::Damaged));
    }
    for finding in todo {
        let kept = repair.apply(&finding.remedy).map_err(|error| {
            Failure::new(format!("cannot {} ({})", finding.remedy, finding.path.display())).because(error)
        })?;
        done(finding, &kept, out)?;
    }
    let (left, _) = look(dir, batch_bytes_max, &mut Report::of_problems(&out.silenced()), out, |question| {
        repair.survey(question)
    })?;
    match left.iter().filter(|finding| finding.remedy.is_some()).count() {
        0 => Ok(()),
        left => Err(Failure::new(format!("{left} things are left to do"))
            .exit(Exit::Damaged)
            .todo("run it again: what was hidden behind the first may be seen now")),
    }
}

fn done(finding: &Finding, kept: &[PathBuf], out: &Out) -> Outcome {
    if out.json() {
        let done = json!({ "file": finding.path, "done": finding.remedy.to_string(), "kept": kept });
        return Ok(out.document(&done)?);
    }
    out.line(format!("{}: {}", finding.path.display(), finding.remedy))?;
    for path in kept {
        out.line(format!("  kept: {}", path.display()))?;
    }
    Ok(())
}

/// What nobody gets back, all of it together.
fn lost(found: &[Finding], out: &Out) {
    let offsets = found.iter().filter_map(|finding| finding.lost.as_ref());
    let count: i64 = offsets.map(|lost| lost.end.since(lost.start).max(0)).sum();
    if count > 0 {
        out.note(format!(
            "{count} offsets are lost to readers, in the ranges above; no other record gets them"
        ));
    }
}
