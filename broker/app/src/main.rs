//! The `flumen` binary: reads the command line and leaves with a documented exit code.

mod bundled;
mod cli;
mod clock;
mod run;

fn main() -> std::process::ExitCode {
    cli::main()
}
