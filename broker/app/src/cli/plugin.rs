//! `flumen plugin`: which plugins there are, what one is, and a folder to write another in.

mod new;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use flumen_host::{PluginInfo, WasmRef};
use serde_json::json;

use super::{Exit, Failure, Out, Outcome};
use crate::{bundled, run};

/// List, look into and begin plugins
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The plugins that this binary carries
    List,
    /// What a plugin is: kind, needs, and the schema of its configuration
    Show {
        /// A shipped plugin by its name, or the path of a .wasm component
        plugin: String,
    },
    /// Check that a file is a component that this broker can run
    Check {
        /// The .wasm component
        file: PathBuf,
    },
    New(new::Args),
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::new("cannot start the async runtime").because(error))?;
    runtime.block_on(async {
        match args.command {
            Command::List => list(out).await,
            Command::Show { plugin } => show(&plugin, out).await,
            Command::Check { file } => check(&file, out).await,
            Command::New(args) => new::run(args, out),
        }
    })
}

/// Compiled once a machine and version, and kept where the system keeps what can be made again.
fn cache() -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("flumen/plugin-cache")
}

async fn describe(wasm: WasmRef) -> Result<PluginInfo, Failure> {
    let described = run::host_without_broker(cache()).describe(&wasm).await;
    described.map_err(|error| Failure::new(format!("{} cannot be used", wasm.origin)).because(error))
}

async fn list(out: &Out) -> Outcome {
    let mut found = Vec::new();
    for name in bundled::names() {
        found.push(describe(shipped(name)?).await?);
    }
    if out.json() {
        let documents: Vec<_> = found.iter().map(document).collect();
        return Ok(out.document(&documents)?);
    }
    if found.is_empty() {
        out.note("this binary carries no plugins: run plugins/build, then build it again");
    }
    let rows = found.into_iter().map(|info| {
        let kind = kind(&info);
        [&info.name, &kind, &info.version, &info.summary].map(|text| text.as_str().into())
    });
    Ok(out.table(["NAME", "KIND", "VERSION", "SUMMARY"], rows)?)
}

fn kind(info: &PluginInfo) -> String {
    if info.sql { format!("{} (SQL)", info.kind.name()) } else { info.kind.name().to_owned() }
}

fn shipped(name: &str) -> Result<WasmRef, Failure> {
    let bytes = bundled::find(name).ok_or_else(|| {
        let names: Vec<&str> = bundled::names().collect();
        Failure::usage(format!("no shipped plugin is called \"{name}\""))
            .todo(format!("name one of {}, or the path of a .wasm component", names.join(", ")))
    })?;
    Ok(WasmRef::new(bytes, format!("{name} (built in)")))
}

fn read(file: &Path) -> Result<WasmRef, Failure> {
    let bytes = std::fs::read(file)
        .map_err(|error| Failure::new(format!("cannot read {}", file.display())).because(error))?;
    Ok(WasmRef::new(bytes, file.display().to_string()))
}

async fn show(plugin: &str, out: &Out) -> Outcome {
    let is_path = plugin.contains('/') || plugin.ends_with(".wasm");
    let info = describe(if is_path { read(Path::new(plugin))? } else { shipped(plugin)? }).await?;
    if out.json() {
        return Ok(out.document(&document(&info))?);
    }
    out.line(format!("{} {}, a {}: {}", info.name, info.version, kind(&info), info.summary))?;
    if !info.needs.is_empty() {
        let needs: Vec<&str> = info.needs.iter().map(|need| need.name()).collect();
        out.line(format!("needs: {}", needs.join(", ")))?;
    }
    let schema = serde_json::to_string_pretty(&info.config_schema).map_err(std::io::Error::other)?;
    Ok(out.line(format!("config:\n{schema}"))?)
}

async fn check(file: &Path, out: &Out) -> Outcome {
    let info = describe(read(file)?).await.map_err(|failure| failure.exit(Exit::Config))?;
    if out.json() {
        return Ok(out.document(&document(&info))?);
    }
    Ok(out.line(format!("{} is {} {}, a {}", file.display(), info.name, info.version, kind(&info)))?)
}

fn document(info: &PluginInfo) -> serde_json::Value {
    json!({
        "name": info.name,
        "version": info.version,
        "summary": info.summary,
        "kind": info.kind.name(),
        "sql": info.sql,
        "needs": info.needs,
        "config_schema": info.config_schema,
    })
}
