//! What a dump prints: a heading a file, lines for a person, one JSON object a line for a program; or of
//! all that only the damage.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use flumen_store::Finding;

use crate::cli::Out;

/// The output of one dump.
pub(super) struct Report<'a> {
    out: &'a Out,
    file: PathBuf,
    stdout: BufWriter<io::Stdout>,
    batches: u64,
    records: u64,
    problems: u64,
    silent: bool,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a Out) -> Report<'a> {
        let stdout = BufWriter::with_capacity(64 * 1024, io::stdout());
        Report { out, file: PathBuf::new(), stdout, batches: 0, records: 0, problems: 0, silent: false }
    }

    /// Says nothing of what is as it should be.
    pub(super) fn of_problems(out: &'a Out) -> Report<'a> {
        Report { silent: true, ..Report::new(out) }
    }

    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// What follows is about this file.
    pub(super) fn file(&mut self, path: &Path) -> io::Result<()> {
        if !self.out.json() && !self.silent {
            let blank = if self.file.as_os_str().is_empty() { "" } else { "\n" };
            writeln!(self.stdout, "{blank}{}", path.display())?;
        }
        self.file = path.to_path_buf();
        Ok(())
    }

    /// One fact: as a line, or as JSON.
    pub(super) fn fact(
        &mut self,
        line: impl FnOnce() -> String,
        fields: impl FnOnce() -> Value,
    ) -> io::Result<()> {
        if self.silent {
            return Ok(());
        }
        if self.out.json() {
            return self.object(fields());
        }
        writeln!(self.stdout, "  {}", line())
    }

    /// A line below the fact before it; JSON has it in the fact.
    pub(super) fn record(&mut self, line: impl FnOnce() -> String) -> io::Result<()> {
        if self.out.json() || self.silent { Ok(()) } else { writeln!(self.stdout, "    {}", line()) }
    }

    /// Damage, at this place of the file if it has one.
    pub(super) fn problem(&mut self, position: Option<u64>, what: impl Into<String>) -> io::Result<()> {
        self.problems += 1;
        let what = what.into();
        let place = match position {
            Some(position) => format!("{}:{position}", self.file.display()),
            None => self.file.display().to_string(),
        };
        self.stdout.flush()?;
        self.out.warn(format!("{place}: {what}"));
        if self.out.json() {
            return self.object(json!({ "position": position, "problem": what }));
        }
        Ok(())
    }

    /// What a survey found.
    pub(super) fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.file = finding.path.clone();
        self.problems += 1;
        let place = match finding.position {
            Some(position) => format!("{}:{position}", self.file.display()),
            None => self.file.display().to_string(),
        };
        let lost = finding.lost.as_ref().map_or_else(String::new, |lost| {
            format!("; lost: offsets {} to {}", lost.start, lost.end.plus(-1))
        });
        self.out.warn(format!("{place}: {}{lost}; repair: {}", finding.what, finding.remedy));
        if !self.out.json() || self.out.is_silent() {
            return Ok(());
        }
        let lost = finding.lost.as_ref().map(|lost| json!({ "from": lost.start, "upto": lost.end }));
        self.object(json!({
            "position": finding.position, "problem": finding.what, "lost": lost,
            "repair": finding.remedy.to_string(), "repairable": finding.remedy.is_some(),
        }))?;
        self.stdout.flush()
    }

    fn object(&mut self, mut fields: Value) -> io::Result<()> {
        fields["file"] = json!(self.file);
        serde_json::to_writer(&mut self.stdout, &fields)?;
        self.stdout.write_all(b"\n")
    }

    pub(super) fn count(&mut self, records: u64) {
        self.batches += 1;
        self.records += records;
    }

    pub(super) fn problems(&self) -> u64 {
        self.problems
    }

    pub(super) fn summary(&mut self, files: usize) -> String {
        // The notes come after what they are about; a closed pipe has been noticed at a full buffer.
        let _ = self.stdout.flush();
        format!(
            "{files} files, {} batches, {} records, {} problems",
            self.batches, self.records, self.problems
        )
    }
}
