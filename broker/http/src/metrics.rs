//! A snapshot of metrics and its rendering as Prometheus text.
//!
//! Format 0.0.4: `# HELP name text`, `# TYPE name kind`, then `name{label="value"} number` lines, a
//! family together. Backslash and line feed are escaped in help and label values, the quote in label
//! values only.
//!
//! Invariant: no global registry. Who knows a number puts it into the snapshot when asked.

use std::fmt::Write;

/// Every metric at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub families: Vec<Family>,
}

/// The samples of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    pub name: String,
    pub help: String,
    pub kind: Kind,
    pub samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows; its name ends with `_total`.
    Counter,
    Gauge,
    /// Buckets, their sum, their count; see [`Family::histogram`].
    Histogram,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Behind the family's name: `_bucket`, `_sum` and `_count` of a histogram.
    pub suffix: &'static str,
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Snapshot {
    pub fn counter(&mut self, name: &str, help: &str) -> &mut Family {
        self.family(name, help, Kind::Counter)
    }

    pub fn gauge(&mut self, name: &str, help: &str) -> &mut Family {
        self.family(name, help, Kind::Gauge)
    }

    pub fn histogram(&mut self, name: &str, help: &str) -> &mut Family {
        self.family(name, help, Kind::Histogram)
    }

    fn family(&mut self, name: &str, help: &str, kind: Kind) -> &mut Family {
        let name = clean(name, true);
        let at = self.families.iter().position(|family| family.name == name).unwrap_or_else(|| {
            self.families.push(Family { name, help: help.to_string(), kind, samples: Vec::new() });
            self.families.len() - 1
        });
        &mut self.families[at]
    }

    /// The text that a Prometheus server scrapes.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            family.render(&mut text);
        }
        text
    }
}

impl Family {
    /// Adds a sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<f64>) -> &mut Family {
        self.part("", labels, value.into());
        self
    }

    /// Adds what was measured: how many were up to each bound, not added up, and one more for those beyond.
    pub fn histogram(&mut self, bounds: &[f64], counts: &[u64], sum: f64) -> &mut Family {
        let mut so_far = 0;
        let uppers = bounds.iter().copied().chain([f64::INFINITY]);
        for (upper, count) in uppers.zip(counts) {
            so_far += count;
            self.part("_bucket", &[("le", &number(upper))], so_far as f64);
        }
        self.part("_sum", &[], sum);
        self.part("_count", &[], so_far as f64);
        self
    }

    fn part(&mut self, suffix: &'static str, labels: &[(&str, &str)], value: f64) {
        let labels = labels.iter().map(|(name, value)| (clean(name, false), value.to_string())).collect();
        self.samples.push(Sample { suffix, labels, value });
    }

    fn render(&self, text: &mut String) {
        let kind = match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let help = escape(&self.help, false);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {} {help}\n# TYPE {} {kind}", self.name, self.name);
        for sample in &self.samples {
            text.push_str(&self.name);
            text.push_str(sample.suffix);
            for (at, (name, value)) in sample.labels.iter().enumerate() {
                let _ = write!(text, "{}{name}=\"{}\"", if at == 0 { '{' } else { ',' }, escape(value, true));
            }
            if !sample.labels.is_empty() {
                text.push('}');
            }
            let _ = writeln!(text, " {}", number(sample.value));
        }
    }
}

/// Prometheus spells the infinities its own way.
fn number(value: f64) -> String {
    match value {
        v if v == f64::INFINITY => "+Inf".into(),
        v if v == f64::NEG_INFINITY => "-Inf".into(),
        v => v.to_string(),
    }
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

/// Names may come from a plugin: what the format does not allow becomes an underscore.
fn clean(name: &str, colon: bool) -> String {
    let fits = |at: usize, c: char| match c {
        '0'..='9' => at > 0,
        ':' => colon,
        c => c.is_ascii_alphabetic() || c == '_',
    };
    let cleaned: String = name.chars().enumerate().map(|(at, c)| if fits(at, c) { c } else { '_' }).collect();
    if cleaned.is_empty() { "_".into() } else { cleaned }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_stand_together_with_help_and_type() {
        let mut now = Snapshot::default();
        now.counter("flumen_records_total", "Records appended.").sample(&[("topic", "a")], 3u32);
        now.gauge("flumen_lag", "Records to read.").sample(&[], 0.5);
        now.counter("flumen_records_total", "").sample(&[("topic", "b"), ("partition", "0")], 4u32);
        let expected = "\
# HELP flumen_records_total Records appended.
# TYPE flumen_records_total counter
flumen_records_total{topic=\"a\"} 3
flumen_records_total{topic=\"b\",partition=\"0\"} 4
# HELP flumen_lag Records to read.
# TYPE flumen_lag gauge
flumen_lag 0.5
";
        assert_eq!(now.render(), expected);
    }

    #[test]
    fn the_buckets_of_a_histogram_add_up() {
        let mut now = Snapshot::default();
        now.histogram("flumen_sync_seconds", "Syncs.").histogram(&[0.5, 1.0], &[2, 1, 4], 9.5);
        let expected = "\
# HELP flumen_sync_seconds Syncs.
# TYPE flumen_sync_seconds histogram
flumen_sync_seconds_bucket{le=\"0.5\"} 2
flumen_sync_seconds_bucket{le=\"1\"} 3
flumen_sync_seconds_bucket{le=\"+Inf\"} 7
flumen_sync_seconds_sum 9.5
flumen_sync_seconds_count 7
";
        assert_eq!(now.render(), expected);
    }

    #[test]
    fn names_and_values_from_a_guest_cannot_break_the_format() {
        let mut now = Snapshot::default();
        now.gauge("9 lives\n", "two\nlines").sample(&[("a-b", "x\"y\\z\n")], f64::INFINITY);
        assert_eq!(
            now.render(),
            "# HELP __lives_ two\\nlines\n# TYPE __lives_ gauge\n__lives_{a_b=\"x\\\"y\\\\z\\n\"} +Inf\n"
        );
    }
}
