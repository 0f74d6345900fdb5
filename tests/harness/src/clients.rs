//! The Kafka clients that people already use, run as they are.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::tools;

/// Runs a Python script with the Kafka clients at hand; what it prints is the answer.
pub fn python(what: &str, script: &str, args: &[&str]) -> String {
    crate::process::stdout(what, Command::new(tools::python()).arg("-c").arg(script).args(args))
}

/// A Python script to be started, killed, watched by the test.
pub fn python_command(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new(tools::python());
    command.arg("-u").arg("-c").arg(script).args(args);
    command
}

/// One of Apache Kafka's Java tools by its class, or a program of one file, by its path.
pub fn java(class: &str, args: &[&str]) -> Command {
    jvm(&tools::kafka_class_path(), class, args)
}

/// A Java program of tests/e2e/clients/java over this release of Apache Kafka's client.
pub fn java_client(release: &str, class: &str, args: &[&str]) -> Command {
    jvm(&tools::java_class_path(release), class, args)
}

pub(crate) fn jvm(class_path: &str, class: &str, args: &[&str]) -> Command {
    let mut command = Command::new("java");
    command.args([
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
    ]);
    command.arg(class_path).arg(class).args(args);
    command
}

/// A JavaScript program of tests/e2e/clients/js.
pub fn node(script: &str, args: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.env("NODE_PATH", tools::from_setup("node/node_modules"));
    command.arg(tools::client_source("js").join(script)).args(args);
    command
}

/// A Go program of tests/e2e/clients/go, as tests/setup has built it.
pub fn go(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(tools::from_setup("go").join(program));
    command.args(args);
    command
}

/// The Rust program of tests/e2e/clients/rust, as tests/setup has built it.
pub fn rdkafka(args: &[&str]) -> Command {
    let mut command = Command::new(tools::from_setup("rust/debug/rdkafka-client"));
    command.args(args);
    command
}

pub fn kcat(args: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    command.args(args);
    command
}

/// Runs `command` with `input` on its standard input; it must succeed.
pub fn feed(what: &str, command: &mut Command, input: &[u8]) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("{what}: cannot start {command:?}: {e}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("the child's output");
    writer.join().expect("the writer").ok();
    assert!(
        output.status.success(),
        "{what} failed with {}:\nstdout:\n{}\nstderr:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
