//! What is published is what is read: reference, schema, examples.

mod folder;

use std::fs;
use std::path::{Path, PathBuf};

use flumen_config::{Recipe, json_schema, load, reference};
use folder::FolderWorld;
use serde_json::Value;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Compares a generated page with the one in docs/reference, or renews it.
fn up_to_date(name: &str, text: &str) {
    let path = docs().join("reference").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, text).expect("the page is written");
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        published == text,
        "docs/reference/{name} is out of date; renew it: UPDATE_DOCS=1 cargo test -p flumen-config"
    );
}

#[test]
fn the_reference_is_up_to_date() {
    up_to_date("config.md", &reference::page());
}

#[test]
fn the_schema_is_up_to_date() {
    let schema = serde_json::to_string_pretty(&json_schema()).expect("a schema is JSON");
    up_to_date("flumen.schema.json", &(schema + "\n"));
}

/// Folders of docs/examples.
fn examples() -> Vec<PathBuf> {
    let entries = fs::read_dir(docs().join("examples")).expect("the examples");
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an example").path())
        .filter(|path| path.join("flumen.toml").exists())
        .collect();
    folders.sort();
    assert!(folders.len() > Recipe::ALL.len(), "the examples have moved");
    folders
}

/// An example's folder, with the variables that its comments ask for.
struct Example(FolderWorld);

impl flumen_config::World for Example {
    fn variables(&self) -> Vec<(String, String)> {
        vec![("PGPASSWORD".into(), "hunter2-hunter2".into())]
    }
    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.0.read(path)
    }
    fn exists(&self, path: &Path) -> bool {
        self.0.exists(path)
    }
    fn list(&self, folder: &Path) -> std::io::Result<Vec<String>> {
        self.0.list(folder)
    }
    fn shipped(&self) -> Vec<String> {
        self.0.shipped()
    }
}

#[test]
fn every_example_is_valid_and_warns_of_nothing() {
    for folder in examples() {
        match load(Path::new("flumen.toml"), &Example(FolderWorld::new(&folder))) {
            Ok(loaded) => assert_eq!(loaded.warnings, [], "{}", folder.display()),
            Err(problems) => panic!("{}: {problems:#?}", folder.display()),
        }
    }
}

#[test]
fn every_recipe_is_an_example_word_for_word() {
    for recipe in Recipe::ALL {
        for (path, text) in recipe.files {
            let example = docs().join("examples").join(recipe.name).join(path);
            assert_eq!(fs::read_to_string(&example).expect("the example"), *text, "{}", example.display());
        }
    }
}

/// Every file of the examples and cases, as an editor sees it.
fn documents() -> Vec<(PathBuf, Value)> {
    let mut files = Vec::new();
    let mut folders = examples();
    folders.push(docs().join("examples/everything/conf.d"));
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    folders.extend(
        fs::read_dir(cases)
            .expect("the cases")
            .map(|entry| entry.expect("a case").path())
            .filter(|case| case.join("expected.json").exists()),
    );
    for folder in folders {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                let text = fs::read_to_string(&path).expect("a file");
                files.push((path, toml::from_str(&text).expect("TOML")));
            }
        }
    }
    files
}

#[test]
fn the_schema_takes_what_the_reader_takes() {
    let validator = jsonschema::validator_for(&json_schema()).expect("the schema is one");
    for (path, document) in documents() {
        let problems: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        // The same key quoted is legal TOML that no schema of nested tables can say.
        if !path.to_string_lossy().contains("ways-to-write-a-key") {
            assert_eq!(problems, [] as [String; 0], "{}", path.display());
        }
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let validator = jsonschema::validator_for(&json_schema()).expect("the schema is one");
    for text in [
        "[broker]\ndata.dri = 'x'",
        "[topcs.a]",
        "[broker]\nlog.retention.ms = 'a week'",
        "[broker]\nnum.partitions = 0",
        "[sinks.s]\nplugin = 'db-sink'",
        "[sinks.s]\nplugin = 'db-sink'\nfrom = 't'\nerrors.policy = 'shrug'",
        "[databases.d]\nurl = 'oracle://x'",
        "[topics.'a b']",
    ] {
        let document: Value = toml::from_str(text).expect("TOML");
        assert!(!validator.is_valid(&document), "{text}");
    }
}

/// The dotted names of a table's properties in the schema.
fn keys(schema: &Value, above: &str, found: &mut Vec<String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        let table =
            value["anyOf"].as_array().and_then(|any| any.iter().find(|one| one["properties"].is_object()));
        match table.unwrap_or(value) {
            table
                if table["properties"].is_object()
                    || table["additionalProperties"]["properties"].is_object() =>
            {
                keys(table, &path, found)
            }
            _ => found.push(path),
        }
    }
    if let Some(inner) = schema.get("additionalProperties").filter(|inner| inner["properties"].is_object()) {
        keys(inner, &format!("{above}.*"), found);
    }
}

fn has(document: &Value, path: &str) -> bool {
    let Value::Object(table) = document else { return false };
    if let Some(rest) = path.strip_prefix("*.") {
        return table.values().any(|inner| has(inner, rest));
    }
    if table.contains_key(path) {
        return true;
    }
    path.match_indices('.')
        .any(|(dot, _)| table.get(&path[..dot]).is_some_and(|inner| has(inner, &path[dot + 1..])))
}

#[test]
fn every_option_is_used_in_an_example() {
    let mut known = Vec::new();
    keys(&json_schema(), "", &mut known);
    assert!(known.len() > 100, "{known:?}");
    let documents: Vec<Value> = documents()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("docs/examples"))
        .map(|(_, document)| document)
        .collect();
    // `http.token` is listed twice, once for each way to write it; and settings are common to all plugins.
    let common = |key: &str| ["sources", "transforms", "sinks"].map(|table| format!("{table}.*.{key}"));
    let used = |key: &String| {
        let last = key.rsplit(".*.").next().unwrap_or(key);
        let is_plugins =
            ["sources.*.", "transforms.*.", "sinks.*."].iter().any(|start| key.starts_with(start));
        documents.iter().any(|document| {
            has(document, key) || (is_plugins && common(last).iter().any(|path| has(document, path)))
        })
    };
    let unused: Vec<&String> = known.iter().filter(|key| !used(key)).collect();
    assert!(unused.is_empty(), "no example uses {unused:?}");
}
