//! What http-sink sends, and what it makes of the answers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use flumen_sdk::testing::{Record, pack};
use flumen_sdk::{Error, Rejections, Result, Sink};
use http_sink::{HttpSink, NoAnswer, Request, Response, Transport};
use serde_json::{Value, json};

type Answer = Box<dyn Fn(&Request) -> Result<Response, NoAnswer> + Send>;

/// A service that answers by script, then as it always does, and remembers what it was sent.
#[derive(Clone)]
struct Service {
    seen: Arc<Mutex<Vec<Request>>>,
    script: Arc<Mutex<VecDeque<Answer>>>,
    always: Arc<Mutex<u16>>,
    clock: Arc<Mutex<Instant>>,
    /// What each answer takes.
    takes: Duration,
}

impl Default for Service {
    fn default() -> Self {
        Service {
            seen: Arc::default(),
            script: Arc::default(),
            always: Arc::new(Mutex::new(200)),
            clock: Arc::new(Mutex::new(Instant::now())),
            takes: Duration::ZERO,
        }
    }
}

impl Transport for Service {
    fn send(&mut self, request: &Request) -> Result<Response, NoAnswer> {
        self.seen.lock().unwrap().push(request.clone());
        *self.clock.lock().unwrap() += self.takes;
        match self.script.lock().unwrap().pop_front() {
            Some(answer) => answer(request),
            None => Ok(Response { status: *self.always.lock().unwrap(), ..Response::default() }),
        }
    }

    fn now(&self) -> Instant {
        *self.clock.lock().unwrap()
    }
}

impl Service {
    fn sink(&self, more: Value) -> HttpSink {
        let mut config = json!({"url": "http://127.0.0.1:8080/in/{topic}?a=b"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        HttpSink::over(&config.to_string(), Box::new(self.clone())).unwrap()
    }

    fn then(&self, answer: impl Fn(&Request) -> Result<Response, NoAnswer> + Send + 'static) {
        self.script.lock().unwrap().push_back(Box::new(answer));
    }

    fn then_status(&self, status: u16) {
        self.then(move |_| Ok(Response { status, ..Response::default() }));
    }

    fn always(&self, status: u16) {
        *self.always.lock().unwrap() = status;
    }

    fn bodies(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|request| String::from_utf8(request.body.clone()).unwrap()).collect()
    }

    fn header(&self, name: &str) -> Vec<Option<String>> {
        let value = |request: &Request| {
            request
                .headers
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.clone())
        };
        self.seen.lock().unwrap().iter().map(value).collect()
    }
}

fn write(sink: &mut HttpSink, records: &[Record]) -> Result<Rejections> {
    sink.write(&pack("orders", 17, records).batch())
}

fn numbers(count: usize) -> Vec<Record> {
    (0..count).map(|number| Record::value(number.to_string())).collect()
}

fn positions(rejected: &Rejections) -> Vec<u32> {
    rejected.iter().map(|(position, _)| position).collect()
}

