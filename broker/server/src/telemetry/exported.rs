//! What clients have pushed, for whoever asks for metrics.
//!
//! Invariants: no more than `bytes_max` are kept of all clients, and [`CLIENT_BYTES_MAX`] of one; what does not
//! fit is counted. What clients send is read without a lock on what others have sent ([`Said`]). A gauge is there until a push of its client is without it, what adds up as long as the
//! client. A client is forgotten three intervals after its last push.

use std::borrow::Cow;
use std::collections::HashMap;

use flumen_protocol::messages::Uuid;
use flumen_protocol::otlp::{Kind, Malformed, Point, read};
use flumen_types::{Millis, Timestamp};

use super::client::Client;
use super::instance::known_for;

/// Of one client: ten times what a consumer of 100 partitions has.
const CLIENT_BYTES_MAX: usize = 1 << 20;
/// What a series takes beside its texts, about.
const SERIES_BYTES: usize = 128;
/// The names and labels of one series: each of many points is held against all others.
const SERIES_TEXT_MAX: usize = 4 << 10;
/// What is kept of a client's name.
const CLIENT_ID_MAX: usize = 255;

/// What one push says.
#[derive(Default)]
pub(super) struct Said {
    series: HashMap<Series, Told>,
    bytes: usize,
    left_out: u64,
}

/// Of one series in one push.
struct Told {
    value: f64,
    kind: Kind,
    /// It does not add to what was before.
    anew: bool,
    /// How many came before it.
    at: usize,
}

pub(super) struct Exported {
    clients: HashMap<Uuid, Pushed>,
    bytes: usize,
    bytes_max: usize,
    left_out: u64,
}

/// One client's.
struct Pushed {
    client_id: String,
    id_text: String,
    heard: Timestamp,
    interval: Millis,
    pushes: u64,
    bytes: usize,
    series: HashMap<Series, Latest>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    name: Box<str>,
    counter: bool,
    labels: Box<[(Box<str>, Box<str>)]>,
}

struct Latest {
    value: f64,
    kind: Kind,
    /// The push that brought it.
    push: u64,
}

/// One number of one client.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientMetric {
    /// As the client calls it, such as `org.apache.kafka.producer.record.send.total`.
    pub name: String,
    /// It only grows, until the client begins anew.
    pub counter: bool,
    pub client_id: String,
    pub client_instance_id: String,
    /// What else the client says of it, such as `topic`.
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Exported {
    pub(super) fn new(bytes_max: usize) -> Exported {
        Exported { clients: HashMap::new(), bytes: 0, bytes_max, left_out: 0 }
    }

    /// Takes a client's metrics.
    pub(super) fn push(&mut self, client: &Client, interval: Millis, said: Said, now: Timestamp) {
        self.forget(now);
        let pushed = self.clients.entry(client.id).or_insert_with(|| Pushed {
            client_id: client.client_id[..client.client_id.floor_char_boundary(CLIENT_ID_MAX)].into(),
            id_text: client.id_text.clone(),
            heard: now,
            interval,
            pushes: 0,
            bytes: 0,
            series: HashMap::new(),
        });
        pushed.heard = now;
        pushed.interval = interval;
        pushed.pushes += 1;
        let room = (self.bytes_max - (self.bytes - pushed.bytes)).min(CLIENT_BYTES_MAX);
        let before = pushed.bytes;
        self.left_out += said.left_out;
        let mut series: Vec<_> = said.series.into_iter().collect();
        // What comes first has the room.
        series.sort_unstable_by_key(|(_, told)| told.at);
        for (series, told) in series {
            self.left_out += u64::from(!pushed.take(series, told, room));
        }
        pushed.drop_old_gauges();
        self.bytes = self.bytes - before + pushed.bytes;
        if pushed.series.is_empty() {
            self.clients.remove(&client.id);
        }
    }

    pub(super) fn forget(&mut self, now: Timestamp) {
        let bytes = &mut self.bytes;
        self.clients.retain(|_, pushed| {
            let known = now.since(pushed.heard) < known_for(pushed.interval).0;
            *bytes -= if known { 0 } else { pushed.bytes };
            known
        });
    }

    /// Numbers that nobody asked for or had no room, or are of kinds that are not read.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// In no order.
    pub(super) fn all(&self) -> Vec<ClientMetric> {
        let of_client = |pushed: &Pushed| {
            let metric = |(series, latest): (&Series, &Latest)| ClientMetric {
                name: series.name.to_string(),
                counter: series.counter,
                client_id: pushed.client_id.clone(),
                client_instance_id: pushed.id_text.clone(),
                labels: series
                    .labels
                    .iter()
                    .map(|(name, value)| (name.to_string(), value.to_string()))
                    .collect(),
                value: latest.value,
            };
            pushed.series.iter().map(metric).collect::<Vec<_>>()
        };
        self.clients.values().flat_map(of_client).collect()
    }
}

