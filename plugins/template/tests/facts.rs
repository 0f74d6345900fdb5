//! What a new folder holds, and that it does what it says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use flumen_template::{Kind, files};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn every_file_of_the_sdk_and_of_the_wit_is_carried() {
    let carried: BTreeSet<String> = files(Kind::Filter, "x")
        .unwrap()
        .into_iter()
        .filter_map(|(path, _)| Some(path.strip_prefix("flumen-sdk/")?.to_owned()))
        .collect();
    let names = |folder: &str, prefix: &str| {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        entries.map(|entry| format!("{prefix}/{}", entry.unwrap().file_name().display())).collect::<Vec<_>>()
    };
    let mut want: BTreeSet<String> = names("plugins/sdk/src", "src").into_iter().collect();
    want.extend(names("wit/flumen-plugin", "wit"));
    want.insert("Cargo.toml".to_owned());
    assert_eq!(carried, want, "plugins/template/src/sdk.rs lists them");
}

#[test]
fn the_carried_sdk_depends_on_what_ours_does() {
    let parse = |text: &str| text.parse::<toml::Table>().unwrap();
    let ours = parse(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap());
    let ours = &ours["workspace"]["dependencies"];
    let wants = parse(&std::fs::read_to_string(root().join("plugins/sdk/Cargo.toml")).unwrap());
    let made = files(Kind::Filter, "x").unwrap();
    let carried = parse(&made.iter().find(|(path, _)| path == "flumen-sdk/Cargo.toml").unwrap().1);
    let version = |dependency: &toml::Value| match dependency {
        toml::Value::String(version) => version.clone(),
        table => table["version"].as_str().unwrap().to_owned(),
    };
    let names = |table: &toml::Table| {
        table["dependencies"].as_table().unwrap().keys().cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&carried), names(&wants));
    for name in names(&carried) {
        assert_eq!(version(&carried["dependencies"][&name]), version(&ours[&name]), "{name}");
    }
}

#[test]
fn names_that_are_none_are_refused() {
    for name in ["", "Upper", "1st", "a b", "a_b", "-a", "a-", "a--b", "../a", "core", "fn", &"a".repeat(65)]
    {
        assert!(files(Kind::Sink, name).is_err(), "{name}");
    }
    assert!("gadget".parse::<Kind>().unwrap_err().to_string().contains("sql-sink"));
}

#[test]
fn nothing_is_left_to_fill_in() {
    for kind in Kind::ALL {
        for (path, content) in files(kind, "my-plugin").unwrap() {
            assert!(path.starts_with("flumen-sdk/") || !content.contains("{{"), "{kind:?} {path}");
        }
    }
}

/// Compiles five folders, and the SDK for each: a minute or two the first time.
#[test]
fn new_folders_pass_their_own_tests_and_build_for_wasm() {
    let folder = tempfile::tempdir().unwrap();
    let target = root().join("target/guests/new");
    for kind in Kind::ALL {
        let name = format!("my-{}", kind.name());
        let place = folder.path().join(&name);
        for (path, content) in files(kind, &name).unwrap() {
            let path = place.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        for arguments in
            [&["test", "--quiet", "--lib"][..], &["build", "--quiet", "--target", "wasm32-wasip2"]]
        {
            let run = Command::new(env!("CARGO"))
                .args(arguments)
                .current_dir(&place)
                .env("CARGO_TARGET_DIR", &target)
                .output()
                .unwrap();
            assert!(run.status.success(), "{kind:?} {arguments:?}\n{}", String::from_utf8_lossy(&run.stderr));
        }
        let made = target.join("wasm32-wasip2/debug").join(name.replace('-', "_") + ".wasm");
        let bytes = std::fs::read(&made).unwrap();
        // The layer in a component's version field; a core module has 1 there.
        assert_eq!(bytes[..8], *b"\0asm\x0d\0\x01\0", "{} is a component", made.display());
    }
}
