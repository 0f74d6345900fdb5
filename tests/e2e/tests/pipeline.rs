//! The main job: a file through a plugin and the log into databases and an HTTP service, while any
//! Kafka client reads along.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use flumen_harness::clients::{feed, kcat, python};
use flumen_harness::http::{Answer, Service};
use flumen_harness::postgres::Postgres;
use flumen_harness::{Flumen, sqlite, wait};

const ROWS: usize = 5_000;

fn orders(rows: usize) -> String {
    let mut csv = String::from("order_id,city,amount\n");
    for id in 0..rows {
        writeln!(csv, "{id},\"Basel, \"\"old\"\" town\",{}", id % 200).expect("a string takes it");
    }
    csv
}

fn whole_path(service: &Service) -> String {
    format!(
        r#"
[databases.warehouse]
url = "sqlite:warehouse.db"

[sources.orders-csv]
plugin = "file-source"
topic = "orders"
config = {{ paths = ["inbox/*.csv"], format = "csv", key = "order_id", types = {{ order_id = "int", amount = "float" }} }}
grant.files = {{ "inbox" = "read" }}

[transforms.big-orders]
plugin = "json-filter"
from = "orders"
to = "big-orders"
config = {{ where = "amount >= 100.0" }}

[sinks.orders-db]
plugin = "db-sink"
from = ["big-orders"]
config = {{ database = "warehouse", table = "orders", mode = "insert" }}
grant.databases = ["warehouse"]

[sinks.orders-http]
plugin = "http-sink"
from = ["big-orders"]
config = {{ url = "{}", format = "ndjson" }}
grant.http = ["http://{}"]
"#,
        service.url("/orders"),
        service.address()
    )
}

fn inbox(flumen: &Flumen, name: &str, text: &str) {
    std::fs::create_dir_all(flumen.path("inbox")).expect("the inbox");
    std::fs::write(flumen.path("inbox").join(name), text).expect("an input file");
}

#[test]
fn a_csv_file_arrives_in_sqlite_and_over_http_and_the_run_ends() {
    let service = Service::start();
    let mut flumen = Flumen::prepare(&whole_path(&service));
    inbox(&flumen, "orders.csv", &orders(ROWS));
    let summary: serde_json::Value =
        serde_json::from_str(flumen.cli(&["run", "--until-done", "--json"]).trim()).expect("a JSON summary");
    assert_eq!(summary["rejected"], 0, "{summary}");

    let database = flumen.path("warehouse.db");
    let count = |query: &str| sqlite::number(&database, query).expect("an answer");
    assert_eq!(count("select count(*) from orders"), ROWS as i64 / 2);
    assert_eq!(count("select count(distinct order_id) from orders"), ROWS as i64 / 2);
    assert_eq!(count("select count(*) from orders where city <> 'Basel, \"old\" town'"), 0);
    let posted: BTreeSet<String> = service.accepted().iter().map(|r| r["order_id"].to_string()).collect();
    assert_eq!((posted.len(), service.accepted().len()), (ROWS / 2, ROWS / 2));

    // Done means done: a second run finds nothing to do.
    flumen.cli(&["run", "--until-done"]);
    assert_eq!(count("select count(*) from orders"), ROWS as i64 / 2);

    // And a Kafka client reads what is in between.
    flumen.up();
    let consume = include_str!("../scripts/consume.py");
    let said = python("read along", consume, &["kafka-python", &flumen.bootstrap(), "big-orders", "2500"]);
    assert_eq!(said.lines().count(), ROWS / 2);
    assert_eq!(flumen.stop(), Some(0));
}