#[test]
fn a_batch_is_a_json_array_with_an_idempotency_key() {
    let service = Service::default();
    let mut sink = service.sink(json!({"headers": {"X-A": "b"}, "bearer": "secret"}));
    let records = [Record::value(r#" {"a": 1} "#), Record::value("[2]")];
    assert!(write(&mut sink, &records).unwrap().is_empty());
    assert_eq!(service.bodies(), [r#"[{"a": 1},[2]]"#]);
    let request = service.seen.lock().unwrap()[0].clone();
    assert_eq!(
        (request.method, request.https, request.authority.as_str()),
        ("POST", false, "127.0.0.1:8080")
    );
    assert_eq!(request.path, "/in/orders?a=b");
    for (name, value) in [
        ("Idempotency-Key", "orders-0-17..18"),
        ("content-type", "application/json"),
        ("authorization", "Bearer secret"),
        ("x-a", "b"),
        ("content-length", "14"),
    ] {
        assert_eq!(service.header(name), [Some(value.to_owned())], "{name}");
    }
}

#[test]
fn the_other_formats() {
    let records = [Record::value("{\"a\":\n1}").key("k").timestamp(5), Record::tombstone("k")];
    let sent = |more: Value| {
        let service = Service::default();
        assert!(write(&mut service.sink(more), &records).unwrap().is_empty());
        service.bodies()
    };
    assert_eq!(sent(json!({"format": "ndjson"})), ["{\"a\": 1}\n"]);
    assert_eq!(sent(json!({"format": "ndjson", "tombstones": "null"})), ["{\"a\": 1}\nnull\n"]);
    assert_eq!(sent(json!({"format": "single"})), ["{\"a\":\n1}"]);
    assert_eq!(
        sent(json!({"envelope": true})),
        [
            "[{\"id\":\"orders-0-17\",\"topic\":\"orders\",\"partition\":0,\"offset\":17,\"timestamp\":5,\"key\":\"k\",\"value\":{\"a\":\n1}}]"
        ]
    );
}

#[test]
fn batches_are_cut_by_count_and_bytes() {
    let service = Service::default();
    let mut sink = service.sink(json!({"batch": {"records": 2}}));
    assert!(write(&mut sink, &numbers(5)).unwrap().is_empty());
    assert_eq!(service.bodies(), ["[0,1]", "[2,3]", "[4]"]);
    assert_eq!(service.header("idempotency-key")[1].as_deref(), Some("orders-0-19..20"));
    let service = Service::default();
    let mut sink = service.sink(json!({"batch": {"bytes": 7}}));
    let records = ["\"abc\"", "1", "\"a longer one than allowed\"", "2"].map(Record::value);
    assert!(write(&mut sink, &records).unwrap().is_empty());
    assert_eq!(service.bodies(), ["[\"abc\"]", "[1]", "[\"a longer one than allowed\"]", "[2]"]);
}

#[test]
fn a_service_that_is_away_is_tried_again_as_it_asks() {
    let service = Service::default();
    let mut sink = service.sink(json!({}));
    service.then(|_| {
        Ok(Response {
            status: 429,
            retry_after: Some("7".into()),
            body: b"slow down".to_vec(),
            ..Response::default()
        })
    });
    service.then(|_| {
        Ok(Response {
            status: 503,
            retry_after: Some("Sun, 06 Nov 1994 08:49:37 GMT".into()),
            date: Some("Sun, 06 Nov 1994 08:49:30 GMT".into()),
            ..Response::default()
        })
    });
    service.then(|_| Err(NoAnswer::Failed("connection refused".into())));
    for (wait, told) in [
        (Some(7), "http://127.0.0.1:8080 answered 429: slow down"),
        (Some(7), "http://127.0.0.1:8080 answered 503"),
        (None, "http://127.0.0.1:8080: connection refused"),
    ] {
        let error = write(&mut sink, &numbers(2)).unwrap_err();
        assert_eq!(error, Error::Retry { reason: told.to_owned(), after: wait.map(Duration::from_secs) });
    }
    assert!(write(&mut sink, &numbers(2)).unwrap().is_empty());
    assert!(service.header("idempotency-key").iter().all(|key| key.as_deref() == Some("orders-0-17..18")));
}

#[test]
fn what_has_been_delivered_is_not_sent_again_with_the_rest() {
    let service = Service::default();
    let mut sink = service.sink(json!({"batch": {"records": 2}}));
    service.then_status(200);
    service.then_status(500);
    assert!(write(&mut sink, &numbers(5)).is_err());
    assert!(write(&mut sink, &numbers(5)).unwrap().is_empty());
    assert_eq!(service.bodies(), ["[0,1]", "[2,3]", "[2,3]", "[4]"]);
    // A batch from elsewhere has nothing to do with it.
    service.then_status(200);
    service.then_status(500);
    assert!(write(&mut sink, &numbers(5)).is_err());
    assert!(sink.write(&pack("orders", 90, &numbers(3)).batch()).unwrap().is_empty());
    assert!(write(&mut sink, &numbers(5)).unwrap().is_empty());
    assert_eq!(service.bodies()[6..], ["[0,1]", "[2]", "[0,1]", "[2,3]", "[4]"]);
    // Nor has one of a topic that was made anew.
    service.then_status(500);
    assert!(write(&mut sink, &numbers(3)).is_err());
    let other = ["no", "json", "1"].map(Record::value);
    assert_eq!(positions(&write(&mut sink, &other).unwrap()), [0, 1]);
}

#[test]
fn a_record_that_the_service_refuses_is_found_by_halves() {
    let service = Service::default();
    for _ in 0..20 {
        service.then(|request| {
            let has_five = serde_json::from_slice::<Vec<u32>>(&request.body).unwrap().contains(&5);
            Ok(Response {
                status: if has_five { 422 } else { 201 },
                body: b"no fives".to_vec(),
                ..Response::default()
            })
        });
    }
    let rejected = write(&mut service.sink(json!({})), &numbers(8)).unwrap();
    assert_eq!(positions(&rejected), [5]);
    assert_eq!(rejected.iter().next().unwrap().1, "http://127.0.0.1:8080 answered 422: no fives");
    let delivered: Vec<String> = service.bodies().into_iter().filter(|body| !body.contains('5')).collect();
    assert_eq!(delivered, ["[0,1,2,3]", "[4]", "[6,7]"]);
}

#[test]
fn halves_that_were_delivered_stay_delivered() {
    let service = Service::default();
    let mut sink = service.sink(json!({}));
    for status in [400, 200, 503] {
        service.then_status(status);
    }
    assert!(write(&mut sink, &numbers(4)).is_err());
    assert!(write(&mut sink, &numbers(4)).unwrap().is_empty());
    assert_eq!(service.bodies(), ["[0,1,2,3]", "[0,1]", "[2,3]", "[2,3]"]);
}

#[test]
fn statuses_that_are_retried_can_be_chosen() {
    let service = Service::default();
    let mut sink = service.sink(json!({"retry_statuses": [409]}));
    service.then_status(409);
    assert!(matches!(write(&mut sink, &numbers(1)), Err(Error::Retry { .. })));
    service.then_status(404);
    assert_eq!(positions(&write(&mut sink, &numbers(1)).unwrap()), [0]);
    let service = Service::default();
    let mut sink = service.sink(json!({"reject_statuses": [500, 302, 404]}));
    for status in [500, 302, 404] {
        service.then_status(status);
        assert_eq!(positions(&write(&mut sink, &numbers(1)).unwrap()), [0], "{status}");
    }
    service.then_status(503);
    assert!(matches!(write(&mut sink, &numbers(1)), Err(Error::Retry { .. })));
}

#[test]
fn only_what_may_be_in_a_record_is_blamed_on_it() {
    let service = Service::default();
    let mut sink = service.sink(json!({}));
    for status in [400, 409, 413, 422] {
        service.then_status(status);
        assert_eq!(positions(&write(&mut sink, &numbers(1)).unwrap()), [0], "{status}");
    }
    let systemic = [
        301, 302, 303, 304, 307, 308, 401, 402, 403, 404, 405, 407, 408, 410, 414, 415, 421, 425, 429, 500,
        501, 502, 503, 504, 599,
    ];
    for status in systemic {
        service.then_status(status);
        let written = write(&mut sink, &numbers(1));
        assert!(matches!(written, Err(Error::Retry { .. })), "{status} {written:?}");
        assert!(write(&mut sink, &numbers(1)).unwrap().is_empty());
    }
}

#[test]
fn a_service_that_refuses_everything_alike_is_tried_again() {
    for (format, first) in [("json", "[0,1,2,3,4,5,6,7]"), ("single", "0")] {
        let service = Service::default();
        let mut sink = service.sink(json!({"format": format}));
        service.always(400);
        for _ in 0..2 {
            let before = service.bodies().len();
            let error = write(&mut sink, &numbers(8)).unwrap_err();
            assert_eq!(error, Error::retry("http://127.0.0.1:8080 answered 400 (to 8 records of 8)"));
            assert_eq!(service.bodies()[before], first);
        }
        service.always(200);
        assert!(write(&mut sink, &numbers(8)).unwrap().is_empty());

        // Fewer: that is about the records.
        service.always(400);
        assert_eq!(write(&mut sink, &numbers(7)).unwrap().len(), 7);
        let mut sink = service.sink(json!({"format": format, "all_refused": "reject"}));
        assert_eq!(write(&mut sink, &numbers(8)).unwrap().len(), 8);
    }
    // One that is refused for another reason, or taken, shows that the service looks at them.
    for (status, rejected) in [(422, 8), (200, 7)] {
        let service = Service::default();
        for _ in 0..15 {
            service.then(move |request| {
                let is_seven = request.body == b"[7]";
                Ok(Response { status: if is_seven { status } else { 400 }, ..Response::default() })
            });
        }
        assert_eq!(write(&mut service.sink(json!({})), &numbers(8)).unwrap().len(), rejected, "{status}");
    }
}

#[test]
fn a_call_ends_in_time_and_the_next_goes_on_from_there() {
    let service = Service { takes: Duration::from_secs(6), ..Service::default() };
    let mut sink = service.sink(json!({"format": "single"}));
    for left in ["3 of 5", "1 of 5"] {
        let begun = service.now();
        let error = write(&mut sink, &numbers(5)).unwrap_err();
        let Error::Retry { reason, after: Some(Duration::ZERO) } = &error else { panic!("{error:?}") };
        assert_eq!(*reason, format!("http://127.0.0.1:8080 is slow: {left} records are left"));
        assert!(service.now() - begun < Duration::from_secs(20), "twice the timeout");
    }
    assert!(write(&mut sink, &numbers(5)).unwrap().is_empty());
    assert_eq!(service.bodies(), ["0", "1", "2", "3", "4"]);
    assert!(service.seen.lock().unwrap().iter().all(|request| request.timeout == Duration::from_secs(10)));
}

#[test]
fn halves_that_are_refused_slowly_are_not_sent_twice() {
    let service = Service { takes: Duration::from_secs(6), ..Service::default() };
    let mut sink = service.sink(json!({}));
    service.always(422);
    let rejected = loop {
        match write(&mut sink, &numbers(4)) {
            Ok(rejected) => break rejected,
            Err(error) => assert!(matches!(error, Error::Retry { .. })),
        }
        assert!(service.bodies().len() < 8);
    };
    assert_eq!(positions(&rejected), [0, 1, 2, 3]);
    assert_eq!(service.bodies(), ["[0,1,2,3]", "[0,1]", "[0]", "[1]", "[2,3]", "[2]", "[3]"]);
}

#[test]
fn records_that_are_no_json_are_rejected_and_the_rest_is_sent() {
    let service = Service::default();
    let records = [Record::value("1"), Record::value("nope"), Record::tombstone("k"), Record::value("2")];
    let rejected = write(&mut service.sink(json!({"tombstones": "reject"})), &records).unwrap();
    assert_eq!(positions(&rejected), [1, 2]);
    assert_eq!(service.bodies(), ["[1,2]"]);
}

#[test]
fn an_origin_that_is_not_granted_is_a_mistake_in_the_file() {
    let service = Service::default();
    service.then(|_| Err(NoAnswer::Denied));
    let error = write(&mut service.sink(json!({})), &numbers(1)).unwrap_err();
    assert!(matches!(&error, Error::Fatal(reason) if reason.contains("grant.http")), "{error}");
}

#[test]
fn mistakes_are_told_at_once() {
    for (config, told) in [
        (json!({"url": "ftp://a"}), "http://"),
        (json!({"url": "http://user:pw@a/"}), "bearer"),
        (json!({"url": "http:///x"}), "host"),
        (json!({"url": "http://a/b c"}), "%20"),
        (json!({"url": "http://a", "headers": {"a b": "c"}}), "a b"),
        (json!({"url": "http://a", "bearer": "a\nb"}), "bearer"),
        (json!({"url": "http://a", "batch": {"records": 0}}), "records"),
        (json!({"url": "http://a", "timeout": 0}), "timeout"),
        (json!({"url": "http://a", "retry_statuses": [200]}), "200"),
        (json!({"url": "http://a", "reject_statuses": [600]}), "600"),
    ] {
        let Err(error) = HttpSink::over(&config.to_string(), Box::<Service>::default()) else {
            panic!("{config}")
        };
        assert!(matches!(&error, Error::Fatal(reason) if reason.contains(told)), "{error}");
    }
}
