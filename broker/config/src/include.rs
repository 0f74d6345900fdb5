//! `include`: which files the first file names, and one tree of all of them.
//!
//! Only the first file includes. A pattern without `*`, `?` or `[` names a file that must be there; a
//! pattern that matches nothing is no error (an empty `conf.d`). `**` is not known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::Glob;

use crate::place::Place;
use crate::problem::Problem;
use crate::tree::{self, Node, Table, Value};
use crate::world::World;

/// All files as one.
pub(crate) struct Whole {
    pub(crate) table: Table,
    /// The first file, then the included ones in order of their names.
    pub(crate) files: Vec<PathBuf>,
    /// Folders in which another file may come to match.
    pub(crate) folders: Vec<PathBuf>,
}

/// Reads `first` and what it includes. The problems are those that make the tree unusable.
pub(crate) fn gather(first: &Path, world: &dyn World) -> Result<Whole, Vec<Problem>> {
    let (mut table, mut problems) = read(first, world, None);
    let mut whole = Whole { table: Table::new(), files: vec![first.to_path_buf()], folders: Vec::new() };
    if let Some(include) = table.remove("include") {
        for (pattern, place) in patterns(&include, &mut problems) {
            for path in expand(first, &pattern, &place, world, &mut whole.folders, &mut problems) {
                if whole.files.contains(&path) {
                    continue;
                }
                let (mut included, wrong) = read(&path, world, Some(&place));
                problems.extend(wrong);
                if let Some(nested) = included.remove("include") {
                    problems.push(
                        Problem::new(nested.place, "an included file includes others")
                            .expected(format!("\"include\" stands in {} only", first.display())),
                    );
                }
                tree::merge(&mut table, included, "", &mut problems);
                whole.files.push(path);
            }
        }
    }
    whole.table = table;
    if problems.is_empty() { Ok(whole) } else { Err(problems) }
}

fn read(path: &Path, world: &dyn World, included_at: Option<&Place>) -> (Table, Vec<Problem>) {
    let file: Arc<Path> = path.into();
    match (world.read(path), included_at) {
        (Ok(text), _) => tree::parse(&text, &file),
        (Err(error), Some(place)) => {
            let found = format!("included file {} cannot be read: {error}", path.display());
            (Table::new(), vec![Problem::new(place.clone(), found)])
        }
        (Err(error), None) => {
            let problem = Problem::new(Place::line(&file, 0), format!("cannot be read: {error}"));
            let todo = "\"flumen init\" writes one, \"--config PATH\" names another";
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            (Table::new(), vec![if missing { problem.expected(todo) } else { problem }])
        }
    }
}

fn patterns(include: &Node, problems: &mut Vec<Problem>) -> Vec<(String, Place)> {
    let one = std::slice::from_ref(include);
    let list = if let Value::Array(list) = &include.value { list.as_slice() } else { one };
    let mut patterns = Vec::new();
    for node in list {
        match &node.value {
            Value::Text(text) => patterns.push((text.clone(), node.place.clone())),
            _ => problems.push(
                Problem::new(node.place.clone(), format!("include is {}", node.found()))
                    .expected("expected patterns of files such as [\"conf.d/*.toml\"]"),
            ),
        }
    }
    patterns
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The files that a pattern names, folder by folder, sorted.
fn expand(
    first: &Path,
    pattern: &str,
    place: &Place,
    world: &dyn World,
    folders: &mut Vec<PathBuf>,
    problems: &mut Vec<Problem>,
) -> Vec<PathBuf> {
    let base = first.parent().unwrap_or(Path::new(""));
    let mut found = vec![if pattern.starts_with('/') { PathBuf::from("/") } else { base.to_path_buf() }];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if !is_pattern(part) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let Ok(glob) = Glob::new(part).map(|glob| glob.compile_matcher()) else {
            problems.push(
                Problem::new(place.clone(), format!("include \"{pattern}\" is not a pattern"))
                    .expected("expected one such as \"conf.d/*.toml\""),
            );
            return Vec::new();
        };
        let mut next = Vec::new();
        for folder in found {
            let mut names = world.list(&folder).unwrap_or_default();
            names.retain(|name| !name.starts_with('.') && glob.is_match(name));
            names.sort();
            next.extend(names.into_iter().map(|name| folder.join(name)));
            folders.push(folder);
        }
        found = next;
    }
    found.retain(|path| path != first);
    found
}