impl Said {
    /// Of metrics that are `wanted` by their names. Those that stand before an error are told with it.
    pub(super) fn read(metrics: &[u8], wanted: impl Fn(&str) -> bool) -> (Said, Result<(), Malformed>) {
        let mut said = Said::default();
        let done = read(metrics, |point| {
            let taken = wanted(point.name) && said.take(&point);
            said.left_out += u64::from(!taken);
        });
        let done = done.map(|left_out| said.left_out += left_out);
        (said, done)
    }

    /// False if there is no room for it.
    fn take(&mut self, point: &Point<'_>) -> bool {
        let labels = point.attributes.iter().map(|(name, value)| name.len() + value.len());
        if point.name.len() + labels.sum::<usize>() > SERIES_TEXT_MAX {
            return false;
        }
        let series = Series::of(point);
        let anew = matches!(point.kind, Kind::Gauge | Kind::Total);
        if let Some(told) = self.series.get_mut(&series) {
            told.value = if anew { point.value } else { told.value + point.value };
            told.anew |= anew;
            told.kind = point.kind;
            return true;
        }
        let bytes = series.bytes();
        if self.bytes + bytes > CLIENT_BYTES_MAX {
            return false;
        }
        self.bytes += bytes;
        let at = self.series.len();
        self.series.insert(series, Told { value: point.value, kind: point.kind, anew, at });
        true
    }
}

impl Pushed {
    /// False if there is no room for it.
    fn take(&mut self, series: Series, told: Told, room: usize) -> bool {
        let push = self.pushes;
        if let Some(latest) = self.series.get_mut(&series) {
            let before = if told.anew { 0.0 } else { latest.value };
            *latest = Latest { value: before + told.value, kind: told.kind, push };
            return true;
        }
        let bytes = series.bytes();
        if self.bytes + bytes > room {
            return false;
        }
        self.bytes += bytes;
        self.series.insert(series, Latest { value: told.value, kind: told.kind, push });
        true
    }

    fn drop_old_gauges(&mut self) {
        let (push, bytes) = (self.pushes, &mut self.bytes);
        self.series.retain(|series, latest| {
            let stays = latest.kind != Kind::Gauge || latest.push == push;
            *bytes -= if stays { 0 } else { series.bytes() };
            stays
        });
    }
}

