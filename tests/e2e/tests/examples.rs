//! Every example of docs/examples does what it says: it passes `flumen check`, and it runs as it is
//! written, but for addresses. What has an end runs to it; what has none is fed with kcat.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use flumen_harness::clients::{feed, kcat};
use flumen_harness::http::Service;
use flumen_harness::postgres::Postgres;
use flumen_harness::process::Process;
use flumen_harness::{Flumen, sqlite, tools, wait};

/// Where the examples' HTTP service listens.
const SERVICE: &str = "127.0.0.1:8099";

fn examples() -> PathBuf {
    tools::root().join("docs/examples")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the example").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file of the example");
        }
    }
}

/// A copy of one example, at addresses of its own.
struct Example {
    flumen: Flumen,
    /// Of its PostgreSQL server.
    database_url: Option<String>,
    running: Option<Process>,
}

impl Example {
    fn of(name: &str) -> Example {
        let example = Example { flumen: Flumen::prepare(""), database_url: None, running: None };
        copy(&examples().join(name), &example.path(""));
        fs::create_dir_all(example.path("inbox")).expect("the inbox");
        example
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.flumen.path("example").join(relative)
    }

    /// Sends what the example sends to its service to this one.
    fn serve_at(&self, service: &Service) {
        let text = fs::read_to_string(self.path("flumen.toml")).expect("the file");
        assert!(text.contains(SERVICE), "the example's service has moved");
        let text = text.replace(SERVICE, &service.address().to_string());
        fs::write(self.path("flumen.toml"), text).expect("the file");
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.flumen.command(words);
        command
            .args(["--config", "example/flumen.toml"])
            .env("FLUMEN_BROKER_LISTENERS", format!("PLAINTEXT://{}", self.flumen.bootstrap()))
            .env("FLUMEN_BROKER_HTTP_ADDRESS", self.flumen.http_url("").replace("http://", ""))
            .env("FLUMEN_BROKER_PLUGIN_CACHE_DIR", tools::target().join("plugin-cache"))
            .env("PGPASSWORD", "secret");
        if let Some(url) = &self.database_url {
            command.env("FLUMEN_DATABASES_CRM_URL", url);
        }
        command
    }

    /// `flumen run --until-done`, which rejects nothing.
    fn run_to_its_end(&self) {
        let mut command = self.command(&["run", "--until-done", "--json"]);
        let said = flumen_harness::process::stdout("flumen run --until-done", &mut command);
        let summary: serde_json::Value = serde_json::from_str(said.trim()).expect("a JSON summary");
        assert_eq!(summary["rejected"], 0, "{summary}");
    }

    fn up(&mut self) {
        let log = self.flumen.path("example.log");
        self.running = Some(Process::start("flumen run", self.command(&["run"]), &log));
        wait::until("the broker to listen", || {
            TcpStream::connect(self.flumen.bootstrap()).map(drop).map_err(|error| error.to_string())
        });
    }

    /// A graceful stop.
    fn down(mut self) {
        let mut running = self.running.take().expect("it runs");
        running.signal("TERM");
        assert_eq!(running.wait_within(wait::PATIENCE).code(), Some(0));
    }

    /// The example's file into a topic, a record a line.
    fn produce(&self, topic: &str, file: &str) {
        let lines = fs::read(self.path(file)).expect("the example's records");
        let mut produce = kcat(&["-P", "-b", &self.flumen.bootstrap(), "-t", topic, "-X", "acks=all"]);
        feed("kcat", &mut produce, &lines);
    }

    /// All values of a topic, when there are so many.
    fn values(&self, topic: &str, count: usize) -> BTreeSet<String> {
        wait::until(&format!("{count} records in {topic}"), || {
            let bootstrap = self.flumen.bootstrap();
            let mut consume = kcat(&["-C", "-b", &bootstrap, "-t", topic, "-o", "beginning", "-e", "-q"]);
            let output = consume.output().map_err(|error| error.to_string())?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let values: BTreeSet<String> = said.lines().map(str::to_owned).collect();
            if values.len() == count { Ok(values) } else { Err(said) }
        })
    }

    fn rows(&self, query: &str) -> Vec<String> {
        let rows = sqlite::rows(&self.path("warehouse.db"), query).expect("the rows");
        rows.into_iter().map(|row| row.join("|")).collect()
    }
}

