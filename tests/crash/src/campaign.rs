//! Rounds: load, kill, start, check.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use flumen_client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::broker::Broker;
use crate::cluster::{Cluster, mix};
use crate::load::{Depth, Loads, Pace};
use crate::power::Aim;

pub struct Options {
    pub rounds: u32,
    pub seed: u64,
    /// A power cut instead of a kill.
    pub power: bool,
    /// librdkafka too.
    pub foreign: bool,
    /// So few partitions that the broker syncs each by itself, where it else syncs all at once.
    pub few: bool,
    /// Where the data folder is made; in memory for power cuts, else where temporary files are, if unset.
    pub dir: Option<PathBuf>,
}

/// What a campaign came to that found nothing.
#[derive(Debug)]
pub struct Summary {
    pub rounds: u32,
    pub kills: u32,
    /// Of loads, each acknowledged.
    pub steps: u64,
    /// How often a sabotaged broker left out what it should.
    pub left_out: usize,
    tally: String,
    took: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { rounds, kills, tally, took, .. } = self;
        write!(f, "{rounds} rounds, {kills} kills in {:.0} s, nothing lost: {tally}", took.as_secs_f64())?;
        if self.left_out > 0 { write!(f, "; {} safeguards left out", self.left_out) } else { Ok(()) }
    }
}

/// Runs a campaign; an error is a finding.
pub fn run(options: &Options) -> Result<Summary> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let dir = tempfile::Builder::new().prefix("flumen-crash-").tempdir_in(place(options))?;
    let mut campaign = Campaign {
        broker: Broker::prepare(dir.path(), options.power)?,
        rng: StdRng::seed_from_u64(options.seed),
        round: 0,
        kills: 0,
        last_cut: String::new(),
    };
    // The loads take turns on this thread; what their clients do in the background runs on the others.
    let result = tokio::task::LocalSet::new().block_on(&runtime, campaign.run(options));
    // Before the folder is looked at, or goes.
    campaign.broker.kill()?;
    result.with_context(|| {
        let Campaign { round, last_cut, .. } = &campaign;
        let (again, kept) = (arguments(options), dir.keep());
        format!(
            "seed {}, round {round}; again: tests/crash/run {again}; {last_cut}data kept in {}",
            options.seed,
            kept.display()
        )
    })
}

/// What `tests/crash/run` is told for a campaign like this one.
fn arguments(options: &Options) -> String {
    let Options { rounds, seed, power, foreign, few, .. } = options;
    let flags = [(power, " --power"), (foreign, " --foreign"), (few, " --few")];
    let flags: String = flags.iter().filter(|(wanted, _)| **wanted).map(|(_, flag)| *flag).collect();
    format!("--seed {seed} --rounds {rounds}{flags}")
}

/// A power cut rewrites the whole folder, and needs no real device below its own.
fn place(options: &Options) -> PathBuf {
    let memory = Path::new("/dev/shm");
    match &options.dir {
        Some(dir) => dir.clone(),
        None if options.power && memory.is_dir() => memory.into(),
        None => std::env::temp_dir(),
    }
}

struct Campaign {
    broker: Broker,
    rng: StdRng,
    round: u32,
    kills: u32,
    /// What the last power cut took.
    last_cut: String,
}

impl Campaign {
    async fn run(&mut self, options: &Options) -> Result<Summary> {
        let began = Instant::now();
        self.broker.up().await?;
        let cluster = Arc::new(Cluster::new(self.broker.bootstrap(), options.seed));
        let mut loads = Loads::start(&cluster, options.foreign, options.few).await?;
        let client = cluster.client().await;
        for round in 1..=options.rounds {
            self.round = round;
            self.load().await;
            self.broker.must_live()?;
            self.kill(options)?;
            self.start(options).await?;
            self.check(&cluster, &client, &mut loads).await?;
            if round.is_multiple_of(20) {
                println!("round {round}: {:.0} s; {}", began.elapsed().as_secs_f64(), loads.tally());
            }
        }
        self.finish(&cluster, &client, &mut loads).await?;
        let (steps, tally, left_out) = (cluster.steps(), loads.tally(), self.broker.left_out());
        loads.end(&client).await?;
        Ok(Summary {
            rounds: options.rounds,
            kills: self.kills,
            steps,
            left_out,
            tally,
            took: began.elapsed(),
        })
    }

    /// A moment of load, mostly short.
    async fn load(&mut self) {
        let most = if self.rng.random_ratio(1, 4) { 900 } else { 300 };
        let aim = match self.rng.random_range(0..4) {
            0 => Aim::Nothing,
            1 => Aim::Any(self.rng.random_range(0..150)),
            _ => Aim::Names(self.rng.random_range(0..16)),
        };
        self.broker.aim(aim);
        let span = Duration::from_millis(self.rng.random_range(5..most));
        self.pass(span).await;
    }

    /// So long, or until the broker waits for a sync that is not answered.
    async fn pass(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end && !self.broker.hangs() {
            tokio::time::sleep(Duration::from_millis(2).min(span)).await;
        }
        self.broker.spare();
    }

    /// SIGKILL; now and then it is stopped cleanly, behind which a power cut must do no harm either.
    fn kill(&mut self, options: &Options) -> Result<()> {
        if self.rng.random_ratio(1, 8) && !self.broker.hangs() {
            self.broker.stop()?;
        } else {
            self.broker.kill()?;
        }
        self.cut(options)
    }

    fn cut(&mut self, options: &Options) -> Result<()> {
        self.kills += 1;
        let cut = self.broker.cut_power(mix(options.seed ^ mix(u64::from(self.kills))))?;
        self.last_cut = if cut.is_empty() { cut } else { format!("the last power cut: {cut}; ") };
        Ok(())
    }

    /// Starts it; one time in four it is killed while it starts, perhaps twice.
    async fn start(&mut self, options: &Options) -> Result<()> {
        while self.rng.random_ratio(1, 4) {
            let aim = match self.rng.random_range(0..3) {
                0 => Aim::Nothing,
                1 => Aim::Names(self.rng.random_range(0..12)),
                _ => Aim::Any(self.rng.random_range(0..40)),
            };
            self.broker.launch(aim)?;
            let span = Duration::from_millis(self.rng.random_range(5..250));
            self.pass(span).await;
            self.broker.must_live()?;
            self.broker.kill()?;
            self.cut(options)?;
        }
        self.broker.up().await
    }

    async fn check(&mut self, cluster: &Cluster, client: &Client, loads: &mut Loads) -> Result<()> {
        cluster.must_be_well()?;
        self.broker.nothing_is_put_aside()?;
        let depth = if self.round.is_multiple_of(10) { Depth::All } else { Depth::News };
        loads.check(client, Pace::Running, depth).await?;
        if self.round.is_multiple_of(5) {
            let _rest = cluster.rest().await?;
            cluster.must_be_well()?;
            loads.check(client, Pace::Rest, depth).await?;
        }
        cluster.must_be_well()
    }

    /// Everything once more, and once more after a clean stop.
    async fn finish(&mut self, cluster: &Cluster, client: &Client, loads: &mut Loads) -> Result<()> {
        let _rest = cluster.rest().await?;
        cluster.must_be_well()?;
        loads.check(client, Pace::Rest, Depth::All).await?;
        self.broker.stop()?;
        self.broker.up().await?;
        loads.check(client, Pace::Rest, Depth::All).await
    }
}
