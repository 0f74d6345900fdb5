//! Why a command did not do what it was asked: what, where (the chain of sources), what to do, and
//! the exit code. docs/reference/exit-codes.md is the same list for people.
//!
//! Invariant: each code has one meaning for every command.

use std::error::Error;
use std::process::ExitCode;

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    /// Asked for, understood, tried, not done.
    Failure = 1,
    /// The command line itself is wrong.
    Usage = 2,
    /// flumen.toml, or a plugin's configuration in it, is not valid.
    Config = 3,
    /// No broker, or no admin API, answered.
    Unreachable = 4,
    /// Everything ran, but some records were rejected.
    Rejected = 5,
    /// Stored data is damaged.
    Damaged = 6,
    /// Ctrl-C or a second SIGTERM.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// One failure, ready for a person or (`--json`) a program.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// What could not be done, and where: `cannot delete topic "orders" at 127.0.0.1:9092`.
    /// Empty when everything has been said already.
    pub(crate) what: String,
    /// Each level below, outermost first.
    pub(crate) causes: Vec<String>,
    /// What the reader can do about it.
    pub(crate) todo: Option<String>,
}

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Failure {
        Failure { exit: Exit::Failure, what: what.into(), causes: Vec::new(), todo: None }
    }

    /// For a command that has printed its findings itself.
    pub(crate) fn silent(exit: Exit) -> Failure {
        Failure { exit, ..Failure::new("") }
    }

    pub(crate) fn exit(mut self, exit: Exit) -> Failure {
        self.exit = exit;
        self
    }

    /// Adds an error and its sources as the causes. A level that its parent's text repeats is left out.
    pub(crate) fn because(mut self, error: impl Into<anyhow::Error>) -> Failure {
        let error = error.into();
        let mut next: Option<&(dyn Error + 'static)> = Some(error.as_ref());
        while let Some(level) = next {
            let text = level.to_string();
            if !self.causes.last().is_some_and(|above| above.ends_with(&text)) {
                self.causes.push(text);
            }
            next = level.source();
        }
        self
    }

    pub(crate) fn todo(mut self, todo: impl Into<String>) -> Failure {
        self.todo = Some(todo.into());
        self
    }

    pub(crate) fn usage(what: impl Into<String>) -> Failure {
        Failure::new(what).exit(Exit::Usage)
    }

    /// Of a command line that does not parse: what is wrong, and the tips that go with it.
    pub(crate) fn of_words(wrong: &clap::Error) -> Failure {
        if wrong.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return Failure::usage("a command is missing").todo("flumen --help");
        }
        let said = wrong.render().to_string();
        let before_usage = said.split("\nUsage:").next().unwrap_or_default();
        let mut lines = before_usage.lines().map(str::trim).filter(|line| !line.is_empty());
        let what = lines.next().unwrap_or_default();
        let mut failure = Failure::usage(what.strip_prefix("error: ").unwrap_or(what));
        failure.causes =
            lines.filter(|line| !line.starts_with("For more information")).map(str::to_string).collect();
        failure.todo("flumen --help")
    }
}

/// For `?` on what needs no better words than its own.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        let mut failure = Failure::new("").because(error);
        failure.what = failure.causes.remove(0);
        failure
    }
}

/// Only standard output is written with a bare `?`. Who closed it (`flumen consume t | head`) has
/// seen enough.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::silent(Exit::Ok);
        }
        Failure::new("cannot write to standard output").because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_the_chain_of_sources() {
        let chain = Err::<(), _>(std::io::Error::other("refused")).context("127.0.0.1:9092").unwrap_err();
        let failure = Failure::new("cannot list topics").because(chain);
        assert_eq!(failure.causes, ["127.0.0.1:9092", "refused"]);
        assert_eq!(failure.exit, Exit::Failure);
    }

    #[test]
    fn a_level_that_repeats_the_one_below_is_said_once() {
        let chain = Err::<(), _>(std::io::Error::other("refused")).context("connect: refused").unwrap_err();
        assert_eq!(Failure::new("x").because(chain).causes, ["connect: refused"]);
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        let closed = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(closed).exit, Exit::Ok);
    }
}