#[test]
fn every_example_is_valid() {
    let mut seen = 0;
    for entry in fs::read_dir(examples()).expect("docs/examples").flatten() {
        if !entry.path().join("flumen.toml").exists() {
            continue;
        }
        let example = Example::of(&entry.file_name().to_string_lossy());
        let mut check = example.command(&["check"]);
        // Nothing listens: the example's own listeners stay, which others of its keys name.
        check.env_remove("FLUMEN_BROKER_LISTENERS");
        let output = check.output().expect("flumen check");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{said}", entry.path().display());
        seen += 1;
    }
    // Each of them has a test below, but the secured one, which broker/app/tests/secured.rs runs.
    assert_eq!(seen, 8, "an example has come or gone");
}

#[test]
fn csv_to_sqlite_imports_its_inbox() {
    let example = Example::of("csv-to-sqlite");
    example.run_to_its_end();
    let expected = ["Ada|129.5", "Grace|75", "Edsger|310.25", "Barbara|99.9", "Donald|1024"];
    assert_eq!(example.rows("select customer, amount from orders order by order_id"), expected);
}

#[test]
fn everything_joins_orders_and_returns() {
    let example = Example::of("everything");
    example.run_to_its_end();
    let rows = example.rows("select order_id, customer, reason from orders order by order_id");
    assert_eq!(rows, ["1|Ada|too small", "3|Edsger|too blue"]);
}

#[test]
fn demo_fills_a_table_and_a_service() {
    let (example, service) = (Example::of("demo"), Service::start());
    example.serve_at(&service);
    let orders =
        "order_id,customer,city,quantity,amount,note\n1,Ada,Basel,2,129.50,\n2,Grace,Bern,1,75.00,\n";
    fs::write(example.path("inbox/orders.csv"), orders).expect("its input");
    example.run_to_its_end();
    assert_eq!(example.rows("select order_id, quantity from orders"), ["1|2"]);
    let posted: Vec<_> = service.accepted().iter().map(|record| record["customer"].clone()).collect();
    assert_eq!(posted, ["Ada"]);
}

#[test]
fn csv_to_postgres_keeps_a_table_up_to_date() {
    let (mut example, postgres) = (Example::of("csv-to-postgres"), Postgres::start());
    example.database_url = Some(postgres.url());
    example.run_to_its_end();
    let rows = || postgres.query("select id, name, city from customers order by id").expect("the rows");
    let before = rows();
    assert!(before.iter().any(|row| row == "1|Ada|Basel"), "{before:?}");
    fs::write(example.path("inbox/moved.csv"), "id,name,city\n1,Ada,Chur\n").expect("more input");
    example.run_to_its_end();
    let after: Vec<String> = before.iter().map(|row| row.replace("1|Ada|Basel", "1|Ada|Chur")).collect();
    assert_eq!(rows(), after);
}

#[test]
fn transform_keeps_changes_and_divides() {
    let mut example = Example::of("transform");
    example.up();
    example.produce("readings", "readings.jsonl");
    let warm = example.values("warm", 2);
    assert!(
        warm.iter().all(|value| value.contains("\"temperature\"") && value.contains("\"unit\":\"C\"")),
        "{warm:?}"
    );
    let below = example.values("below-ground", 1);
    assert!(below.iter().all(|value| value.contains("cellar")), "{below:?}");
    example.values("above-ground", 2);
    example.down();
}

#[test]
fn topic_to_http_posts_each_record() {
    let (mut example, service) = (Example::of("topic-to-http"), Service::start());
    example.serve_at(&service);
    example.up();
    example.produce("events", "events.jsonl");
    let sent = fs::read_to_string(example.path("events.jsonl")).expect("the records").lines().count();
    wait::until("the requests", || match service.accepted().len() {
        n if n == sent => Ok(()),
        n => Err(n.to_string()),
    });
    example.down();
    assert_eq!(service.accepted().len(), sent);
}

#[test]
fn broker_only_serves_clients() {
    let mut example = Example::of("broker-only");
    example.up();
    feed(
        "kcat",
        &mut kcat(&["-P", "-b", &example.flumen.bootstrap(), "-t", "any", "-X", "acks=all"]),
        b"x\n",
    );
    assert_eq!(example.values("any", 1), BTreeSet::from(["x".to_owned()]));
    example.down();
}
