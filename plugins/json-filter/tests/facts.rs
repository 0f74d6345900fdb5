//! What json-filter keeps.

use flumen_sdk::testing::{Harness, Record};
use json_filter::JsonFilter;

fn plugin(config: &str) -> Harness<JsonFilter> {
    Harness::new(config).unwrap()
}

/// Whether `condition` keeps `json`.
fn keeps(condition: &str, json: &str) -> bool {
    let config = serde_json::json!({ "where": condition }).to_string();
    plugin(&config).filter(&[Record::value(json)]).unwrap()[0]
}

fn rejection(config: &str, json: &str) -> String {
    let (_, rejected) = plugin(config).filter_all(&[Record::value(json)]).unwrap();
    rejected.iter().next().expect("a rejection").1.to_owned()
}

#[test]
fn fields_are_names() {
    assert!(keeps("amount > 100", r#"{"id": 1, "amount": 100.5}"#));
    assert!(!keeps("amount > 100", r#"{"amount": 100}"#));
    assert!(keeps("amount > 100", r#"{"amount": 18446744073709551615}"#));
    assert!(keeps(
        r#"country in ["FR", "DE"] && !(name.startsWith("x"))"#,
        r#"{"country":"DE","name":"é\"y"}"#
    ));
    assert!(keeps("a.b[1].c == 3", r#"{"a": {"b": [0, {"c": 3}]}}"#));
    assert!(keeps("tags.exists(t, t == 'hot')", r#"{"tags": ["cold", "hot"]}"#));
    assert!(keeps("name.matches('^a.c$')", r#"{"name": "abc"}"#));
    assert!(keeps("type(id) == int && double(price) < 2.5", r#"{"id": 7, "price": "2.25"}"#));
}

#[test]
fn a_field_that_is_repeated_counts_the_last_time() {
    assert!(keeps("a == 2", r#"{"a": 1, "a": 2}"#));
}

#[test]
fn a_missing_or_null_field_is_null() {
    assert!(keeps("gone == null", r#"{}"#));
    assert!(keeps("gone == null", r#"{"gone": null}"#));
    assert!(keeps("gone == null || gone > 3", r#"{"gone": 4}"#));
}

#[test]
fn no_answer_for_want_of_a_field_is_no_as_in_sql() {
    for json in [r#"{}"#, r#"{"amount": null}"#] {
        assert!(!keeps("amount > 100", json), "{json}");
    }
    assert!(!keeps("a.b > 1", r#"{"a": {}}"#));
    let missing = |how: &str| format!(r#"{{"where": "amount > 100", "missing": "{how}"}}"#);
    assert_eq!(plugin(&missing("keep")).filter(&[Record::value("{}")]).unwrap(), [true]);
    assert!(rejection(&missing("reject"), "{}").contains("amount > 100"));
}

#[test]
fn names_of_the_record_itself() {
    let record = Record::value("{}").key("k1").timestamp(1_700_000_000_000);
    let yes =
        r#"{"where": "_key == 'k1' && _topic == 'in' && _partition == 0 && _offset == 0 && _timestamp > 5"}"#;
    assert_eq!(plugin(yes).filter(std::slice::from_ref(&record)).unwrap(), [true]);
    assert!(keeps("'odd name' in _value && _value['odd name'] == 1", r#"{"odd name": 1}"#));
    assert!(keeps("!has(_value.gone) && has(_value.here)", r#"{"here": 1}"#));
}

#[test]
fn deletes_pass_unless_told_otherwise() {
    let delete = [Record::tombstone("k")];
    assert_eq!(plugin(r#"{"where": "a > 1"}"#).filter(&delete).unwrap(), [true]);
    assert_eq!(plugin(r#"{"where": "a > 1", "tombstones": "drop"}"#).filter(&delete).unwrap(), [false]);
}

#[test]
fn what_cannot_be_judged_is_rejected_and_the_rest_goes_on() {
    let records = [r#"{"a": 2}"#, "no json", r#"[1]"#, r#"{"a": "2"}"#, r#"{"a": 2"#, "{\"a\": \"\u{1}\"}"];
    let (kept, rejected) = plugin(r#"{"where": "a > 1"}"#).filter_all(&records.map(Record::value)).unwrap();
    assert!(kept[0]);
    assert_eq!(rejected.iter().map(|(position, _)| position).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let config = r#"{"where": "amount + 1"}"#;
    assert!(rejection(config, r#"{"amount": 1}"#).contains("neither true nor false"));
}

#[test]
fn a_deep_document_is_rejected_not_a_crash() {
    let deep = format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(rejection(r#"{"where": "a > 1"}"#, &deep).contains("recursion"));
}

#[test]
fn a_bad_expression_is_told_at_once() {
    let Err(error) = Harness::<JsonFilter>::new(r#"{"where": "amount >"}"#) else { panic!("it compiled") };
    assert!(matches!(&error, flumen_sdk::Error::Fatal(reason) if reason.contains("amount >")), "{error}");
}

/// The same question in a form that has no quick answer, because a conditional is not known there.
#[test]
fn quick_answers_are_those_of_cel() {
    let values = [
        "null",
        "true",
        "false",
        "0",
        "1",
        "2",
        "1.0",
        "1.5",
        "-1",
        "1e2",
        "\"1\"",
        "\"a\"",
        "\"b\\n\"",
        "[1]",
        "{}",
        "9007199254740993",
        "9007199254740992.0",
        "18446744073709551615",
    ];
    let conditions = [
        "a > b",
        "a >= b",
        "a < b",
        "a <= b",
        "a == b",
        "a != b",
        "a in [1, \"a\", true, 1.5]",
        "!(a == b)",
        "a",
        "!a",
        "a > 1 && b > 1",
        "a > 1 || b > 1",
        "a == null || b == \"a\"",
        "a == true",
        "a > 0.5",
        "missing == a",
        "missing > a || b == 1",
    ];
    for condition in conditions {
        let slow = format!("true ? ({condition}) : false");
        let config =
            |condition: &str| serde_json::json!({"where": condition, "missing": "reject"}).to_string();
        let (mut quick, mut cel) = (plugin(&config(condition)), plugin(&config(&slow)));
        for a in values {
            for b in values {
                let record = [Record::value(format!(r#"{{"a": {a}, "b": {b}}}"#))];
                let outcome = |answer: flumen_sdk::Result<(Vec<bool>, flumen_sdk::Rejections)>| {
                    let (kept, rejected) = answer.unwrap();
                    (kept, rejected.is_empty())
                };
                assert_eq!(
                    outcome(quick.filter_all(&record)),
                    outcome(cel.filter_all(&record)),
                    "{condition} of {a} and {b}"
                );
            }
        }
    }
}
