//! Where the things that tests/setup and plugins/build made are.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("tests/harness lies two below the root")
        .into()
}

/// The folder that cargo builds into, found from the running program's own place in it:
/// target/<profile>/deps/<test>, or target/<profile>/<program>. No mark of cargo's is looked for: it
/// leaves none in a folder that tests/setup has made before it.
pub fn target() -> PathBuf {
    let running = std::env::current_exe().expect("a running program has a path");
    let folder = running.parent().expect("a program lies in a folder");
    let profile = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    profile.parent().unwrap_or(profile).into()
}

fn must_exist(path: PathBuf, made_by: &str) -> PathBuf {
    assert!(path.exists(), "{} is missing; run {made_by} first (tests/run does it all)", path.display());
    path
}

/// The broker: `FLUMEN_BIN`, or the one built beside the test.
pub fn flumen() -> PathBuf {
    if let Some(named) = std::env::var_os("FLUMEN_BIN") {
        return must_exist(named.into(), "cargo build -p flumen");
    }
    let running = std::env::current_exe().expect("a running program has a path");
    // target/<profile>/deps/<test>, or target/<profile>/<program>.
    let beside = running.ancestors().skip(1).take(2).map(|folder| folder.join("flumen"));
    let found = beside.clone().find(|path| path.exists());
    must_exist(found.or_else(|| beside.last()).unwrap_or_default(), "cargo build -p flumen")
}

/// The broker over a folder's flumen.toml, ready to run.
pub fn broker(folder: &Path) -> Command {
    let mut command = Command::new(flumen());
    command.args(["run", "--config", "flumen.toml"]).current_dir(folder);
    command.env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into()));
    command
}

/// A guest by name, as plugins/build leaves it.
pub fn guest(name: &str) -> PathBuf {
    must_exist(root().join("target/guests/flumen").join(format!("{name}.wasm")), "plugins/build")
}

fn env_dir() -> PathBuf {
    std::env::var_os("FLUMEN_TEST_ENV").map_or_else(|| root().join("target/test-env"), PathBuf::from)
}

/// The Python that has the Kafka clients.
pub fn python() -> PathBuf {
    must_exist(env_dir().join("venv/bin/python"), "tests/setup")
}

/// The class path of Apache Kafka's tools and broker.
pub fn kafka_class_path() -> String {
    class_path("kafka")
}

/// The same of the last release before 4.0.
pub fn kafka_3_9_class_path() -> String {
    class_path("kafka-3.9")
}

fn class_path(release: &str) -> String {
    format!("{}/*", must_exist(env_dir().join(release).join("lib"), "tests/setup").display())
}

/// The release of Apache Kafka that is the reference.
pub const KAFKA: &str = "4.3.1";

/// The class path of the programs of tests/e2e/clients/java, built against a release.
pub fn java_class_path(release: &str) -> String {
    let classes = must_exist(env_dir().join("java").join(release), "tests/setup");
    let old = env_dir().join(format!("kafka-clients-{release}/lib/*"));
    let jars = if release == KAFKA { kafka_class_path() } else { old.display().to_string() };
    format!("{}:{jars}", classes.display())
}

/// A program of tests/e2e/clients as it lies there.
pub fn client_source(path: &str) -> PathBuf {
    root().join("tests/e2e/clients").join(path)
}

/// A program that tests/setup has built or fetched, by its place in the test environment.
pub fn from_setup(path: &str) -> PathBuf {
    must_exist(env_dir().join(path), "tests/setup")
}
