//! `flumen user`: what flumen.toml declares users by.

use std::io::{self, BufRead, IsTerminal};
use std::num::NonZeroU32;

use clap::builder::RangedI64ValueParser;
use clap::{Subcommand, ValueEnum};
use flumen_auth::credential::{ITERATIONS_MAX, ITERATIONS_MIN};
use flumen_auth::{ScramCredential, ScramHash};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde_json::json;

use super::{Failure, Out, Outcome, block_on};

/// Make what users are declared by in flumen.toml
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the line of [users.NAME] that holds keys instead of a password, of the password that is typed, or
    /// of standard input's first line
    Hash {
        /// What clients are to prove the password by; PLAIN works with either
        #[arg(long, value_enum, default_value_t = Mechanism::Sha512)]
        mechanism: Mechanism,
        /// How much work a guess at the password is
        #[arg(long, default_value_t = 8192, value_name = "COUNT", value_parser = counts())]
        iterations: u32,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Mechanism {
    #[value(name = "SCRAM-SHA-256")]
    Sha256,
    #[value(name = "SCRAM-SHA-512")]
    Sha512,
}

impl From<Mechanism> for ScramHash {
    fn from(mechanism: Mechanism) -> ScramHash {
        match mechanism {
            Mechanism::Sha256 => ScramHash::Sha256,
            Mechanism::Sha512 => ScramHash::Sha512,
        }
    }
}

fn counts() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(i64::from(ITERATIONS_MIN)..=i64::from(ITERATIONS_MAX))
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    let Command::Hash { mechanism, iterations } = args.command;
    block_on(async {
        let password = password().await?;
        if password.is_empty() {
            return Err(Failure::new("the password is empty")
                .todo("type one, or pass it as standard input's first line"));
        }
        hash(mechanism.into(), &password, iterations, out)
    })
}

fn hash(hash: ScramHash, password: &str, iterations: u32, out: &Out) -> Outcome {
    let iterations = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
    let salt: [u8; 16] = rand::random();
    let keys = ScramCredential::of_password(hash, password, &salt, iterations).to_text();
    let mechanism = hash.mechanism();
    if out.json() {
        return Ok(out.document(&json!({ "mechanism": mechanism, "keys": keys }))?);
    }
    Ok(out.line(format!("{mechanism} = \"{keys}\""))?)
}

/// Typed twice where somebody types, unseen; else the first line.
async fn password() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return line().await;
    }
    let _unseen = Unseen::begin().map_err(unread)?;
    eprint!("password: ");
    let password = line().await?;
    eprint!("\nagain: ");
    let again = line().await?;
    eprintln!();
    match password == again {
        true => Ok(password),
        false => Err(Failure::new("the two passwords differ")),
    }
}

/// Read on a thread of its own, so that Ctrl-C is heard meanwhile.
async fn line() -> Result<String, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(io::Error::other).and_then(|line| line).map_err(unread)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_string())
}

fn unread(error: impl Into<io::Error>) -> Failure {
    Failure::new("cannot read the password from standard input").because(error.into())
}

/// What is typed is not shown until this goes.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> rustix::io::Result<Unseen> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Unseen(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that has gone shows nothing any more.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
