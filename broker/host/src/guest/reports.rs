//! What a guest says over `logging`, `metrics` and `status`.

use super::state::State;
use crate::bindings::flumen::plugin::{logging, metrics, status, types};
use crate::route::shortened;
use crate::status::{Trouble, now_ms};

/// Different names of counters and gauges, each.
const METRICS_MAX: usize = 64;
const TROUBLES_MAX: usize = 64;
const NAME_MAX: usize = 256;

impl types::Host for State {}

impl logging::Host for State {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        self.lines.log(level, &message);
        Ok(())
    }
}

fn is_metric_name(name: &str) -> bool {
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

impl State {
    fn refuse_metric(&mut self, name: &str) {
        if !std::mem::replace(&mut self.refused_metric, true) {
            let name = &name[..name.floor_char_boundary(NAME_MAX)];
            let said = format!(
                "metric {name:?} is not kept: names are lower case, digits and underscores, and at most {METRICS_MAX}"
            );
            self.lines.log(logging::Level::Warn, &said);
        }
    }
}

impl metrics::Host for State {
    fn counter(&mut self, name: String, delta: u64) -> wasmtime::Result<()> {
        let mut kept = false;
        if is_metric_name(&name) {
            self.board.report(self.reporter, |reports| {
                let room = reports.counters.len() < METRICS_MAX || reports.counters.contains_key(&name);
                if room {
                    let count = reports.counters.entry(name.clone()).or_default();
                    *count = count.saturating_add(delta);
                    kept = true;
                }
            });
        }
        if !kept {
            self.refuse_metric(&name);
        }
        Ok(())
    }

    fn gauge(&mut self, name: String, value: f64) -> wasmtime::Result<()> {
        let mut kept = false;
        if is_metric_name(&name) {
            self.board.report(self.reporter, |reports| {
                let room = reports.gauges.len() < METRICS_MAX || reports.gauges.contains_key(&name);
                if room {
                    reports.gauges.insert(name.clone(), value);
                    kept = true;
                }
            });
        }
        if !kept {
            self.refuse_metric(&name);
        }
        Ok(())
    }
}

impl status::Host for State {
    fn trouble(&mut self, key: String, reason: Option<String>) -> wasmtime::Result<()> {
        let key = key[..key.floor_char_boundary(NAME_MAX)].to_owned();
        self.board.report(self.reporter, |reports| match reason {
            None => {
                reports.troubles.remove(&key);
            }
            Some(reason) => {
                let room = reports.troubles.len() < TROUBLES_MAX;
                match reports.troubles.get_mut(&key) {
                    Some(known) => known.reason = shortened(reason),
                    None if room => {
                        let trouble = Trouble { reason: shortened(reason), since_ms: now_ms() };
                        reports.troubles.insert(key, trouble);
                    }
                    None => {}
                }
            }
        });
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64) -> wasmtime::Result<()> {
        self.board.report(self.reporter, |reports| reports.progress = Some((done.min(total), total)));
        Ok(())
    }
}
