//! The broker's process over a data folder that outlives it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flumen_harness::process::Process;
use flumen_harness::{port, tools};
use tokio::net::TcpStream;

use crate::power::{Aim, Device, Watch};

/// Everything that happens by time happens often: rolls, retention, compaction, checkpoints.
const CONFIG: &str = r#"
group.initial.rebalance.delay.ms = 0
log.retention.check.interval.ms = 50
log.cleaner.backoff.ms = 50
log.flush.offset.checkpoint.interval.ms = 300
log.segment.delete.delay.ms = 100
offsets.topic.num.partitions = 2
transaction.state.log.num.partitions = 2
"#;

const START: Duration = Duration::from_secs(60);

pub(crate) struct Broker {
    dir: PathBuf,
    port: u16,
    process: Option<Process>,
    device: Option<Arc<Mutex<Device>>>,
    watch: Option<Watch>,
}

impl Broker {
    /// In a folder that is there and empty; with `power` its data folder is a device that can lose.
    pub(crate) fn prepare(dir: &Path, power: bool) -> Result<Broker> {
        let port = port::free();
        let cache = tools::target().join("plugin-cache");
        let config = format!(
            "[broker]\ndata.dir = \"data\"\nlisteners = [\"PLAINTEXT://127.0.0.1:{port}\"]\nhttp = \"\"\n\
             plugin.cache.dir = \"{}\"\n{CONFIG}",
            cache.display()
        );
        std::fs::write(dir.join("flumen.toml"), config)?;
        std::fs::create_dir(dir.join("data"))?;
        let device = if power { Some(Arc::new(Mutex::new(Device::new(&dir.join("data"))?))) } else { None };
        Ok(Broker { dir: dir.into(), port, process: None, device, watch: None })
    }

    pub(crate) fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// With a device that can lose, the sync to wait for an end at is `aim`.
    pub(crate) fn launch(&mut self, aim: Aim) -> Result<()> {
        let mut command = tools::broker(&self.dir);
        let listener = self.device.as_ref().map(|_| Watch::install(&mut command)).transpose()?;
        let process = Process::start("flumen", command, &self.dir.join("flumen.log"));
        self.process = Some(process);
        if let (Some(listener), Some(device)) = (listener, &self.device) {
            self.watch = Some(Watch::begin(listener, device.clone(), aim)?);
        }
        Ok(())
    }

    /// Starts it and waits until it takes connections.
    pub(crate) async fn up(&mut self) -> Result<()> {
        self.launch(Aim::Nothing)?;
        let deadline = Instant::now() + START;
        while let Err(error) = TcpStream::connect(("127.0.0.1", self.port)).await {
            self.must_live()?;
            if Instant::now() > deadline {
                bail!("expected the broker to listen within {START:?}, found: {error}\n{}", self.tail());
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        Ok(())
    }

    /// It waits for a sync that is not answered.
    pub(crate) fn hangs(&self) -> bool {
        self.watch.as_ref().is_some_and(Watch::has_hit)
    }

    /// Which sync is not to be answered.
    pub(crate) fn aim(&self, aim: Aim) {
        if let Some(watch) = &self.watch {
            watch.take_aim(aim);
        }
    }

    /// From now on every sync is answered, unless one is not already.
    pub(crate) fn spare(&self) {
        if let Some(watch) = &self.watch {
            watch.give_up();
        }
    }

    pub(crate) fn must_live(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.exited() {
            Some(status) => {
                bail!("expected the broker to run, found: it exited with {status}\n{}", self.tail())
            }
            None => Ok(()),
        }
    }

    /// A folder that no topic owns is put aside and never removed. What a creation left that a kill cut
    /// short may be; a deleted topic's records may not, or they would fill the disk for good.
    pub(crate) fn nothing_is_put_aside(&self) -> Result<()> {
        for folder in std::fs::read_dir(self.dir.join("data"))? {
            let folder = folder?.path();
            if !folder.to_string_lossy().ends_with("-stray") {
                continue;
            }
            for file in std::fs::read_dir(&folder)? {
                let file = file?;
                let bytes = file.metadata()?.len();
                if bytes > 0 && file.path().extension().is_some_and(|extension| extension == "log") {
                    bail!(
                        "expected no records to be put aside, found {bytes} bytes in {}",
                        file.path().display()
                    );
                }
            }
        }
        Ok(())
    }

    /// How often a sabotaged broker has left out its safeguard (`flumen_types::safeguard`).
    pub(crate) fn left_out(&self) -> usize {
        let log = std::fs::read(self.dir.join("flumen.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).matches("sabotage: ").count()
    }

    fn tail(&self) -> String {
        self.process.as_ref().map(Process::tail).unwrap_or_default()
    }

    /// SIGKILL, and nothing of it is left when this returns.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        self.watch.take().map_or(Ok(()), Watch::end)
    }

    /// After a kill: the data folder becomes what the device would have after a power cut, drawn by
    /// `seed`. Says what was lost.
    pub(crate) fn cut_power(&mut self, seed: u64) -> Result<String> {
        let Some(device) = &self.device else { return Ok(String::new()) };
        let mut device = device.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        device.crash(seed).context("making the data folder what a power cut leaves of it")
    }

    /// SIGTERM; it must end well.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        process.signal("TERM");
        let Some(status) = process.exits_within(START) else {
            bail!(
                "expected a clean stop within {START:?}, found the broker still to run\n{}",
                process.tail()
            );
        };
        if !status.success() {
            bail!("expected a clean stop, found: {status}\n{}", process.tail());
        }
        self.watch.take().map_or(Ok(()), Watch::end)
    }
}
