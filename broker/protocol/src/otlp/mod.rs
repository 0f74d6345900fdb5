//! What clients push of themselves (KIP-714): OpenTelemetry's `MetricsData`, version 1, in protobuf.
//!
//! ```text
//! MetricsData     1 resource metrics
//! ResourceMetrics 1 resource { 1 attributes } | 2 scope metrics { 2 metrics }
//! Metric          1 name | 5 gauge { 1 points } | 7 sum { 1 points | 2 temporality | 3 monotonic }
//!                 | 9, 10, 11 histograms and summaries
//! NumberDataPoint 7 attributes | 4 double | 6 integer, 8 bytes
//! KeyValue        1 key | 2 value { 1 text | 2 boolean | 3 integer | 4 double }
//! ```
//!
//! Invariant: however many points there are, one at a time is in memory, and of that no more than
//! [`ATTRIBUTES_MAX`] attributes. Lacks histograms and summaries, which Kafka's clients do not push: they
//! are counted. A library of messages would build all of them at once, at many times the size of their bytes.

mod fields;

use std::borrow::Cow;

use thiserror::Error;

use fields::{Fields, Value};

/// The most that a point may have, its resource's among them.
pub const ATTRIBUTES_MAX: usize = 32;

const DELTA: Value<'_> = Value::Varint(1);
const TRUE: Value<'_> = Value::Varint(1);

/// Why bytes are no metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the metrics are malformed: {0}")]
pub struct Malformed(&'static str);

/// How the numbers of a metric follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each says how it is; a sum that may fall is one as well.
    Gauge,
    /// Each says how much it was since the client began.
    Total,
    /// Each says how much has been added since the last.
    Added,
    /// The same of a sum that may fall.
    Changed,
}

/// One number of a client.
#[derive(Debug)]
pub struct Point<'a> {
    pub name: &'a str,
    pub kind: Kind,
    pub value: f64,
    /// Those of the client first, such as `group_id`, then those of the point, such as `topic`.
    pub attributes: &'a [(&'a str, Cow<'a, str>)],
}

/// Tells each point; the number of those that are of kinds not read here.
pub fn read(bytes: &[u8], mut each: impl FnMut(Point<'_>)) -> Result<u64, Malformed> {
    let mut left_out = 0;
    for of_resource in Fields::of(bytes).messages(1) {
        let of_resource = of_resource?;
        let mut resource = Vec::new();
        for described in of_resource.messages(1) {
            attributes(described?, 1, &mut resource)?;
        }
        for scope in of_resource.messages(2) {
            for metric in scope?.messages(2) {
                left_out += read_metric(metric?, &mut resource, &mut each)?;
            }
        }
    }
    Ok(left_out)
}

fn read_metric<'a>(
    metric: Fields<'a>,
    resource: &mut Vec<(&'a str, Cow<'a, str>)>,
    each: &mut impl FnMut(Point<'_>),
) -> Result<u64, Malformed> {
    let name = metric.last(1)?.map_or(Ok(""), Value::text)?;
    let mut left_out = 0;
    for field in metric {
        let (kind, points) = match field? {
            (5, Value::Bytes(gauge)) => (Kind::Gauge, Fields::of(gauge)),
            (7, Value::Bytes(sum)) => (kind_of_sum(Fields::of(sum))?, Fields::of(sum)),
            (9..=11, Value::Bytes(other)) => {
                for point in Fields::of(other).messages(1) {
                    point?;
                    left_out += 1;
                }
                continue;
            }
            _ => continue,
        };
        for point in points.messages(1) {
            let point = point?;
            let own = resource.len();
            attributes(point, 7, resource)?;
            if let Some(value) = number(point)? {
                each(Point { name, kind, value, attributes: resource });
            }
            resource.truncate(own);
        }
    }
    Ok(left_out)
}

fn kind_of_sum(sum: Fields<'_>) -> Result<Kind, Malformed> {
    let delta = sum.last(2)? == Some(DELTA);
    let monotonic = sum.last(3)? == Some(TRUE);
    Ok(match (delta, monotonic) {
        (true, true) => Kind::Added,
        (true, false) => Kind::Changed,
        (false, true) => Kind::Total,
        (false, false) => Kind::Gauge,
    })
}

/// A point without a number says that there is none.
fn number(point: Fields<'_>) -> Result<Option<f64>, Malformed> {
    let mut number = None;
    for field in point {
        match field? {
            (4, Value::Fixed64(bits)) => number = Some(f64::from_bits(bits)),
            (6, Value::Fixed64(bits)) => number = Some(bits.cast_signed() as f64),
            _ => {}
        }
    }
    Ok(number)
}

/// Adds the attributes under a number of a message. A value that is a list or a map is passed over.
fn attributes<'a>(
    message: Fields<'a>,
    number: u64,
    all: &mut Vec<(&'a str, Cow<'a, str>)>,
) -> Result<(), Malformed> {
    for attribute in message.messages(number) {
        let attribute = attribute?;
        let key = attribute.last(1)?.map_or(Ok(""), Value::text)?;
        let Some(Value::Bytes(value)) = attribute.last(2)? else { continue };
        let Some(value) = plain(Fields::of(value))? else { continue };
        if all.len() == ATTRIBUTES_MAX {
            return Err(Malformed("a point has too many attributes"));
        }
        all.push((key, value));
    }
    Ok(())
}

