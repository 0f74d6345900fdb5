//! A PostgreSQL server of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{port, wait};

pub struct Postgres {
    server: Option<Process>,
    port: u16,
    dir: TempDir,
}

impl Postgres {
    pub fn start() -> Postgres {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777))
            .expect("open to the server's user");
        let mut init = as_server_user(&binary("initdb"));
        init.args(["--username=flumen", "--auth=trust", "--no-sync", "--pgdata"])
            .arg(dir.path().join("data"));
        process::run("initdb", &mut init);
        let mut postgres = Postgres { dir, port: port::free(), server: None };
        postgres.up();
        postgres
    }

    /// Starts the server over its folder and waits until it answers.
    pub fn up(&mut self) {
        let mut command = as_server_user(&binary("postgres"));
        command.arg("-D").arg(self.dir.path().join("data"));
        command.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        command.arg("-c").arg(format!("unix_socket_directories={}", self.dir.path().display()));
        self.server = Some(Process::start("postgres", command, &self.dir.path().join("server.log")));
        wait::until("PostgreSQL to answer", || self.query("select 1").map(drop));
    }

    /// Stops it at once, as a failing machine would.
    pub fn down(&mut self) {
        if let Some(mut server) = self.server.take() {
            // The postmaster's children go with SIGQUIT, not with SIGKILL.
            server.signal("QUIT");
            server.wait_within(wait::PATIENCE);
        }
    }

    pub fn url(&self) -> String {
        format!("postgres://flumen@127.0.0.1:{}/postgres", self.port)
    }

    /// Rows as psql prints them unaligned: fields parted by `|`.
    pub fn query(&self, sql: &str) -> Result<Vec<String>, String> {
        let output = Command::new(binary("psql"))
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url()])
            .output()
            .map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.down();
        }
    }
}

/// Debian keeps the server's programs off the PATH.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|v| v.path().join("bin").join(name)).filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| Path::new(name).into())
}

/// PostgreSQL refuses to run as root.
fn as_server_user(program: &Path) -> Command {
    let root = process::stdout("id -u", Command::new("id").arg("-u")).trim() == "0";
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command.current_dir("/");
    command
}
