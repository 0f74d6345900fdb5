//! What is refused before anything is read.

use file_source::FileSource;
use flumen_sdk::Result;
use flumen_sdk::testing::{Harness, setup};
use serde_json::{Value, json};

use crate::folder::Folder;

#[test]
fn tasks_divide_the_files() {
    let folder = Folder::new();
    for file in 0..20 {
        folder.write(&format!("{file}.log"), format!("{file}\n"));
    }
    let mut all = Vec::new();
    for task in 0..3 {
        let mut setup = setup(&[], &["out"]);
        (setup.task, setup.tasks, setup.finish) = (task, 3, true);
        let config = json!({ "paths": [folder.path("*.log")] }).to_string();
        let mut source = Harness::<FileSource>::with_setup(&config, &setup).unwrap();
        source.open(None).unwrap();
        all.extend(
            source.drain(1000).unwrap().records.iter().map(|record| record.text().parse::<u32>().unwrap()),
        );
    }
    all.sort();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    let refused = |config: Value| -> String {
        let made: Result<Harness<FileSource>> = Harness::new(&config.to_string());
        made.map(drop).unwrap_err().reason().to_owned()
    };
    assert!(refused(json!({"paths": ["a"], "key": "x"})).contains("lines"));
    assert!(refused(json!({"paths": ["a"], "columns": ["x"]})).contains("csv"));
    assert!(refused(json!({"paths": ["a"], "format": "csv", "delimiter": "ab"})).contains("delimiter"));
    assert!(refused(json!({"paths": ["a"], "format": "csv", "header": false})).contains("columns"));
    assert!(refused(json!({"paths": ["a"], "fromat": "csv"})).contains("fromat"));
}
