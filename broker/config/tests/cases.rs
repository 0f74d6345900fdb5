//! Each folder of `cases/` is one file to load and what comes of it: `expected.json` (what the file and
//! the environment set, with places, and the warnings) or `expected.err` (the problems, a line each).
//! Beside flumen.toml may lie what it refers to, and `env` with lines `NAME=VALUE`.
//!
//! `UPDATE_CASES=1 cargo test -p flumen-config --test cases` writes what is expected anew; read the diff.

mod folder;

use std::path::{Path, PathBuf};

use flumen_config::Loaded;
use folder::FolderWorld;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};

fn main() {
    let cases = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(cases).expect("the cases").map(|entry| entry.expect("a case").path()).collect();
    folders.sort();
    let trials = folders
        .into_iter()
        .map(|folder| {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            Trial::test(name, move || case(&folder))
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn case(folder: &Path) -> Result<(), Failed> {
    let world = FolderWorld::new(folder);
    let (found, file, other) = match flumen_config::load(Path::new("flumen.toml"), &world) {
        Ok(loaded) => {
            let text = serde_json::to_string_pretty(&summary(&loaded))?;
            (text + "\n", "expected.json", "expected.err")
        }
        Err(problems) => {
            (problems.iter().map(|problem| format!("{problem}\n")).collect(), "expected.err", "expected.json")
        }
    };
    if std::env::var_os("UPDATE_CASES").is_some() {
        std::fs::write(folder.join(file), &found)?;
        let _ = std::fs::remove_file(folder.join(other));
        return Ok(());
    }
    let expected = std::fs::read_to_string(folder.join(file))
        .map_err(|_| format!("no {file}, but the file came to:\n{found}"))?;
    if expected == found { Ok(()) } else { Err(format!("expected:\n{expected}\nfound:\n{found}").into()) }
}

/// What is not a default.
fn summary(loaded: &Loaded) -> Value {
    let mut config = loaded.to_json();
    prune(&mut config);
    let warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    json!({ "config": config, "warnings": warnings })
}

fn prune(node: &mut Value) {
    if let Value::Array(list) = node {
        list.iter_mut().for_each(prune);
    }
    let Value::Object(map) = node else { return };
    if map.contains_key("from") && map.contains_key("value") {
        return;
    }
    map.retain(|_, value| {
        let from = value["from"].as_str().unwrap_or_default();
        from != "default" && !from.starts_with("broker.")
    });
    map.values_mut().for_each(prune);
}
