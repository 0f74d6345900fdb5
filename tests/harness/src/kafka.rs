//! Apache Kafka itself, one node, as the reference and the peer.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{clients, port, tools, wait};

pub struct Kafka {
    process: Option<Process>,
    port: u16,
    data: PathBuf,
    /// With its settings and its log, for as long as it runs.
    #[expect(dead_code, reason = "held, not read")]
    dir: TempDir,
}

/// `server.properties` in a folder, with lines of `extra` at its end, and the port that it names.
fn properties(dir: &Path, data: &Path, extra: &str) -> (PathBuf, u16) {
    let (port, controller) = (port::free(), port::free());
    let file = dir.join("server.properties");
    let properties = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
         log.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nshare.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=100\n{extra}",
        data.display()
    );
    std::fs::write(&file, properties).expect("the properties are written");
    (file, port)
}

/// Which Apache Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The reference, and the tools that tests use.
    V4_3,
    V3_9,
}

impl Release {
    fn class_path(self) -> String {
        match self {
            Release::V4_3 => tools::kafka_class_path(),
            Release::V3_9 => tools::kafka_3_9_class_path(),
        }
    }
}

fn launch(release: Release, dir: &Path, properties: &str, port: u16) -> Process {
    let mut command = Command::new("java");
    command.args([
        "-Xmx1g",
        "-Xms1g",
        "-XX:+UseG1GC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
    ]);
    command.arg(release.class_path()).args(["kafka.Kafka", properties]);
    let mut process = Process::start("Apache Kafka", command, &dir.join("server.log"));
    wait::until("Apache Kafka to listen", || {
        if let Some(status) = process.exited() {
            panic!("Apache Kafka exited with {status}:\n{}", process.tail());
        }
        TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|e| e.to_string())
    });
    process
}

impl Kafka {
    /// A fresh node in a temporary folder below `parent`, listening.
    pub fn start(parent: &Path) -> Kafka {
        Kafka::start_with(parent, "")
    }

    /// The same with more lines of `server.properties`; the last line of a key counts.
    pub fn start_with(parent: &Path, extra: &str) -> Kafka {
        Kafka::start_release(Release::V4_3, parent, extra)
    }

    /// The same of another release.
    pub fn start_release(release: Release, parent: &Path, extra: &str) -> Kafka {
        let dir = tempfile::tempdir_in(parent).expect("a temporary folder");
        let data = dir.path().join("data");
        let (file, port) = properties(dir.path(), &data, extra);
        let path = file.display().to_string();
        let storage = |args: &[&str]| clients::jvm(&release.class_path(), "kafka.tools.StorageTool", args);
        let id = process::stdout("a cluster id", &mut storage(&["random-uuid"]));
        let format = ["format", "-t", id.trim(), "-c", &path];
        process::run("formatting", &mut storage(&format));
        let process = launch(release, dir.path(), &path, port);
        Kafka { dir, data, port, process: Some(process) }
    }

    /// A node on a data directory that is there, as it is.
    pub fn start_on(data: &Path) -> Kafka {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (file, port) = properties(dir.path(), data, "");
        let process = launch(Release::V4_3, dir.path(), &file.display().to_string(), port);
        Kafka { dir, data: data.into(), port, process: Some(process) }
    }

    /// SIGTERM, and the end of it.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        process.wait_within(Duration::from_secs(120));
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs until it is dropped").id()
    }

    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }
}