fn plain(value: Fields<'_>) -> Result<Option<Cow<'_, str>>, Malformed> {
    let mut plain = None;
    for field in value {
        plain = Some(match field? {
            (1, text) => text.text()?.into(),
            (2, Value::Varint(truth)) => (truth != 0).to_string().into(),
            (3, Value::Varint(bits)) => bits.cast_signed().to_string().into(),
            (4, Value::Fixed64(bits)) => f64::from_bits(bits).to_string().into(),
            _ => continue,
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A field of bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        let mut field = vec![number << 3 | 2];
        let mut length = content.len();
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        field.extend_from_slice(content);
        field
    }

    fn fixed(number: u8, bits: u64) -> Vec<u8> {
        [&[number << 3 | 1][..], &bits.to_le_bytes()].concat()
    }

    fn attribute(key: &str, value: &[u8]) -> Vec<u8> {
        [field(1, key.as_bytes()), field(2, value)].concat()
    }

    fn text(value: &str) -> Vec<u8> {
        field(1, value.as_bytes())
    }

    fn point(topic: &str, number: Vec<u8>) -> Vec<u8> {
        field(1, &[field(7, &attribute("topic", &text(topic))), number].concat())
    }

    /// The resource behind the metrics, which protobuf allows.
    fn data(metrics: &[Vec<u8>]) -> Vec<u8> {
        let metrics = metrics.iter().flat_map(|metric| field(2, metric)).collect::<Vec<_>>();
        let resource = field(1, &attribute("group_id", &text("g")));
        field(1, &[field(2, &metrics), field(1, &resource)].concat())
    }

    fn metric(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        [field(kind, content), field(1, name.as_bytes())].concat()
    }

    fn told(bytes: &[u8]) -> Result<(Vec<String>, u64), Malformed> {
        let mut told = Vec::new();
        let left_out = read(bytes, |point| {
            let labels: Vec<_> = point.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
            told.push(format!("{} {:?} {} {}", point.name, point.kind, point.value, labels.join(",")));
        })?;
        Ok((told, left_out))
    }

    #[test]
    fn gauges_and_sums_are_told_with_what_they_are_of() {
        let delta = [point("t", fixed(6, 7)), vec![0x10, 1, 0x18, 1]].concat();
        let total = [point("t", fixed(6, 9)), vec![0x10, 2, 0x18, 1]].concat();
        let level = [point("t", fixed(6, (-2_i64).cast_unsigned())), vec![0x10, 2]].concat();
        let gauge =
            [point("a", fixed(4, 0.5_f64.to_bits())), point("b", fixed(4, 1.5_f64.to_bits()))].concat();
        let bytes = data(&[
            metric("latency", 5, &gauge),
            metric("sent", 7, &delta),
            metric("seen", 7, &total),
            metric("open", 7, &level),
            metric("spread", 9, &[point("t", vec![]), point("t", vec![])].concat()),
        ]);
        let (told, left_out) = told(&bytes).unwrap();
        let expected = [
            "latency Gauge 0.5 group_id=g,topic=a",
            "latency Gauge 1.5 group_id=g,topic=b",
            "sent Added 7 group_id=g,topic=t",
            "seen Total 9 group_id=g,topic=t",
            "open Gauge -2 group_id=g,topic=t",
        ];
        assert_eq!(told, expected);
        assert_eq!(left_out, 2);
    }

    #[test]
    fn attributes_of_every_plain_kind_are_text() {
        let values = [vec![0x10, 1], vec![0x18, 42], fixed(4, 2.5_f64.to_bits()), text("x"), field(5, b"")];
        let all: Vec<_> = values.iter().flat_map(|value| field(7, &attribute("k", value))).collect();
        let gauge = field(1, &[all, fixed(4, 0)].concat());
        let (told, _) = told(&data(&[metric("m", 5, &gauge)])).unwrap();
        assert_eq!(told, ["m Gauge 0 group_id=g,k=true,k=42,k=2.5,k=x"]);
    }

    #[test]
    fn a_point_of_too_many_attributes_is_malformed() {
        let of = |count: usize| {
            let all: Vec<_> = (0..count).flat_map(|_| field(7, &attribute("k", &text("v")))).collect();
            data(&[metric("m", 5, &field(1, &[all, fixed(4, 0)].concat()))])
        };
        assert_eq!(told(&of(ATTRIBUTES_MAX - 1)).unwrap().0.len(), 1);
        assert_eq!(told(&of(ATTRIBUTES_MAX)), Err(Malformed("a point has too many attributes")));
    }

    #[test]
    fn names_that_are_no_text_are_malformed() {
        let gauge = point("t", fixed(4, 0));
        let bytes = data(&[[field(1, &[0xff]), field(5, &gauge)].concat()]);
        assert_eq!(told(&bytes), Err(Malformed("a text is not UTF-8")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            told(&bytes).ok();
            told(&data(&[metric("m", 5, &bytes), metric("n", 7, &bytes)])).ok();
        }
    }
}
