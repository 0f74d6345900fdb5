//! What commands write, and how: tables for a person, JSON for a program, progress only where
//! somebody watches.
//!
//! Invariants: results go to standard output, everything else to standard error. Without a terminal
//! there is no colour, no border that wraps, and no progress bar. `--json` writes JSON and nothing
//! else to standard output.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::Args;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::{Exit, Failure};

/// Flags of every command.
#[derive(Args)]
pub(crate) struct Style {
    /// Write JSON to standard output, and errors as JSON to standard error
    #[arg(long, global = true, display_order = 900)]
    json: bool,
    /// No colours, on a terminal too (also by the variable NO_COLOR)
    #[arg(long, global = true, display_order = 901)]
    no_color: bool,
    /// Results and errors only: no notes, no progress bars
    #[arg(long, short, global = true, display_order = 902)]
    quiet: bool,
}

/// The place a command writes to.
pub(crate) struct Out {
    json: bool,
    quiet: bool,
    /// Not even warnings.
    silent: bool,
    /// Standard output is a terminal.
    terminal: bool,
    color: bool,
    /// Standard error is a terminal.
    watched: bool,
    color_errors: bool,
}

/// How good the news in a cell is; a colour on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Warn,
    Bad,
}

impl Out {
    pub(crate) fn new(style: &Style) -> Out {
        let terminal = io::stdout().is_terminal();
        let watched = io::stderr().is_terminal();
        let plain = style.no_color || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Out {
            json: style.json,
            quiet: style.quiet,
            silent: false,
            terminal,
            color: terminal && !plain,
            watched,
            color_errors: watched && !plain,
        }
    }

    /// For a program, before any flag has been read.
    pub(crate) fn machine() -> Out {
        Out::new(&Style { json: true, no_color: true, quiet: false })
    }

    /// The same place for work whose words are not wanted.
    pub(crate) fn silenced(&self) -> Out {
        Out { silent: true, quiet: true, ..*self }
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// `--json` was given.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// One JSON document: pretty where a person reads it, a line where a program does.
    pub(crate) fn document(&self, value: &impl Serialize) -> io::Result<()> {
        let text =
            if self.terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        self.line(text.map_err(io::Error::other)?)
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_ref().as_bytes())?;
        stdout.write_all(b"\n")
    }

    /// A remark beside the result: on standard error, not with `--quiet` or `--json`.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            complain(text.as_ref());
        }
    }

    /// Something the reader should look at, though the work goes on.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        if !self.silent {
            complain(&format!("{} {}", self.paint("warning:", "33"), text.as_ref()));
        }
    }

    /// A table of the result; `header` in capitals by convention.
    pub(crate) fn table<const N: usize>(
        &self,
        header: [&str; N],
        rows: impl IntoIterator<Item = [Value; N]>,
    ) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        if self.terminal {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        } else {
            table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        }
        table.set_header(header.map(|title| {
            let cell = Cell::new(title);
            if self.color { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
        for row in rows {
            table.add_row(row.map(|value| self.cell(value)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        self.line(table.trim_fmt())
    }

    fn cell(&self, value: Value) -> Cell {
        let cell = Cell::new(value.text);
        let cell = if value.number { cell.set_alignment(CellAlignment::Right) } else { cell };
        match value.tone {
            _ if !self.color => cell,
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Warn => cell.fg(Color::Yellow),
            Tone::Bad => cell.fg(Color::Red),
        }
    }

    /// A bar for work of known length, on standard error; hidden when nobody watches.
    pub(crate) fn progress(&self, what: &str, of: u64) -> ProgressBar {
        self.bar(ProgressBar::new(of), what, "{msg} [{bar:32}] {human_pos}/{human_len} {per_sec} {eta}")
    }

    /// A bar for work measured in bytes.
    pub(crate) fn progress_bytes(&self, what: &str, of: u64) -> ProgressBar {
        self.bar(ProgressBar::new(of), what, "{msg} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    }

    /// A spinner with a count, for work whose end is not known.
    pub(crate) fn spinner(&self, what: &str) -> ProgressBar {
        let bar = self.bar(ProgressBar::no_length(), what, "{spinner} {msg} {human_pos} {per_sec}");
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// A spinner for one thing that takes a while.
    pub(crate) fn waiting(&self, what: &str) -> ProgressBar {
        let bar = self.bar(ProgressBar::no_length(), what, "{spinner} {msg} {elapsed}");
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn bar(&self, bar: ProgressBar, what: &str, template: &str) -> ProgressBar {
        let shown = self.watched && !self.quiet && !self.json;
        bar.set_draw_target(if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.with_message(what.to_string())
    }

    /// A failure: what, where, what to do. With `--json` one JSON line.
    pub(crate) fn failure(&self, failure: &Failure) {
        if failure.what.is_empty() {
            return;
        }
        if self.json {
            let error = serde_json::json!({ "error": {
                "exit": failure.exit as u8, "what": failure.what, "causes": failure.causes, "todo": failure.todo,
            }});
            return complain(&error.to_string());
        }
        complain(&format!("{} {}", self.paint("error:", "1;31"), failure.what));
        for cause in &failure.causes {
            complain(&format!("  because: {cause}"));
        }
        if let Some(todo) = &failure.todo {
            complain(&format!("  {} {todo}", self.paint("try:", "1")));
        }
        if failure.exit == Exit::Usage {
            complain("  see: flumen --help");
        }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.color_errors { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}

/// Standard error may be closed; there is nobody left to tell.
fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
impl Out {
    /// Neither a terminal nor JSON.
    pub(crate) fn plain() -> Out {
        Out {
            json: false,
            quiet: true,
            silent: false,
            terminal: false,
            color: false,
            watched: false,
            color_errors: false,
        }
    }
}

/// The longest name that a table shows whole.
const NAME_MAX: usize = 48;

/// One cell of a table.
pub(crate) struct Value {
    text: String,
    number: bool,
    tone: Tone,
}

impl Value {
    pub(crate) fn text(text: impl ToString) -> Value {
        Value { text: text.to_string(), number: false, tone: Tone::Plain }
    }

    /// Shortened in its middle, so that one long name does not push every row off the screen; `--json` has it
    /// whole.
    pub(crate) fn name(name: &str) -> Value {
        let letters: Vec<char> = name.chars().collect();
        if letters.len() <= NAME_MAX {
            return Value::text(name);
        }
        let (head, tail) = (NAME_MAX / 2, NAME_MAX - NAME_MAX / 2 - 1);
        let cut = letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]);
        Value::text(cut.collect::<String>())
    }

    /// Aligned to the right.
    pub(crate) fn number(number: impl ToString) -> Value {
        Value { text: number.to_string(), number: true, tone: Tone::Plain }
    }

    /// A number that may not be known.
    pub(crate) fn maybe(number: Option<impl ToString>) -> Value {
        number.map_or_else(|| Value { number: true, ..Value::text("-") }, Value::number)
    }

    pub(crate) fn tone(self, tone: Tone) -> Value {
        Value { tone, ..self }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::number(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_ends() {
        assert_eq!(Value::name("orders").text, "orders");
        let long = format!("{}-{}", "a".repeat(200), "b".repeat(40));
        let shown = Value::name(&long).text;
        assert_eq!(shown.chars().count(), NAME_MAX);
        assert!(shown.starts_with("aaa") && shown.ends_with("bbb") && shown.contains('…'), "{shown}");
    }
}
