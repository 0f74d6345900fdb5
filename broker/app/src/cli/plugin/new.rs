//! `flumen plugin new`: a folder with a plugin that builds and passes its test.
//!
//! The SDK's sources go with it, so that it depends on crates.io and nothing else, and speaks the
//! interface of the binary that made it.
//!
//! Invariant: nothing that is there is written over.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::{Failure, Out, Outcome};

include!(concat!(env!("OUT_DIR"), "/sdk.rs"));

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/sdk/template/", $name, ".in"))
    };
}

/// What the SDK's Cargo.toml inherits from.
const WORKSPACE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
const SDK_MANIFEST: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins/sdk/Cargo.toml"));

/// Make a folder with a new plugin in Rust, which builds and passes its own test
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its name: small letters, digits and dashes
    #[arg(value_parser = name)]
    name: String,
    /// What it does
    #[arg(long, short)]
    kind: Kind,
    /// Where to make the folder; else here, under its name
    #[arg(long, value_name = "FOLDER")]
    at: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Keeps some records
    Filter,
    /// Writes something else for each record
    Transform,
    /// Brings records in
    Source,
    /// Takes records out
    Sink,
    /// Takes records out, in the database transaction that also holds the offsets
    SqlSink,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Filter => "filter",
            Kind::Transform => "transform",
            Kind::Source => "source",
            Kind::Sink => "sink",
            Kind::SqlSink => "sql-sink",
        }
    }

    fn code(self) -> &'static str {
        match self {
            Kind::Filter => template!("filter.rs"),
            Kind::Transform => template!("transform.rs"),
            Kind::Source => template!("source.rs"),
            Kind::Sink => template!("sink.rs"),
            Kind::SqlSink => template!("sql-sink.rs"),
        }
    }

    /// How flumen.toml uses it.
    fn usage(self, name: &str, component: &str) -> String {
        match self {
            Kind::Filter | Kind::Transform => {
                format!(
                    "[transforms.{name}]\nplugin = \"{component}\"\nfrom   = \"orders\"\nto     = \"orders-out\"\nconfig = {{}}"
                )
            }
            Kind::Source => {
                format!(
                    "[sources.{name}]\nplugin = \"{component}\"\ntopic  = \"orders\"\nconfig = {{ count = 1000 }}"
                )
            }
            Kind::Sink => {
                format!("[sinks.{name}]\nplugin = \"{component}\"\nfrom   = [\"orders\"]\nconfig = {{}}")
            }
            Kind::SqlSink => {
                format!(
                    "[sinks.{name}]\nplugin = \"{component}\"\nfrom   = [\"orders\"]\nconfig = {{ database = \"warehouse\", table = \"orders\" }}\ngrant.databases = [\"warehouse\"]"
                )
            }
        }
    }
}

fn name(text: &str) -> Result<String, String> {
    let fits = text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        Ok(text.to_string())
    } else {
        Err("write small letters, digits and dashes, such as big-orders".into())
    }
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    let folder = args.at.unwrap_or_else(|| PathBuf::from(&args.name));
    let unwritable = |error| Failure::new(format!("cannot make {}", folder.display())).because(error);
    if folder.exists() && fs::read_dir(&folder).map_err(unwritable)?.next().is_some() {
        let failure = Failure::new(format!("{} is there already, and not empty", folder.display()));
        return Err(failure.todo("choose another name, or another place with --at"));
    }
    for (path, content) in files(&args.name, args.kind)? {
        let path = folder.join(path);
        let made =
            fs::create_dir_all(path.parent().unwrap_or(&folder)).and_then(|()| fs::write(&path, content));
        made.map_err(|error| Failure::new(format!("cannot write {}", path.display())).because(error))?;
    }
    if out.json() {
        return Ok(out.document(&json!({ "name": args.name, "kind": args.kind.name(), "folder": folder }))?);
    }
    out.line(format!("{} is ready:", folder.display()))?;
    out.line(format!("  cd {} && cargo test", folder.display()))?;
    Ok(out.line("  cargo build --release --target wasm32-wasip2")?)
}

