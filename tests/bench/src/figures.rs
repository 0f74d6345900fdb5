//! Figures of several runs, and the tables they are shown in.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

/// One figure, measured several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figure(Vec<f64>);

impl Figure {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// `412 (380-430)`.
    pub(crate) fn show(&self) -> String {
        let (low, high) = self.0.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        match self.0.len() {
            0 => "-".into(),
            1 => number(low),
            _ => format!("{} ({}-{})", number(self.median()), number(low), number(high)),
        }
    }
}

/// The ratio of two medians; a dash if one is missing.
pub(crate) fn ratio(ours: &Figure, theirs: &Figure) -> String {
    let ratio = ours.median() / theirs.median();
    if ratio.is_finite() { format!("{}x", number(ratio)) } else { "-".into() }
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// A table in Markdown, shown row by row as it fills.
pub(crate) struct Table {
    text: String,
}

impl Table {
    pub(crate) fn new(title: &str, note: &str, columns: &[&str]) -> Table {
        let mut table = Table { text: String::new() };
        let note = if note.is_empty() { String::new() } else { format!("{note}\n\n") };
        table.add(&format!("\n## {title}\n\n{note}"));
        table.row(columns);
        table.row(&vec!["---"; columns.len()]);
        table
    }

    pub(crate) fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        let mut line = String::from("|");
        for cell in cells {
            // A String takes whatever is written to it.
            let _ = write!(line, " {} |", cell.as_ref());
        }
        line.push('\n');
        self.add(&line);
    }

    fn add(&mut self, text: &str) {
        print!("{text}");
        self.text.push_str(text);
    }

    /// Behind what the file has.
    pub(crate) fn write(self, out: Option<&Path>) -> Result<()> {
        use std::io::Write as _;
        if let Some(out) = out {
            std::fs::File::options().create(true).append(true).open(out)?.write_all(self.text.as_bytes())?;
        }
        Ok(())
    }
}
