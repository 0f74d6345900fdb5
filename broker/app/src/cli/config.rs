//! `flumen config`: what the file comes to, and what changing it would do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use flumen_config::{Change, Config, HttpAddress, Loaded, Machine, Problem};
use serde_json::{Value as Json, json};

use super::{Exit, Failure, Out, Outcome};

/// Show the effective configuration, or what a change of it would do
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    file: File,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Every key with its value and where that comes from; secrets are masked
    Show,
    /// What a reload would do, as the running broker sees it; or what it takes from another file to this one
    Diff {
        /// Compare with this file instead of with the running broker
        #[arg(long, value_name = "FILE")]
        from: Option<PathBuf>,
        /// The admin API of the broker, host:port; else as the file says
        #[arg(long, value_name = "ADDRESS", conflicts_with = "from")]
        http: Option<String>,
    },
    /// The JSON Schema of flumen.toml, for editors
    Schema,
}

/// Which file.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct File {
    /// The configuration file
    #[arg(
        long = "config",
        global = true,
        env = "FLUMEN_CONFIG",
        default_value = "flumen.toml",
        value_name = "FILE",
        display_order = 800
    )]
    path: PathBuf,
}

impl File {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that is wrong is in the failure, a cause each.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        read(&self.path).map_err(|problems| invalid(&self.path, &problems))
    }
}

/// The file as this process's environment and this binary's plugins make it.
pub(crate) fn read(path: &Path) -> Result<Loaded, Vec<Problem>> {
    flumen_config::load(path, &Machine::new(crate::bundled::names()))
}

/// The failure of a command that cannot go on without the configuration.
pub(crate) fn invalid(path: &Path, problems: &[Problem]) -> Failure {
    let mut failure = Failure::new(format!("{} is not valid", path.display())).exit(Exit::Config);
    failure.causes = problems.iter().map(ToString::to_string).collect();
    failure
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    match args.command {
        Command::Show => show(&args.file.load()?, out),
        Command::Diff { from: Some(from), .. } => {
            let old = read(&from).map_err(|problems| invalid(&from, &problems))?;
            between(&old.config, &args.file.load()?.config, out)
        }
        Command::Diff { from: None, http } => with_running(&args.file.load()?.config, http, out),
        Command::Schema => Ok(out.document(&flumen_config::json_schema())?),
    }
}

fn show(loaded: &Loaded, out: &Out) -> Outcome {
    if out.json() {
        return Ok(out.document(&loaded.to_json())?);
    }
    loaded.warnings.iter().for_each(|warning| out.warn(warning.to_string()));
    Ok(out.line(loaded.to_toml().trim_end())?)
}

fn between(old: &Config, new: &Config, out: &Out) -> Outcome {
    let changes = Config::diff(old, new);
    if out.json() {
        return Ok(out.document(&json!({ "changes": changes }))?);
    }
    lines(changes.iter().map(Change::to_string).collect(), out)
}

fn lines(changes: Vec<String>, out: &Out) -> Outcome {
    if changes.is_empty() {
        out.note("nothing would change");
    }
    for change in changes {
        out.line(change)?;
    }
    Ok(())
}

/// Asks the admin API, which knows what really runs.
fn with_running(config: &Config, http: Option<String>, out: &Out) -> Outcome {
    let address = match (http, &config.broker.http) {
        (Some(address), _) => address,
        (None, HttpAddress(Some(address))) => address.to_connect(),
        (None, HttpAddress(None)) => {
            return Err(Failure::new("the file turns the admin API off, so no running broker can be asked")
                .todo("compare two files: flumen config diff --from OLD.toml"));
        }
    };
    let answer = ask(&address, config.broker.http_token.as_ref().map(|token| token.reveal()))?;
    let texts = |list: &Json| -> Vec<String> {
        list.as_array().into_iter().flatten().filter_map(|line| Some(line.as_str()?.to_string())).collect()
    };
    if let Some(error) = answer.get("error") {
        let mut failure = Failure::new(format!("{address}: {}", error["what"].as_str().unwrap_or("refused")));
        failure.causes = texts(&error["problems"]);
        failure.todo = error["todo"].as_str().map(str::to_string);
        let refused = !failure.causes.is_empty();
        return Err(if refused { failure.exit(Exit::Config) } else { failure });
    }
    if out.json() {
        return Ok(out.document(&answer)?);
    }
    lines(texts(&answer["changes"]), out)
}

fn ask(address: &str, token: Option<&str>) -> Result<Json, Failure> {
    let failed = |error: ureq::Error| {
        Failure::new(format!("cannot ask the admin API at {address}"))
            .because(error)
            .exit(Exit::Unreachable)
            .todo("start the broker with `flumen run`, or compare two files: flumen config diff --from OLD.toml")
    };
    let settings = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .proxy(None)
        .build();
    let mut request = ureq::Agent::new_with_config(settings).get(format!("http://{address}/v1/plan"));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    request.call().map_err(failed)?.body_mut().read_json().map_err(failed)
}
