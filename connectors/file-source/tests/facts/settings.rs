//! What is refused before anything is read.

use file_source::FileSource;
use flumen_sdk::testing::{Harness, setup};
use flumen_sdk::{Error, Result};
use serde_json::{Value, json};

#[test]
fn more_than_one_task_is_refused() {
    let mut setup = setup(&[], &["out"]);
    (setup.task, setup.tasks) = (1, 3);
    let made = Harness::<FileSource>::with_setup(r#"{"paths": ["*.log"]}"#, &setup);
    assert!(matches!(made.map(drop), Err(Error::Fatal(reason)) if reason.contains("tasks = 1")));
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
