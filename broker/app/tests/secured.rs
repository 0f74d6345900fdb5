//! The commands that speak Kafka against the broker of docs/examples/secured, and what they say when it
//! does not let them in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flumen_harness::clients::feed;
use flumen_harness::process::{Process, run, stdout};
use flumen_harness::{port, tools, wait};
use tempfile::TempDir;

/// What nobody but the files may say.
const SECRETS: [&str; 2] = ["change-me-please", "change-me-as-well"];

/// The example, running in a folder of its own at ports of its own.
struct Secured {
    _broker: Process,
    users: String,
    machines: String,
    dir: TempDir,
}

impl Secured {
    fn start() -> Secured {
        let dir = tempfile::tempdir().expect("a folder");
        copy(&tools::root().join("docs/examples/secured"), dir.path());
        run("certificates", Command::new("bash").arg(dir.path().join("tls/make")).arg("billing"));
        let [local, users, machines] = [port::free(), port::free(), port::free()];
        let listeners = |host: &str| {
            format!("LOCAL://{host}:{local},USERS://{host}:{users},MACHINES://{host}:{machines}")
        };
        let mut command = flumen(dir.path(), &["run"]);
        command
            .env("FLUMEN_BROKER_LISTENERS", listeners("127.0.0.1"))
            .env("FLUMEN_BROKER_ADVERTISED_LISTENERS", listeners("localhost"))
            .env("FLUMEN_BROKER_HTTP", format!("127.0.0.1:{}", port::free()));
        let mut broker = Process::start("flumen", command, &dir.path().join("flumen.log"));
        wait::until("the broker to listen", || {
            assert!(broker.exited().is_none(), "{}", broker.tail());
            std::net::TcpStream::connect(("127.0.0.1", machines)).map(drop).map_err(|error| error.to_string())
        });
        let at = |port: u16| format!("localhost:{port}");
        Secured { _broker: broker, users: at(users), machines: at(machines), dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `flumen <words>` at this listener, with this client's file.
    fn command(&self, bootstrap: &str, file: &str, words: &str) -> Command {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = flumen(self.dir.path(), &words);
        command.args(["--bootstrap", bootstrap, "--command-config", file, "--timeout", "20s"]);
        command
    }

    fn refused(&self, bootstrap: &str, file: &str) -> (i32, String) {
        let output = self.command(bootstrap, file, "topic list").output().expect("it runs");
        let said = words(&output);
        for secret in SECRETS {
            assert!(!said.contains(secret), "{said}");
        }
        (output.status.code().expect("an exit code"), said)
    }

    /// A copy of a client's file, with something else in it.
    fn changed(&self, from: &str, what: &str, to: &str) -> String {
        let text = fs::read_to_string(self.path(from)).expect("the file");
        assert!(text.contains(what), "{text}");
        fs::write(self.path("changed.properties"), text.replace(what, to)).expect("a file");
        "changed.properties".into()
    }
}

fn flumen(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flumen"));
    command.args(words).current_dir(dir).env("RUST_LOG", "debug");
    command
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the example").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a file of the example")),
        }
    }
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn users_and_machines_are_let_in_and_each_may_do_what_is_theirs() {
    let secured = Secured::start();
    let at = |file, words| secured.command(&secured.users, file, words);
    let (admin, shop) = ("clients/admin.properties", "clients/shop.properties");
    stdout("topic create", &mut at(admin, "topic create orders.eu -p 2"));
    feed("produce", &mut at(shop, "produce orders.eu"), b"1\n2\n3\n");
    assert_eq!(stdout("consume", &mut at(admin, "consume orders.eu -g g -e")).lines().count(), 3);
    assert!(stdout("group list", &mut at(admin, "group list")).contains('g'));
    stdout("txn list", &mut at(admin, "txn list"));
    stdout("dlq list", &mut at(admin, "dlq list"));

    let denied = at(shop, "consume orders.eu -e").output().expect("it runs");
    assert!(words(&denied).contains("TOPIC_AUTHORIZATION_FAILED"), "{}", words(&denied));

    let billing = "security.protocol = SSL\nssl.ca.location = tls/ca.pem\n\
                   ssl.certificate.location = tls/billing.pem\nssl.key.location = tls/billing.key\n";
    fs::write(secured.path("billing.properties"), billing).expect("a file");
    let read = |file: &str| {
        let words = "consume orders.eu -g billing -e";
        stdout("consume by certificate", &mut secured.command(&secured.machines, file, words)).lines().count()
    };
    assert_eq!(read("billing.properties"), 3);
    // Java's way: both in one file.
    let both = [fs::read(secured.path("tls/billing.key")), fs::read(secured.path("tls/billing.pem"))];
    fs::write(secured.path("tls/both.pem"), both.map(Result::unwrap).concat()).expect("a file");
    let java = "security.protocol = SSL\nssl.truststore.location = tls/ca.pem\n\
                ssl.keystore.type = PEM\nssl.keystore.location = tls/both.pem\n";
    fs::write(secured.path("java.properties"), java).expect("a file");
    assert_eq!(read("java.properties"), 0, "the group has read all of it");

    let log = fs::read_to_string(secured.path("flumen.log")).expect("the log");
    assert!(SECRETS.iter().all(|secret| !log.contains(secret)), "no password is logged");
}

