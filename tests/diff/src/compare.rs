//! What differs between two brokers' answers, leaf by leaf.

use std::fmt::{self, Display, Formatter};

use crate::path;
use crate::transcript::Transcript;
use crate::value::Value;

/// One leaf that Flumen answers differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `Produce 9 responses[$t].partitionResponses[0].errorCode`
    pub at: String,
    pub kafka: String,
    pub flumen: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n      Kafka:  {}\n      Flumen: {}", self.at, self.kafka, self.flumen)
    }
}

pub fn compare(kafka: &Transcript, flumen: &Transcript) -> Vec<Difference> {
    let mut found = Vec::new();
    let count = kafka.answers.len().max(flumen.answers.len());
    for at in 0..count {
        match (kafka.answers.get(at), flumen.answers.get(at)) {
            (Some(kafka), Some(flumen)) if kafka.title == flumen.title => {
                values(&format!("{} ", kafka.title), &kafka.value, &flumen.value, &mut found);
            }
            (kafka, flumen) => {
                let title = |answer: Option<&crate::transcript::Answer>| {
                    answer.map_or("nothing more".to_string(), |answer| answer.title.clone())
                };
                found.push(Difference {
                    at: format!("answer {}", at + 1),
                    kafka: title(kafka),
                    flumen: title(flumen),
                });
                break;
            }
        }
    }
    found
}

fn values(at: &str, kafka: &Value, flumen: &Value, found: &mut Vec<Difference>) {
    match (kafka, flumen) {
        (Value::Struct(left), Value::Struct(right)) => {
            for (name, value) in left {
                let at = join(at, name);
                match flumen.get(name) {
                    Some(other) => values(&at, value, other, found),
                    None => found.push(difference(&at, Some(value), None)),
                }
            }
            for (name, value) in right.iter().filter(|(name, _)| kafka.get(name).is_none()) {
                found.push(difference(&join(at, name), None, Some(value)));
            }
        }
        (Value::List(left), Value::List(right)) => lists(at, left, right, found),
        (Value::Made(what, left), Value::Made(other, right)) if what == other => {
            values(at, left, right, found);
        }
        _ if kafka == flumen => {}
        _ => found.push(difference(at, Some(kafka), Some(flumen))),
    }
}

/// By what tells the items apart, if that is so on both sides, else by their places.
fn lists(at: &str, left: &[Value], right: &[Value], found: &mut Vec<Difference>) {
    let places = |items: &[Value]| (0..items.len()).map(|at| at.to_string()).collect::<Vec<_>>();
    let (left_keys, right_keys) = match (path::keys(left), path::keys(right)) {
        (Some(left), Some(right)) => (left, right),
        _ => (places(left), places(right)),
    };
    for (key, value) in left_keys.iter().zip(left) {
        let at = format!("{at}[{key}]");
        match right_keys.iter().position(|own| own == key) {
            Some(place) => values(&at, value, &right[place], found),
            None => found.push(difference(&at, Some(value), None)),
        }
    }
    for (key, value) in right_keys.iter().zip(right).filter(|(key, _)| !left_keys.contains(key)) {
        found.push(difference(&format!("{at}[{key}]"), None, Some(value)));
    }
}

fn join(at: &str, name: &str) -> String {
    if at.ends_with(' ') { format!("{at}{name}") } else { format!("{at}.{name}") }
}

fn difference(at: &str, kafka: Option<&Value>, flumen: Option<&Value>) -> Difference {
    let shown = |value: Option<&Value>| value.map_or("nothing".to_string(), Value::to_string);
    Difference { at: at.trim_end().into(), kafka: shown(kafka), flumen: shown(flumen) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::block;
    use crate::transcript::Answer;

    #[test]
    fn items_are_matched_by_name_and_leaves_are_named() {
        let one = |text: &str| Transcript {
            answers: vec![Answer { title: "Metadata 1".into(), value: block(text).unwrap() }],
        };
        let kafka = one("topics: [{name: a, errorCode: NONE}, {name: b, errorCode: NONE}]");
        let flumen = one("topics: [{name: b, errorCode: NONE}, {name: a, errorCode: X}]");
        let found = compare(&kafka, &flumen);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].at, "Metadata 1 topics[a].errorCode");
        assert_eq!(compare(&kafka, &kafka), []);
    }
}
