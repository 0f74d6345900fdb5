//! `flumen check`: everything that is wrong with the file, as a start or a reload would find it.

use serde_json::json;

use super::config::{self, File};
use super::{Exit, Failure, Out, Outcome};

/// Check flumen.toml: every problem at once, each with its line
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: File,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    let path = args.file.path();
    let loaded = match config::read(path) {
        Ok(loaded) => loaded,
        Err(problems) => {
            if out.json() {
                out.document(&json!({ "valid": false, "problems": problems, "warnings": [] }))?;
            } else {
                problems.iter().try_for_each(|problem| out.line(problem.to_string()))?;
            }
            return Err(Failure::silent(Exit::Config));
        }
    };
    if let Err(problems) = examined(&loaded, out) {
        if out.json() {
            out.document(&json!({ "valid": false, "problems": problems, "warnings": loaded.warnings }))?;
        } else {
            problems.iter().try_for_each(|problem| out.line(problem))?;
        }
        return Err(Failure::silent(Exit::Config));
    }
    if out.json() {
        return Ok(out.document(&json!({ "valid": true, "problems": [], "warnings": loaded.warnings }))?);
    }
    loaded.warnings.iter().for_each(|warning| out.warn(warning.to_string()));
    let config = &loaded.config;
    let counts = [
        (config.topics.len(), "topic"),
        (config.databases.len(), "database"),
        (config.sources.len(), "source"),
        (config.transforms.len(), "transform"),
        (config.sinks.len(), "sink"),
    ];
    let said: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    let said = if said.is_empty() { "a broker without plugins".to_string() } else { said.join(", ") };
    Ok(out.line(format!("{} is valid: {said}", path.display()))?)
}

/// What only the plugins themselves know: what they are, which configuration they take, what they need.
fn examined(loaded: &flumen_config::Loaded, out: &Out) -> Result<(), Vec<String>> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| vec![format!("cannot start the async runtime: {error}")])?;
    runtime.block_on(crate::run::examine(loaded, out))
}
