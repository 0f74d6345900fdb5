//! The command line: one enum of commands, one file a command, one place where a failure becomes
//! words and an exit code (docs/reference/exit-codes.md).
//!
//! Invariants: a command writes its result to standard output and everything else (notes, progress,
//! errors) to standard error, so that `flumen ... --json | jq` always works. No command prints an
//! error and returns Ok.

mod admin;
mod adopt;
mod check;
mod command_config;
mod completions;
mod config;
mod consume;
mod dlq;
mod failure;
pub(crate) mod format;
mod group;
mod init;
mod jaas;
mod kafka;
mod log;
mod out;
mod place;
mod plugin;
mod produce;
mod properties;
#[cfg(test)]
mod reference;
mod status;
mod topic;
mod txn;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio_util::sync::CancellationToken;

pub(crate) use config::File;
pub(crate) use failure::{Exit, Failure};
pub(crate) use out::Out;

/// What every command returns: nothing, or why not.
pub(crate) type Outcome = Result<(), Failure>;

/// One binary that is a durable log, a Kafka broker, and a runner of WASM plugins between them.
#[derive(Parser)]
#[command(name = "flumen", version, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    style: out::Style,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(crate::run::Args),
    Check(check::Args),
    Init(init::Args),
    Config(config::Args),
    Topic(topic::Args),
    Produce(produce::Args),
    Consume(consume::Args),
    Group(group::Args),
    Txn(txn::Args),
    User(user::Args),
    Dlq(dlq::Args),
    Plugin(plugin::Args),
    Status(status::Args),
    Log(log::Args),
    Adopt(adopt::Args),
    Completions(completions::Args),
}

impl Command {
    fn run(self, out: &Out) -> Outcome {
        match self {
            Command::Run(args) => crate::run::run(args, out),
            Command::Check(args) => check::run(args, out),
            Command::Init(args) => init::run(args, out),
            Command::Config(args) => config::run(args, out),
            Command::Topic(args) => topic::run(args, out),
            Command::Produce(args) => produce::run(args, out),
            Command::Consume(args) => consume::run(args, out),
            Command::Group(args) => group::run(args, out),
            Command::Txn(args) => txn::run(args, out),
            Command::User(args) => user::run(args, out),
            Command::Dlq(args) => dlq::run(args, out),
            Command::Plugin(args) => plugin::run(args, out),
            Command::Status(args) => status::run(args, out),
            Command::Log(args) => log::run(args, out),
            Command::Adopt(args) => adopt::run(args, out),
            Command::Completions(args) => completions::run(args, out),
        }
    }
}

/// Parses the process's arguments, runs the command, reports its failure.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(wrong) if wrong.use_stderr() && asks_for_json() => {
            Out::machine().failure(&Failure::of_words(&wrong));
            return Exit::Usage.into();
        }
        Err(wrong) => {
            // Help and version come this way too, and are no failure; a closed pipe is nobody's.
            let _ = wrong.print();
            return if wrong.use_stderr() { Exit::Usage } else { Exit::Ok }.into();
        }
    };
    let out = Out::new(&cli.style);
    match cli.command.run(&out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            failure.exit.into()
        }
    }
}

/// For words that do not parse, so that nobody else has read the flag.
fn asks_for_json() -> bool {
    std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json")
}

/// Runs a command that talks to a network, on one thread; Ctrl-C ends it with exit code 130.
pub(crate) fn block_on<F: Future<Output = Outcome>>(work: F) -> Outcome {
    until_interrupted(async |interrupted| {
        tokio::select! {
            outcome = work => outcome,
            () = interrupted.cancelled() => Err(Failure::silent(Exit::Interrupted)),
        }
    })
}

/// The same for a command that has something to finish when it is interrupted.
pub(crate) fn until_interrupted(work: impl AsyncFnOnce(CancellationToken) -> Outcome) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the async runtime").because(error))?;
    let outcome = runtime.block_on(async {
        let interrupted = CancellationToken::new();
        let mut work = std::pin::pin!(work(interrupted.clone()));
        tokio::select! {
            outcome = &mut work => return outcome,
            _ = tokio::signal::ctrl_c() => interrupted.cancel(),
        }
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => Err(Failure::silent(Exit::Interrupted)),
        }
    });
    // A thread that waits for standard input would be waited for in turn.
    runtime.shutdown_background();
    outcome
}
