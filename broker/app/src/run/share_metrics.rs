//! What Prometheus is told of share groups (docs/reference/metrics.md).

use flumen_http::Snapshot;
use flumen_server::coordinator::{ShareFigures, ShareTopicFigures};

type Reading = fn(&ShareTopicFigures) -> f64;

const GAUGES: [(&str, &str, Reading); 2] = [
    (
        "flumen_share_in_flight_records",
        "Records that were delivered to a share group and are not done",
        |topic| topic.in_flight as f64,
    ),
    ("flumen_share_acquired_records", "Records that a member of a share group holds", |topic| {
        topic.acquired as f64
    }),
];

pub(super) fn add(snapshot: &mut Snapshot, figures: &ShareFigures) {
    let acknowledged =
        snapshot.counter("flumen_share_acknowledged_records_total", "Records by what members said of them");
    for (kind, count) in figures.acknowledged {
        acknowledged.sample(&[("type", kind)], count as f64);
    }
    snapshot.gauge("flumen_share_sessions", "Members that fetch").sample(&[], figures.sessions as f64);
    for (name, help, reading) in GAUGES {
        let family = snapshot.gauge(name, help);
        for ((group, topic), of) in &figures.topics {
            family.sample(&[("group", group), ("topic", topic)], reading(of));
        }
    }
    let timed_out = snapshot
        .counter("flumen_share_timed_out_records_total", "Records that were held until their lock has ended");
    for ((group, topic), of) in &figures.topics {
        timed_out.sample(&[("group", group), ("topic", topic)], of.timed_out as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_group_is_told_of_by_topic() {
        let of = ShareTopicFigures { in_flight: 7, acquired: 3, timed_out: 2 };
        let figures = ShareFigures {
            acknowledged: [("accept", 5), ("release", 0), ("reject", 1), ("renew", 0)],
            sessions: 4,
            topics: BTreeMap::from([(("g".into(), "t".into()), of)]),
        };
        let mut snapshot = Snapshot::default();
        add(&mut snapshot, &figures);
        let text = snapshot.render();
        for line in [
            "flumen_share_acknowledged_records_total{type=\"accept\"} 5\n",
            "flumen_share_sessions 4\n",
            "flumen_share_in_flight_records{group=\"g\",topic=\"t\"} 7\n",
            "flumen_share_acquired_records{group=\"g\",topic=\"t\"} 3\n",
            "flumen_share_timed_out_records_total{group=\"g\",topic=\"t\"} 2\n",
        ] {
            assert!(text.contains(line), "{line} is missing:\n{text}");
        }
    }
}