#[test]
fn who_is_not_let_in_is_told_why_and_what_to_do() {
    let secured = Secured::start();
    let shop = "clients/shop.properties";
    let wrong = secured.changed(shop, "change-me-as-well", "wrong");
    let (code, said) = secured.refused(&secured.users, &wrong);
    assert!(code == 1 && said.contains("did not let user \"shop\" in by SCRAM-SHA-512"), "{said}");
    assert!(said.contains("SASL_AUTHENTICATION_FAILED") && said.contains("try: "), "{said}");

    let (code, said) = secured.refused(&secured.machines, shop);
    assert!(code == 1 && said.contains("this listener asks for no user"), "{said}");
    let other = secured.changed(shop, "SCRAM-SHA-512", "SCRAM-SHA-256");
    stdout("topic list", &mut secured.command(&secured.users, &other, "topic list"));
    let plain = secured.changed(shop, "SASL_SSL", "SASL_PLAINTEXT");
    let (code, said) = secured.refused(&secured.users, &plain);
    assert!(code == 4 && said.contains("--command-config"), "a listener with TLS: {said}");

    let unknown = secured.changed(shop, "ssl.truststore.location = tls/ca.pem", "");
    let (code, said) = secured.refused(&secured.users, &unknown);
    assert!(code == 1 && said.contains("UnknownIssuer"), "an authority that is not believed: {said}");
    let lost = secured.changed(shop, "tls/ca.pem", "tls/none.pem");
    let (code, said) = secured.refused(&secured.users, &lost);
    assert!(code == 2 && said.contains("changed.properties:4") && said.contains("tls/none.pem"), "{said}");
}

#[test]
fn a_user_of_a_hash_is_let_in_by_its_password() {
    for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let dir = tempfile::tempdir().expect("a folder");
        let mut hash = flumen(dir.path(), &["user", "hash", "--mechanism", mechanism]);
        let line = feed("flumen user hash", &mut hash, b"tr\xc3\xa4umer = 1\n");
        assert!(line.starts_with(&format!("{mechanism} = \"salt=")), "{line}");
        let listener = port::free();
        let config = format!(
            "[broker]\ndata.dir = \"data\"\nlisteners = [\"SASL_PLAINTEXT://127.0.0.1:{listener}\"]\n\
             sasl.enabled.mechanisms = [\"{mechanism}\"]\n[users.dreamer]\n{line}"
        );
        fs::write(dir.path().join("flumen.toml"), config).expect("a file");
        let properties = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\n\
             sasl.username=dreamer\nsasl.password=tr\u{e4}umer \\= 1\n"
        );
        fs::write(dir.path().join("client.properties"), properties).expect("a file");
        let mut command = flumen(dir.path(), &["run"]);
        command.env("FLUMEN_BROKER_HTTP", format!("127.0.0.1:{}", port::free()));
        let _broker = Process::start("flumen", command, &dir.path().join("flumen.log"));
        let bootstrap = format!("127.0.0.1:{listener}");
        wait::until("the user to be let in", || {
            let list = ["topic", "list", "-b", &bootstrap, "--command-config", "client.properties"];
            let output = flumen(dir.path(), &list).output().map_err(|error| error.to_string())?;
            if output.status.success() { Ok(()) } else { Err(words(&output)) }
        });
    }
}

#[test]
fn no_password_is_no_hash() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut hash = flumen(dir.path(), &["user", "hash", "--json"]);
    let output = hash.stdin(Stdio::null()).output().expect("it runs");
    assert!(output.status.code() == Some(1) && words(&output).contains("the password is empty"));
}