impl Series {
    fn of(point: &Point<'_>) -> Series {
        let label = |(name, value): &(&str, Cow<'_, str>)| (Box::from(*name), Box::from(&**value));
        Series {
            name: point.name.into(),
            counter: matches!(point.kind, Kind::Added | Kind::Total),
            labels: point.attributes.iter().map(label).collect(),
        }
    }

    fn bytes(&self) -> usize {
        let label =
            |(name, value): &(Box<str>, Box<str>)| 2 * size_of::<Box<str>>() + name.len() + value.len();
        SERIES_BYTES + self.name.len() + self.labels.iter().map(label).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Millis = Millis(30_000);

    /// A metric of one point: `kind` is OTLP's field, `of_sum` what else a sum says.
    fn metric(name: &str, kind: u8, of_sum: &[u8], value: f64) -> Vec<u8> {
        let field =
            |number: u8, content: &[u8]| [&[number << 3 | 2, content.len() as u8][..], content].concat();
        let point = [&[4 << 3 | 1][..], &value.to_bits().to_le_bytes()].concat();
        let metric =
            [field(1, name.as_bytes()), field(kind, &[field(1, &point), of_sum.to_vec()].concat())].concat();
        field(1, &field(2, &field(2, &metric)))
    }

    fn gauge(name: &str, value: f64) -> Vec<u8> {
        metric(name, 5, &[], value)
    }

    fn added(name: &str, value: f64) -> Vec<u8> {
        metric(name, 7, &[0x10, 1, 0x18, 1], value)
    }

    fn total(name: &str, value: f64) -> Vec<u8> {
        metric(name, 7, &[0x10, 2, 0x18, 1], value)
    }

    fn push(all: &mut Exported, id: u8, metrics: &[Vec<u8>], at: i64) {
        let client = Client::named(id, 1, "app");
        let (said, done) = Said::read(&metrics.concat(), |_| true);
        done.unwrap();
        all.push(&client, INTERVAL, said, Timestamp(at));
    }

    fn values(all: &Exported) -> Vec<(String, bool, f64)> {
        let mut values: Vec<_> = all.all().into_iter().map(|it| (it.name, it.counter, it.value)).collect();
        values.sort_by(|a, b| a.partial_cmp(b).unwrap());
        values
    }

    #[test]
    fn what_is_added_adds_up_and_what_is_measured_is_the_latest() {
        let mut all = Exported::new(1 << 20);
        push(&mut all, 1, &[gauge("g", 1.0), added("a", 2.0), total("t", 5.0), gauge("old", 1.0)], 0);
        push(&mut all, 1, &[gauge("g", 3.0), added("a", 4.0), total("t", 9.0)], 1);
        let expected = [("a".into(), true, 6.0), ("g".into(), false, 3.0), ("t".into(), true, 9.0)];
        assert_eq!(values(&all), expected, "a gauge that is pushed no more is gone");
        push(&mut all, 1, &[], 2);
        assert_eq!(values(&all).len(), 2);
    }

    #[test]
    fn a_client_is_told_by_its_name_and_its_id_and_is_forgotten() {
        let mut all = Exported::new(1 << 20);
        push(&mut all, 1, &[gauge("g", 1.0)], 0);
        push(&mut all, 2, &[gauge("g", 2.0)], 1);
        let told = all.all();
        assert!(told.iter().all(|metric| metric.client_id == "app"));
        assert_ne!(told[0].client_instance_id, told[1].client_instance_id);
        all.forget(Timestamp(90_000));
        assert_eq!((all.clients(), values(&all)), (1, vec![("g".into(), false, 2.0)]));
        all.forget(Timestamp(90_001));
        assert_eq!((all.clients(), all.bytes), (0, 0));
    }

    #[test]
    fn what_nobody_asked_for_or_is_called_too_long_is_left_out() {
        let (long, mut all) = ("a".repeat(100), Exported::new(1 << 20));
        let (said, _) = Said::read(&[gauge("a.x", 1.0), gauge("b.x", 1.0)].concat(), |name| name == "a.x");
        all.push(&Client::named(1, 1, "app"), INTERVAL, said, Timestamp(0));
        assert_eq!((values(&all), all.left_out()), (vec![("a.x".into(), false, 1.0)], 1));
        let point = |value| Point { name: &long, kind: Kind::Gauge, value, attributes: &[] };
        let mut said = Said::default();
        assert!(said.take(&point(1.0)));
        let long = "a".repeat(SERIES_TEXT_MAX + 1);
        assert!(!said.take(&Point { name: &long, ..point(1.0) }));
    }

    #[test]
    fn what_a_push_says_twice_is_one() {
        let mut all = Exported::new(1 << 20);
        push(&mut all, 1, &[added("a", 1.0), added("a", 2.0), gauge("g", 1.0), gauge("g", 2.0)], 0);
        push(&mut all, 1, &[added("a", 4.0), gauge("g", 3.0), total("t", 5.0), added("t", 1.0)], 1);
        push(&mut all, 1, &[total("t", 5.0), added("t", 1.0), gauge("g", 3.0)], 2);
        let expected = [("a".into(), true, 7.0), ("g".into(), false, 3.0), ("t".into(), true, 6.0)];
        assert_eq!(values(&all), expected);
    }

    #[test]
    fn what_has_no_room_is_counted_and_room_comes_back() {
        let mut all = Exported::new(300);
        push(&mut all, 1, &[gauge("a", 1.0), gauge("b", 1.0), gauge("c", 1.0)], 0);
        assert_eq!((all.all().len(), all.left_out()), (2, 1));
        push(&mut all, 2, &[gauge("a", 1.0)], 1);
        assert_eq!((all.clients(), all.left_out()), (1, 2));
        push(&mut all, 1, &[gauge("a", 1.0)], 2);
        push(&mut all, 2, &[gauge("a", 1.0)], 3);
        assert_eq!((all.clients(), all.left_out()), (2, 2));
    }

    #[test]
    fn what_is_malformed_is_an_error_and_costs_nothing() {
        let mut all = Exported::new(1 << 20);
        let cut = &gauge("g", 1.0)[..10];
        let (said, done) = Said::read(cut, |_| true);
        assert!(done.is_err());
        all.push(&Client::named(1, 1, "app"), INTERVAL, said, Timestamp(0));
        assert_eq!((all.clients(), all.bytes), (0, 0));
    }
}