/// Every file of the folder.
fn files(name: &str, kind: Kind) -> Result<Vec<(PathBuf, String)>, Failure> {
    let crate_name = name.replace('-', "_");
    let component = format!("{name}/target/wasm32-wasip2/release/{crate_name}.wasm");
    let words = [
        ("name", name.to_string()),
        ("type", type_name(name)),
        ("kind", kind.name().to_string()),
        ("crate", crate_name),
        ("summary", format!("A Flumen {}", kind.name())),
        ("usage", kind.usage(name, &component)),
    ];
    let filled = |template: &str| {
        words
            .iter()
            .fold(template.to_string(), |text, (word, value)| text.replace(&format!("{{{{{word}}}}}"), value))
    };
    let mut files = vec![
        (PathBuf::from("Cargo.toml"), filled(template!("Cargo.toml"))),
        (PathBuf::from("README.md"), filled(template!("README.md"))),
        (PathBuf::from("src/lib.rs"), filled(kind.code())),
        (PathBuf::from(".gitignore"), "/target\n".to_string()),
        (PathBuf::from(".cargo/config.toml"), filled(template!("cargo-config.toml"))),
        (PathBuf::from("flumen-sdk/Cargo.toml"), sdk_manifest()?),
    ];
    files.extend(
        SDK.iter().map(|(path, content)| (Path::new("flumen-sdk").join(path), (*content).to_string())),
    );
    Ok(files)
}

/// `big-orders` as a type: `BigOrders`.
fn type_name(name: &str) -> String {
    let capital = |word: &str| {
        let mut chars = word.chars();
        chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    };
    name.split('-').map(capital).collect()
}

/// The SDK's Cargo.toml with what it inherits written out.
fn sdk_manifest() -> Result<String, Failure> {
    let parse =
        |text: &str| text.parse::<toml::Table>().map_err(|error| Failure::from(anyhow::Error::from(error)));
    let (workspace, sdk) = (parse(WORKSPACE)?, parse(SDK_MANIFEST)?);
    let known = &workspace["workspace"]["dependencies"];
    let mut manifest = toml::Table::new();
    let package = [
        ("name", "flumen-sdk"),
        ("version", env!("CARGO_PKG_VERSION")),
        ("edition", "2024"),
        ("license", "MIT OR Apache-2.0"),
    ];
    let package = package.map(|(key, value)| (key.to_string(), toml::Value::from(value)));
    manifest.insert("package".into(), toml::Table::from_iter(package).into());
    let names =
        sdk.get("dependencies").and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
    let dependencies = names.filter_map(|name| Some((name.clone(), known.get(name)?.clone())));
    manifest.insert("dependencies".into(), toml::Table::from_iter(dependencies).into());
    Ok(manifest.to_string())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn names_become_types() {
        assert_eq!(type_name("big-orders"), "BigOrders");
        assert_eq!(type_name("x"), "X");
        for wrong in ["", "Big", "1st", "a_b", "a-", "../a"] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_word_of_the_templates_is_filled_in() {
        for kind in Kind::value_variants() {
            for (path, content) in files("big-orders", *kind).unwrap() {
                let is_ours = !path.starts_with("flumen-sdk");
                assert!(!(is_ours && content.contains("{{")), "{kind:?} {}: {content}", path.display());
            }
        }
    }

    #[test]
    fn the_sdk_goes_along_with_its_interface_and_its_dependencies() {
        let files = files("a", Kind::Sink).unwrap();
        let has = |name: &str| files.iter().any(|(path, _)| path == Path::new(name));
        assert!(has("flumen-sdk/src/lib.rs") && has("flumen-sdk/wit/worlds.wit"));
        let manifest: toml::Table = sdk_manifest().unwrap().parse().unwrap();
        assert!(manifest["dependencies"]["wit-bindgen"]["version"].is_str(), "{manifest}");
    }

    #[test]
    fn what_is_there_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "").unwrap();
        let out = Out::plain();
        let args = Args { name: "a".into(), kind: Kind::Sink, at: Some(dir.path().to_path_buf()) };
        assert!(run(args, &out).unwrap_err().what.contains("there already"));
    }

    /// Compiles five folders, and the SDK for each: a minute or two the first time.
    #[test]
    fn new_folders_pass_their_own_tests_and_build_for_wasm() {
        let dir = tempfile::tempdir().unwrap();
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/new");
        for kind in Kind::value_variants() {
            let name = format!("my-{}", kind.name());
            let folder = dir.path().join(&name);
            run(Args { name: name.clone(), kind: *kind, at: Some(folder.clone()) }, &Out::plain()).unwrap();
            for arguments in
                [&["test", "--quiet", "--lib"][..], &["build", "--quiet", "--target", "wasm32-wasip2"]]
            {
                let mut cargo = Command::new(env!("CARGO"));
                cargo.args(arguments).current_dir(&folder).env("CARGO_TARGET_DIR", &target);
                let done = cargo.output().unwrap();
                assert!(
                    done.status.success(),
                    "{name} {arguments:?}\n{}",
                    String::from_utf8_lossy(&done.stderr)
                );
            }
            let made = target.join("wasm32-wasip2/debug").join(name.replace('-', "_") + ".wasm");
            // A component; a core module has 1 where this has 13.
            assert_eq!(fs::read(made).unwrap()[..8], *b"\0asm\x0d\0\x01\0", "{name}");
        }
    }
}
