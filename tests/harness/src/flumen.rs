//! A broker as a user runs it: the real binary over a temporary folder.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{port, tools, wait};

pub struct Flumen {
    /// Before the folder: when a test fails, its log is still there to be shown.
    process: Option<Process>,
    port: u16,
    http: u16,
    dir: TempDir,
}

impl Flumen {
    /// A folder with `flumen.toml` in it and nothing running yet. The text is the file after its
    /// `[broker]` table, which the harness writes; `{dir}` in it stands for the folder.
    pub fn prepare(pipelines: &str) -> Flumen {
        Flumen::prepare_with("", pipelines)
    }

    /// `prepare` with further lines of the `[broker]` table.
    pub fn prepare_with(broker: &str, pipelines: &str) -> Flumen {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let flumen = Flumen { process: None, port: port::free(), http: port::free(), dir };
        flumen.write_config_with(broker, pipelines);
        flumen
    }

    pub fn start(pipelines: &str) -> Flumen {
        let mut flumen = Flumen::prepare(pipelines);
        flumen.up();
        flumen
    }

    pub fn write_config(&self, pipelines: &str) {
        self.write_config_with("", pipelines);
    }

    /// Replaces flumen.toml as an editor does: a new file renamed over the old one.
    pub fn write_config_with(&self, broker: &str, pipelines: &str) {
        let text = format!(
            "[broker]\ndata.dir = \"data\"\nlisteners = [\"PLAINTEXT://127.0.0.1:{}\"]\nhttp = \"127.0.0.1:{}\"\n\
             group.initial.rebalance.delay.ms = 100\n\
             plugin.cache.dir = \"{}\"\n{broker}\n{}",
            self.port,
            self.http,
            // Compiled once for all tests: a debug build takes seconds over a guest.
            tools::target().join("plugin-cache").display(),
            pipelines.replace("{dir}", &self.dir.path().display().to_string())
        );
        let fresh = self.path("flumen.toml.new");
        std::fs::write(&fresh, text).expect("the configuration is written");
        std::fs::rename(fresh, self.config()).expect("the configuration is put in place");
    }

    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(relative)
    }

    pub fn config(&self) -> PathBuf {
        self.path("flumen.toml")
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn http_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http)
    }

    /// `flumen <args>` in the folder, ready to run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(tools::flumen());
        command.args(args).current_dir(self.dir.path()).env("FLUMEN_BOOTSTRAP", self.bootstrap());
        command
    }

    /// `flumen <args>` run to its end; it must succeed.
    pub fn cli(&self, args: &[&str]) -> String {
        process::stdout(&format!("flumen {}", args.join(" ")), &mut self.command(args))
    }

    /// Starts the broker and waits until it takes connections.
    pub fn up(&mut self) {
        self.launch();
        let port = self.port;
        let process = self.process.as_mut().expect("just launched");
        wait::until("the broker to listen", || {
            if let Some(status) = process.exited() {
                panic!("flumen exited with {status} instead of listening:\n{}", process.tail());
            }
            TcpStream::connect(("127.0.0.1", port)).map(drop).map_err(|e| e.to_string())
        });
    }

    /// Starts the broker without waiting for anything.
    pub fn launch(&mut self) {
        let command = tools::broker(self.dir.path());
        self.process = Some(Process::start("flumen", command, &self.path("flumen.log")));
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the broker was started")
    }

    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("flumen.log")).unwrap_or_default()).into_owned()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// SIGTERM, and the exit code it came to.
    pub fn stop(&mut self) -> Option<i32> {
        let process = self.process();
        process.signal("TERM");
        let status = process.wait_within(Duration::from_secs(60));
        self.process = None;
        status.code()
    }

    /// What `/v1/status` says, or why it does not.
    pub fn status(&self) -> Result<serde_json::Value, String> {
        ureq::get(&self.http_url("/v1/status"))
            .call()
            .map_err(|e| e.to_string())?
            .body_mut()
            .read_json()
            .map_err(|e| e.to_string())
    }

    pub fn metrics(&self) -> Result<String, String> {
        let answer = ureq::get(&self.http_url("/metrics")).call().map_err(|e| e.to_string())?;
        answer.into_body().read_to_string().map_err(|e| e.to_string())
    }

    /// One plugin's entry in the status.
    pub fn plugin(&self, name: &str) -> Result<serde_json::Value, String> {
        let status = self.status()?;
        let plugins = status["plugins"].as_array().cloned().unwrap_or_default();
        plugins.into_iter().find(|p| p["name"] == name).ok_or_else(|| format!("no plugin {name} in {status}"))
    }
}