#[test]
fn rows_that_cannot_be_read_are_parked_and_the_exit_code_says_so() {
    let service = Service::start();
    let flumen = Flumen::prepare(&whole_path(&service));
    inbox(&flumen, "orders.csv", "order_id,city,amount\n1,Basel,150\n2,Bern\n3,Chur,170\n");
    let output = flumen.command(&["run", "--until-done", "--json"]).output().expect("it runs");
    assert!(!output.status.success(), "a rejected row must show in the exit code");
    let said = String::from_utf8_lossy(&output.stdout);
    let summary: serde_json::Value = serde_json::from_str(said.trim()).unwrap_or_else(|e| {
        panic!("{e}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
    });
    assert_eq!(summary["rejected"], 1, "{summary}");
    assert_eq!(sqlite::number(&flumen.path("warehouse.db"), "select count(*) from orders"), Ok(2));
}

fn produce(flumen: &Flumen, topic: &str, lines: &str) {
    let broker = flumen.bootstrap();
    feed(
        "kcat",
        &mut kcat(&["-P", "-b", &broker, "-t", topic, "-K", "|", "-Z", "-X", "acks=all"]),
        lines.as_bytes(),
    );
}

#[test]
fn postgres_is_upserted_deleted_from_and_survives_an_outage() {
    let mut postgres = Postgres::start();
    let flumen = Flumen::start(&format!(
        r#"
[databases.pg]
url = "{}"

[topics.customers]
partitions = 1

[sinks.customers-db]
plugin = "db-sink"
from = ["customers"]
config = {{ database = "pg", table = "customers", mode = "upsert", key = ["id"] }}
grant.databases = ["pg"]
"#,
        postgres.url()
    ));
    produce(
        &flumen,
        "customers",
        "{\"id\":1}|{\"id\":1,\"name\":\"Ada\"}\n{\"id\":2}|{\"id\":2,\"name\":\"Bob\"}\n",
    );
    let table = |postgres: &Postgres| postgres.query("select id, name from customers order by id");
    wait::until("two customers", || match table(&postgres) {
        Ok(rows) if rows == ["1|Ada", "2|Bob"] => Ok(()),
        other => Err(format!("{other:?}, {:?}", flumen.plugin("customers-db"))),
    });

    postgres.down();
    produce(&flumen, "customers", "{\"id\":2}|{\"id\":2,\"name\":\"Bea\",\"city\":\"Bern\"}\n{\"id\":1}|\n");
    wait::until("the outage to show", || {
        let plugin = flumen.plugin("customers-db")?;
        if plugin["state"] == "retrying" && plugin["reason"].is_string() {
            Ok(())
        } else {
            Err(plugin.to_string())
        }
    });
    postgres.up();
    wait::until("Bea, and Ada gone", || {
        match postgres.query("select id, name, city from customers order by id") {
            Ok(rows) if rows == ["2|Bea|Bern"] => Ok(()),
            other => Err(format!("{other:?}, {:?}", flumen.plugin("customers-db"))),
        }
    });
    let offsets =
        postgres.query("select count(*) from flumen_offsets").expect("the offsets are in the database");
    assert_eq!(offsets, ["1"]);
}

#[test]
fn an_http_service_that_is_busy_is_asked_again_and_nothing_is_lost() {
    let service = Service::start();
    let busy = Answer { status: 503, headers: vec![("retry-after".into(), "0".into())] };
    service.plan([busy.clone(), busy]);
    let flumen = Flumen::start(&format!(
        r#"
[sinks.post]
plugin = "http-sink"
from = ["events"]
config = {{ url = "{}", format = "json" }}
grant.http = ["http://{}"]
"#,
        service.url("/events"),
        service.address()
    ));
    let lines: String = (0..100).map(|i| format!("k{i}|{{\"n\":{i}}}\n")).collect();
    produce(&flumen, "events", &lines);
    let numbers = || service.accepted().iter().filter_map(|r| r["n"].as_i64()).collect::<Vec<_>>();
    wait::until("all records", || match numbers().len() {
        n if n >= 100 => Ok(()),
        n => Err(format!("{n}, {:?}", flumen.plugin("post"))),
    });
    assert_eq!(numbers(), (0..100).collect::<Vec<_>>());
    assert!(service.received().iter().any(|r| r.status == 503), "the busy answers were given");
    let keyed = service.received().iter().all(|r| r.header("idempotency-key").is_some());
    assert!(keyed, "each request carries an idempotency key");
}

#[test]
fn records_that_come_one_by_one_are_posted_together() {
    let service = Service::start();
    let flumen = Flumen::start(&format!(
        r#"
[topics.ticks]
partitions = 1

[sinks.post]
plugin = "http-sink"
from = ["ticks"]
config = {{ url = "{}", format = "json" }}
grant.http = ["http://{}"]
batch = {{ records = 10, linger = "60s" }}
"#,
        service.url("/ticks"),
        service.address()
    ));
    for n in 0..10 {
        produce(&flumen, "ticks", &format!("k|{{\"n\":{n}}}\n"));
    }
    wait::until("ten records", || match service.accepted().len() {
        10 => Ok(()),
        n => Err(format!("{n}, {:?}", flumen.plugin("post"))),
    });
    let requests: Vec<usize> = service.received().iter().map(|request| request.body.len()).collect();
    assert_eq!(requests.len(), 1, "ten records are one request: {requests:?}");
}
