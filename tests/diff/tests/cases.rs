//! Plays every case, and compares with what Apache Kafka answers. README.md says how it is asked.
//!
//! `RECORD=1` asks Kafka and writes its answers beside the cases. `LIVE=1` asks it and says what it
//! answers otherwise than when it was recorded. Else the recordings are Kafka's word.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, bail};
use flumen_diff::brokers::{self, Access, Flumen};
use flumen_diff::catalog::Catalog;
use flumen_diff::compare::{Difference, compare};
use flumen_diff::known::Known;
use flumen_diff::play::play;
use flumen_diff::script::Script;
use flumen_diff::transcript::Transcript;
use flumen_harness::Kafka;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let suite = Suite::new(arguments.list).unwrap_or_else(|error| panic!("{error:#}"));
    let suite = Arc::new(suite);
    let trials = files("case").into_iter().map(|path| {
        let suite = suite.clone();
        let name = name(&path);
        Trial::test(name.clone(), move || suite.run(&name, &path).map_err(|e| Failed::from(format!("{e:#}"))))
    });
    let whole = arguments.filter.is_none() && arguments.skip.is_empty() && !arguments.list;
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let ended = suite.end(whole);
    drop(suite);
    if let Err(error) = ended {
        eprintln!("{error:#}");
        std::process::exit(101);
    }
    conclusion.exit();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// `area/name`
fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).with_extension("").display().to_string()
}

/// Those of all areas, by the ending of their names.
fn files(ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for area in std::fs::read_dir(root()).expect("tests/diff/cases").flatten() {
        let files = std::fs::read_dir(area.path()).into_iter().flatten().flatten().map(|file| file.path());
        found.extend(files.filter(|path| path.extension().is_some_and(|own| own == ending)));
    }
    found.sort();
    found
}

/// Whose word Kafka's is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Recorded,
    Live,
    Record,
}

/// The cases of this area are played where rules hold.
const GUARDED: &str = "acls/";

struct Suite {
    mode: Mode,
    catalog: Catalog,
    known: Known,
    open: OnceLock<Result<Brokers, String>>,
    guarded: OnceLock<Result<Brokers, String>>,
}

/// The two that are asked the same; Kafka if it is asked.
struct Brokers {
    flumen: Flumen,
    kafka: Option<(Kafka, SocketAddr)>,
}

impl Brokers {
    fn start(access: Access, mode: Mode, catalog: &Catalog) -> Result<Brokers> {
        let kafka = (mode != Mode::Recorded).then(|| brokers::start_kafka(access)).transpose()?;
        let started = Brokers { flumen: Flumen::start(access)?, kafka };
        started.warm_up(catalog)?;
        Ok(started)
    }

    /// Has each broker make its internal topics, so that no case finds coordinators that are loading.
    fn warm_up(&self, catalog: &Catalog) -> Result<()> {
        let path = root().join("../warm-up.case");
        let script = Script::parse(&std::fs::read_to_string(path)?)?;
        for broker in self.kafka.iter().map(|(_, at)| *at).chain([self.flumen.address]) {
            play("warm-up", &script, broker, catalog)?;
        }
        Ok(())
    }
}

impl Suite {
    fn new(only_list: bool) -> Result<Suite> {
        let set = |name| std::env::var_os(name).is_some_and(|value| value == "1");
        let mode = match (set("RECORD"), set("LIVE")) {
            (true, _) => Mode::Record,
            (_, true) => Mode::Live,
            _ => Mode::Recorded,
        };
        let live = mode != Mode::Recorded && !only_list;
        Ok(Suite {
            mode,
            catalog: match live {
                true => Catalog::of_jar(&brokers::clients_jar())?,
                false => Catalog::copied()?,
            },
            known: Known::read()?,
            open: OnceLock::new(),
            guarded: OnceLock::new(),
        })
    }

    /// Those that a case is for, started with its first one.
    fn brokers(&self, case: &str) -> Result<&Brokers> {
        let (slot, access) = match case.starts_with(GUARDED) {
            true => (&self.guarded, Access::Guarded),
            false => (&self.open, Access::Open),
        };
        let started = slot.get_or_init(|| {
            Brokers::start(access, self.mode, &self.catalog).map_err(|error| format!("{error:#}"))
        });
        started.as_ref().map_err(|error| anyhow!("{error}"))
    }

    fn run(&self, name: &str, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path)?;
        let script = Script::parse(&text).with_context(|| path.display().to_string())?;
        let fingerprint = Script::fingerprint(&text);
        let recording = path.with_extension("expected");
        let brokers = self.brokers(name)?;
        let kafka = match &brokers.kafka {
            Some((_, broker)) => {
                let answers = play(name, &script, *broker, &self.catalog).context("Kafka")?;
                self.recorded(&answers, &recording, &fingerprint)?;
                answers
            }
            None => {
                let text =
                    std::fs::read_to_string(&recording).context("RECORD=1 records what Kafka answers")?;
                Transcript::read(&text, &fingerprint).context("RECORD=1 records what Kafka answers")?
            }
        };
        let flumen = play(name, &script, brokers.flumen.address, &self.catalog).context("Flumen")?;
        let found = compare(&kafka, &flumen);
        let unexplained: Vec<_> = found.into_iter().filter(|one| !self.known.explains(name, one)).collect();
        if !unexplained.is_empty() {
            bail!("{}{}", script.about, told(&unexplained));
        }
        Ok(())
    }

    fn recorded(&self, answers: &Transcript, recording: &Path, fingerprint: &str) -> Result<()> {
        if self.mode == Mode::Record {
            return Ok(std::fs::write(recording, answers.write(fingerprint))?);
        }
        let before =
            std::fs::read_to_string(recording).context("there is no recording; RECORD=1 makes it")?;
        let changed = compare(&Transcript::read(&before, fingerprint)?, answers);
        if !changed.is_empty() {
            bail!("Kafka (below as Flumen) does not answer as recorded:{}", told(&changed));
        }
        Ok(())
    }

    /// After all that was to be played; `whole` if nothing was left out.
    fn end(&self, whole: bool) -> Result<()> {
        if self.mode == Mode::Record {
            self.catalog.copy_used(whole)?;
        }
        let is_bare = |path: &PathBuf| !path.with_extension("case").exists();
        if let Some(path) = files("expected").into_iter().find(is_bare) {
            bail!("{} is the recording of a case that is gone", path.display());
        }
        let unseen = if whole { self.known.unseen() } else { Vec::new() };
        if !unseen.is_empty() {
            bail!(
                "known-differences.toml explains what is no difference any more:\n  {}",
                unseen.join("\n  ")
            );
        }
        Ok(())
    }
}

fn told(differences: &[Difference]) -> String {
    differences.iter().map(|one| format!("\n  {one}")).collect()
}
