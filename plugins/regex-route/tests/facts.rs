//! Where regex-route sends records.

use flumen_sdk::Error;
use flumen_sdk::testing::{Harness, Record, setup};
use regex_route::RegexRoute;

const TOPICS: [&str; 3] = ["dach", "france", "rest"];

/// Topic and value of what went through, sorted; and positions of what was rejected.
fn route(config: &str, records: &[Record]) -> (Vec<(&'static str, String)>, Vec<u32>) {
    let mut plugin = Harness::<RegexRoute>::with_setup(config, &setup(&["in"], &TOPICS)).unwrap();
    let done = plugin.transform(records).unwrap();
    let sent =
        done.records.iter().map(|(output, record)| (TOPICS[*output as usize], record.text().to_owned()));
    let mut sent: Vec<_> = sent.collect();
    sent.sort();
    (sent, done.rejected.iter().map(|(position, _)| position).collect())
}

#[test]
fn the_first_pattern_decides() {
    let config = r#"{"by": "field:at.country", "otherwise": "rest", "routes": [
        {"match": "^(DE|AT|CH)$", "to": "dach"}, {"match": "^(FR|DE)$", "to": "france"}]}"#;
    let values = [r#""DE""#, r#""\u0041T""#, r#""FR""#, "7", "null"];
    let values = values.map(|country| format!(r#"{{"at": {{"country": {country}}}}}"#));
    let (sent, rejected) = route(config, &values.clone().map(Record::value));
    let topics: Vec<&str> = sent.iter().map(|(topic, _)| *topic).collect();
    assert_eq!(topics, ["dach", "dach", "france", "rest", "rest"]);
    assert!(values.iter().all(|value| sent.iter().any(|(_, sent)| sent == value)), "unchanged");
    assert!(rejected.is_empty());
}

#[test]
fn keys_headers_and_whole_values_can_be_looked_at() {
    let routes = r#""routes": [{"match": "^a", "to": "dach"}]"#;
    let records = [Record::value("abc").key("x").header("h", "ay"), Record::value("b").key("ab")];
    let sent = |by: &str| route(&format!(r#"{{"by": "{by}", {routes}}}"#), &records).0;
    assert_eq!(sent("value"), [("dach", "abc".to_owned())]);
    assert_eq!(sent("key"), [("dach", "b".to_owned())]);
    assert_eq!(sent("header:h"), [("dach", "abc".to_owned())]);
}

#[test]
fn what_matches_nothing_is_dropped_or_rejected() {
    let config =
        |more: &str| format!(r#"{{"by": "key", {more} "routes": [{{"match": "^a", "to": "dach"}}]}}"#);
    let records = [Record::value("1"), Record::value("2").key("b")];
    assert_eq!(route(&config(""), &records), (vec![], vec![]));
    assert_eq!(route(&config(r#""unmatched": "reject","#), &records), (vec![], vec![0, 1]));
}

#[test]
fn a_field_of_what_is_no_object_is_rejected() {
    let config = r#"{"by": "field:a", "otherwise": "rest", "routes": [{"match": "x", "to": "dach"}]}"#;
    assert_eq!(route(config, &[Record::value("plain"), Record::tombstone("k")]).1, [0]);
}

#[test]
fn mistakes_are_told_at_once() {
    for (config, told) in [
        (r#"{"by": "key", "routes": [{"match": "(", "to": "dach"}]}"#, "unclosed group"),
        (r#"{"by": "key", "routes": [{"match": "a", "to": "nowhere"}]}"#, "no output \"nowhere\""),
        (r#"{"by": "colour", "routes": [{"match": "a", "to": "dach"}]}"#, "expected key, value"),
        (r#"{"by": "key", "routes": [], "otherwise": "x"}"#, "no output \"x\""),
    ] {
        let Err(Error::Fatal(reason)) =
            Harness::<RegexRoute>::with_setup(config, &setup(&["in"], &TOPICS)).map(drop)
        else {
            panic!("{config}");
        };
        assert!(reason.contains(told), "{reason}");
    }
}
