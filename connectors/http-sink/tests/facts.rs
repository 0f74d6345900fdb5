//! What the sink does, told by a service that is played by the test.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use flumen_sdk::Error;
use flumen_sdk::testing::{Harness, Record};
use http_sink::{Answer, HttpSink, Request, Transport};

thread_local! {
    static ANSWERS: RefCell<VecDeque<Result<Answer, String>>> = const { RefCell::new(VecDeque::new()) };
    static SEEN: RefCell<Vec<(String, String)>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Played;

impl Transport for Played {
    fn send(&mut self, request: &Request<'_>) -> Result<Answer, String> {
        let key =
            request.headers.iter().find(|(name, _)| name == "idempotency-key").expect("a key").1.clone();
        let body = String::from_utf8(request.body.clone()).expect("text");
        let poisoned = body.contains("poison");
        SEEN.with_borrow_mut(|seen| seen.push((key, body)));
        let planned = ANSWERS.with_borrow_mut(VecDeque::pop_front);
        planned
            .unwrap_or_else(|| Ok(Answer { status: if poisoned { 422 } else { 200 }, ..Answer::default() }))
    }

    fn now_ms(&self) -> i64 {
        784_111_777_000 - 5_000
    }
}

fn sink(config: &str) -> Harness<HttpSink<Played>> {
    Harness::new(config).expect("a valid configuration")
}

fn plan(status: u16, retry_after: Option<&str>) {
    let answer = Answer { status, retry_after: retry_after.map(Into::into), body: "busy".into() };
    ANSWERS.with_borrow_mut(|answers| answers.push_back(Ok(answer)));
}

fn seen() -> Vec<(String, String)> {
    SEEN.with_borrow(Clone::clone)
}

fn numbers(range: std::ops::Range<i32>) -> Vec<Record> {
    range.map(|n| Record::value(format!("{{\"n\": {n}}}"))).collect()
}

#[test]
fn requests_close_by_count_and_by_bytes_and_carry_a_key() {
    let mut by_count = sink(r#"{"url": "http://x/", "batch": {"records": 2}}"#);
    assert!(by_count.write(&numbers(0..3)).unwrap().is_empty());
    assert_eq!(
        seen(),
        [("in-0-0..1".into(), "[{\"n\": 0},{\"n\": 1}]".into()), ("in-0-2".into(), "[{\"n\": 2}]".into())]
    );
    let mut by_bytes = sink(r#"{"url": "http://x/", "format": "ndjson", "batch": {"bytes": 12}}"#);
    by_bytes.write(&numbers(0..2)).unwrap();
    assert_eq!(
        seen()[2..],
        [("in-0-0".into(), "{\"n\": 0}\n".into()), ("in-0-1".into(), "{\"n\": 1}\n".into())]
    );
}

#[test]
fn a_busy_service_is_asked_again_when_it_says_so() {
    let mut sink = sink(r#"{"url": "http://x/"}"#);
    plan(503, Some("7"));
    let seven = Error::retry_after("http://x/ answered 503: busy", Duration::from_secs(7));
    assert_eq!(sink.write(&numbers(0..1)), Err(seven));
    plan(429, Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    let five = Error::retry_after("http://x/ answered 429: busy", Duration::from_secs(5));
    assert_eq!(sink.write(&numbers(0..1)), Err(five));
    plan(401, None);
    assert_eq!(sink.write(&numbers(0..1)), Err(Error::retry("http://x/ answered 401: busy")));
    ANSWERS.with_borrow_mut(|answers| answers.push_back(Err("the connection was refused".into())));
    assert_eq!(sink.write(&numbers(0..1)), Err(Error::retry("http://x/: the connection was refused")));
}

#[test]
fn records_at_fault_are_found_and_the_others_delivered() {
    let mut sink = sink(r#"{"url": "http://x/"}"#);
    let mut records = numbers(0..9);
    records[3] = Record::value("\"poison\"");
    records[7] = Record::value("not JSON");
    let rejected = sink.write(&records).unwrap();
    let positions: Vec<u32> = rejected.iter().map(|(position, _)| position).collect();
    assert_eq!(positions, [7, 3]);
    let delivered: String =
        seen().into_iter().filter(|(_, body)| !body.contains("poison")).map(|(_, b)| b).collect();
    for n in [0, 1, 2, 4, 5, 6, 8] {
        assert_eq!(delivered.matches(&format!("{{\"n\": {n}}}")).count(), 1, "{n} in {delivered}");
    }
}

#[test]
fn tombstones_are_left_out_or_null() {
    let mut skip = sink(r#"{"url": "http://x/"}"#);
    skip.write(&[Record::tombstone("k")]).unwrap();
    assert_eq!(seen(), []);
    let mut null = sink(r#"{"url": "http://x/", "tombstones": "null"}"#);
    null.write(&[Record::tombstone("k")]).unwrap();
    assert_eq!(seen()[0].1, "[null]");
}

#[test]
fn an_id_goes_into_each_object() {
    let mut sink = sink(r#"{"url": "http://x/", "id_field": "_id", "format": "ndjson"}"#);
    sink.write(&[Record::value("{\"a\":\n1}"), Record::value("{}"), Record::value("5")]).unwrap();
    assert_eq!(seen()[0].1, "{\"_id\":\"in-0-0\",\"a\": 1}\n{\"_id\":\"in-0-1\"}\n5\n");
}

#[test]
fn a_wrong_url_is_told_at_once() {
    let refused = Harness::<HttpSink<Played>>::new(r#"{"url": "ftp://x/"}"#).err().expect("refused");
    assert!(matches!(refused, Error::Fatal(_)), "{refused}");
}
