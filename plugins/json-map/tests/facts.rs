//! What json-map makes of a record.

use flumen_sdk::Error;
use flumen_sdk::testing::{Harness, Record};
use json_map::JsonMap;

fn map(config: &str, json: &str) -> String {
    let done = Harness::<JsonMap>::new(config).unwrap().transform(&[Record::value(json)]).unwrap();
    assert!(done.rejected.is_empty(), "{:?}", done.rejected);
    done.records[0].1.text().to_owned()
}

fn rejection(config: &str, json: &str) -> String {
    let done = Harness::<JsonMap>::new(config).unwrap().transform(&[Record::value(json)]).unwrap();
    assert!(done.records.is_empty());
    done.rejected.iter().next().expect("a rejection").1.to_owned()
}

const ORDER: &str =
    r#"{"id": 7, "amount": "1.50", "customer": {"name": "Zoë", "tags": ["a"]}, "note": "x\ny"}"#;

#[test]
fn nothing_asked_nothing_changed() {
    assert_eq!(
        map("{}", ORDER),
        r#"{"id":7,"amount":"1.50","customer":{"name": "Zoë", "tags": ["a"]},"note":"x\ny"}"#
    );
    assert_eq!(map("{}", "{}"), "{}");
}

#[test]
fn fields_are_selected_dropped_and_renamed() {
    assert_eq!(map(r#"{"select": ["note", "id"]}"#, ORDER), r#"{"id":7,"note":"x\ny"}"#);
    assert_eq!(map(r#"{"drop": ["customer", "note"]}"#, ORDER), r#"{"id":7,"amount":"1.50"}"#);
    assert_eq!(
        map(r#"{"select": ["id"], "rename": {"id": "order \"id\""}}"#, ORDER),
        r#"{"order \"id\"":7}"#
    );
    assert_eq!(map(r#"{"rename": {"a": "b", "b": "a"}}"#, r#"{"a":1,"b":2}"#), r#"{"b":1,"a":2}"#);
}

#[test]
fn constants_and_nested_fields_are_added_and_replace() {
    assert_eq!(
        map(
            r#"{"select": ["id"], "copy": {"who": "customer.name", "none": "customer.x.y"}, "set": {"src": ["f", 1]}}"#,
            ORDER
        ),
        r#"{"id":7,"none":null,"who":"Zoë","src":["f",1]}"#
    );
    assert_eq!(map(r#"{"set": {"a": 9}}"#, r#"{"a":1,"b":2}"#), r#"{"b":2,"a":9}"#);
    assert_eq!(map(r#"{"rename": {"b": "a"}, "set": {"a": 9}}"#, r#"{"a":1,"b":2}"#), r#"{"a":9}"#);
}

#[test]
fn a_renamed_field_replaces_the_one_that_has_its_name() {
    let rename = r#"{"rename": {"amt": "amount"}}"#;
    assert_eq!(map(rename, r#"{"amt":1,"amount":2,"b":3}"#), r#"{"amount":1,"b":3}"#);
    assert_eq!(map(rename, r#"{"amount":2,"b":3,"amt":null}"#), r#"{"b":3,"amount":null}"#);
    assert_eq!(map(rename, r#"{"amount":2,"b":3}"#), r#"{"amount":2,"b":3}"#, "nothing replaces it");
    assert_eq!(map(rename, r#"{"\u0061mount":2,"\u0061mt":1}"#), r#"{"amount":1}"#);
    for (config, want) in [
        // What another setting says of the field that is replaced is no contradiction.
        (r#"{"rename": {"amt": "amount"}, "drop": ["amount"]}"#, r#"{"b":3,"amount":1}"#),
        (r#"{"rename": {"amt": "amount"}, "cast": {"amount": "string"}}"#, r#"{"b":3,"amount":1}"#),
        (r#"{"rename": {"amt": "amount"}, "cast": {"amt": "string"}}"#, r#"{"b":3,"amount":"1"}"#),
        (r#"{"rename": {"amt": "amount"}, "select": ["amt", "amount"]}"#, r#"{"amount":1}"#),
        // One that is left out replaces nothing.
        (r#"{"rename": {"amt": "amount"}, "drop": ["amt"]}"#, r#"{"amount":2,"b":3}"#),
        (r#"{"rename": {"amt": "amount"}, "select": ["amount"]}"#, r#"{"amount":2}"#),
        // Along a chain, and round a circle, each has its own.
        (r#"{"rename": {"amt": "amount", "amount": "b"}}"#, r#"{"b":2,"amount":1}"#),
        (r#"{"rename": {"amt": "amount", "amount": "amt"}}"#, r#"{"amt":2,"b":3,"amount":1}"#),
        (r#"{"rename": {"b": "b"}}"#, r#"{"amount":2,"b":3,"amt":1}"#),
    ] {
        assert_eq!(map(config, r#"{"amount":2,"b":3,"amt":1}"#), want, "{config}");
    }
    assert_eq!(map(r#"{"rename": {"a": "b"}, "set": {"a": 9}}"#, r#"{"a":1,"b":2}"#), r#"{"b":1,"a":9}"#);
}

#[test]
fn a_constant_replaces_what_is_copied() {
    assert_eq!(
        map(r#"{"copy": {"x": "a.b"}, "set": {"x": 9}}"#, r#"{"a":{"b":1}}"#),
        r#"{"a":{"b":1},"x":9}"#
    );
}

#[test]
fn values_are_cast() {
    let cast = |to: &str, json: &str| {
        map(&format!(r#"{{"cast": {{"v": "{to}"}}}}"#), &format!(r#"{{"v": {json}}}"#))
            .trim_start_matches("{\"v\":")
            .trim_end_matches('}')
            .to_owned()
    };
    for (to, from, want) in [
        ("int", "\" 42 \"", "42"),
        ("int", "42.0", "42"),
        ("int", "true", "1"),
        ("float", "\"1.50\"", "1.50"),
        ("float", "\"+.5\"", "0.5"),
        ("string", "1.50", "\"1.50\""),
        ("string", "[1, \"a\"]", "\"[1, \\\"a\\\"]\""),
        ("string", "\"a\\n\"", "\"a\\n\""),
        ("bool", "\"Yes\"", "true"),
        ("bool", "0", "false"),
        ("json", "\"[1, 2]\"", "[1, 2]"),
        ("timestamp", "\"1970-01-01T00:00:01Z\"", "1000"),
        ("int", "null", "null"),
    ] {
        assert_eq!(cast(to, from), want, "{from} to {to}");
    }
    assert_eq!(rejection(r#"{"cast": {"v": "int"}}"#, r#"{"v": "four"}"#), "v: \"four\" is no int");
    assert!(rejection(r#"{"cast": {"v": "int"}}"#, r#"{"v": 1.5}"#).contains("is no int"));
}

#[test]
fn key_and_timestamp_come_from_fields_even_of_dropped_ones() {
    let config = r#"{"select": ["v"], "key": "who.id", "timestamp": "at"}"#;
    let json = r#"{"v": 1, "who": {"id": "k7"}, "at": "2026-11-21T00:00:00Z"}"#;
    let records = [Record::value(json).key("old").header("h", "1")];
    let done = Harness::<JsonMap>::new(config).unwrap().transform(&records).unwrap();
    let made = &done.records[0].1;
    let want = Record::value(r#"{"v":1}"#).key("k7").timestamp(1_795_219_200_000).header("h", "1");
    assert_eq!(*made, want);
    assert_eq!(rejection(config, r#"{"v": 1}"#), "no field \"who.id\" for the key");
    assert!(rejection(config, r#"{"who": {"id": 1}, "at": "soon"}"#).contains("\"soon\\\""), "named");
}

#[test]
fn deletes_pass_and_bad_records_do_not_stop_the_good() {
    let records = [Record::tombstone("k"), Record::value("[]"), Record::value("{\"a\":1}")];
    let done = Harness::<JsonMap>::new("{}").unwrap().transform(&records).unwrap();
    assert_eq!(done.records.len(), 2);
    assert_eq!(done.records[0].1, records[0]);
    assert_eq!(done.rejected.iter().map(|(position, _)| position).collect::<Vec<_>>(), [1]);
}

#[test]
fn two_fields_of_one_name_are_refused_at_once() {
    for config in [r#"{"rename": {"a": "c", "b": "c"}}"#, r#"{"key": "a..b"}"#] {
        assert!(matches!(Harness::<JsonMap>::new(config), Err(Error::Fatal(_))), "{config}");
    }
}
