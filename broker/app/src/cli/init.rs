//! `flumen init`: a commented file to start from, with input to try it on.
//!
//! Invariant: nothing that exists is overwritten; either every file is written or none is.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use flumen_config::Recipe;
use serde_json::json;

use super::out::Value;
use super::{Failure, Out, Outcome};

/// Write a commented flumen.toml for a recipe; without a recipe, list them
#[derive(clap::Args)]
pub(crate) struct Args {
    /// What it is to do
    #[arg(value_parser = PossibleValuesParser::new(Recipe::ALL.iter().map(|recipe| recipe.name)))]
    recipe: Option<String>,
    /// The folder to write to; made if it is missing
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    let Some(recipe) = args.recipe.as_deref().and_then(Recipe::find) else { return list(out) };
    let written = write(recipe, &args.dir)?;
    if out.json() {
        return Ok(out.document(&json!({ "recipe": recipe.name, "written": written }))?);
    }
    for path in written {
        out.line(format!("wrote {}", path.display()))?;
    }
    out.note("next: read the first lines of flumen.toml, then flumen check, then flumen run");
    Ok(())
}

fn list(out: &Out) -> Outcome {
    if out.json() {
        let recipes =
            Recipe::ALL.iter().map(|recipe| json!({ "name": recipe.name, "summary": recipe.summary }));
        return Ok(out.document(&recipes.collect::<Vec<_>>())?);
    }
    out.table(
        ["RECIPE", "DOES"],
        Recipe::ALL.iter().map(|recipe| [Value::text(recipe.name), Value::text(recipe.summary)]),
    )?;
    out.note("write one: flumen init RECIPE");
    Ok(())
}

fn write(recipe: &Recipe, dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut written = Vec::new();
    for (path, text) in recipe.files {
        let path = dir.join(path);
        if let Err(failure) = create(&path, text) {
            // Only what this call has made is taken back.
            written.iter().for_each(|path| drop(fs::remove_file(path)));
            return Err(failure);
        }
        written.push(path);
    }
    Ok(written)
}

fn create(path: &Path, text: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| {
            Failure::new(format!("cannot make the folder {}", folder.display())).because(error)
        })?;
    }
    let made = fs::File::options().write(true).create_new(true).open(path);
    match made.and_then(|mut file| file.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::new(format!("{} exists, and is left as it is", path.display()))
                .todo("name another folder with --dir, or move the file away"))
        }
        Err(error) => Err(Failure::new(format!("cannot write {}", path.display())).because(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_is_written_once_and_never_over_what_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let recipe = Recipe::find("csv-to-sqlite").expect("the recipe");
        assert_eq!(write(recipe, dir.path()).expect("written").len(), 2);

        let config = dir.path().join("flumen.toml");
        fs::remove_file(&config).expect("removed");
        fs::write(dir.path().join("inbox/orders.csv"), "mine").expect("changed");
        let failure = write(recipe, dir.path()).expect_err("the input is there");
        assert!(failure.what.contains("orders.csv exists"), "{}", failure.what);
        assert!(!config.exists(), "half a recipe was left behind");
        assert_eq!(fs::read_to_string(dir.path().join("inbox/orders.csv")).expect("read"), "mine");
    }
}
