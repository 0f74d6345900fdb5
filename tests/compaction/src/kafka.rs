//! Apache Kafka's log and cleaner in one JVM (`KafkasCleaner.java`), told what to do line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flumen_harness::tools;

use crate::history::{History, Settings};

pub struct Kafka {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// What a round came to.
#[derive(Clone, Copy, Debug)]
pub enum Pass {
    /// Nothing was due.
    Idle,
    /// Clean up to `end` now.
    Cleaned { from: i64, end: i64 },
}

impl Kafka {
    pub fn start() -> Kafka {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/KafkasCleaner.java");
        let mut java = Command::new("java");
        java.args(["-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]);
        java.arg(tools::kafka_class_path()).arg(program);
        let mut process = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("java starts");
        let input = process.stdin.take().expect("piped");
        let output = BufReader::new(process.stdout.take().expect("piped"));
        Kafka { process, input, output }
    }

    fn ask(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").expect("Kafka's cleaner runs");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("an answer");
        assert!(!answer.starts_with("failed") && !answer.is_empty(), "{line}: {answer}");
        answer.trim().into()
    }

    pub fn open(&mut self, dir: &Path, history: &History) {
        let Settings { topic, producer_expiration_ms, buffer_bytes, .. } = &history.settings;
        let topic: String = topic.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        let dir = dir.display();
        self.ask(&format!("open {} {dir} {producer_expiration_ms} {buffer_bytes}{topic}", history.began));
    }

    pub fn append(&mut self, now: i64, batch: &[u8]) {
        self.ask(&format!("append {now} {}", STANDARD.encode(batch)));
    }

    /// A round of what one of its cleaner threads does.
    pub fn clean(&mut self, now: i64) -> Pass {
        let said = self.ask(&format!("clean {now}"));
        let mut words = said.split(' ');
        match words.next() {
            Some("idle") => Pass::Idle,
            _ => {
                let mut offset = || words.next().and_then(|word| word.parse().ok()).expect("an offset");
                Pass::Cleaned { from: offset(), end: offset() }
            }
        }
    }

    pub fn trim(&mut self, now: i64, to: i64) {
        self.ask(&format!("trim {now} {to}"));
    }

    pub fn restart(&mut self, now: i64) {
        self.ask(&format!("restart {now}"));
    }

    pub fn crash(&mut self, now: i64) {
        self.ask(&format!("crash {now}"));
    }

    pub fn close(&mut self, now: i64) {
        self.ask(&format!("close {now}"));
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // It is told nothing more; if it is gone already, all the better.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
