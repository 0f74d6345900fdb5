//! Users, certificates and rules, as the clients and tools that people already use see them.

use std::fs;
use std::process::Command;

use flumen_harness::clients::{java, python};
use flumen_harness::process::{run, stdout};
use flumen_harness::{Flumen, port, tools, wait};
use serde_json::json;

const SECURED: &str = include_str!("../scripts/secured.py");
const ACLS: &str = "org.apache.kafka.tools.AclCommand";
const CONFIGS: &str = "kafka.admin.ConfigCommand";

/// A broker with a listener of each protocol, and certificates of an authority of its own.
struct Secured {
    flumen: Flumen,
    sasl: u16,
    ssl: u16,
    sasl_ssl: u16,
}

impl Secured {
    fn start() -> Secured {
        let flumen = Flumen::prepare("");
        let secured = Secured { flumen, sasl: port::free(), ssl: port::free(), sasl_ssl: port::free() };
        let tls = secured.flumen.path("tls");
        fs::create_dir(&tls).expect("a folder");
        fs::copy(tools::root().join("docs/examples/secured/tls/make"), tls.join("make")).expect("the script");
        run("certificates", Command::new("bash").arg(tls.join("make")).arg("Alice"));
        secured.write("");
        let mut secured = secured;
        secured.flumen.up();
        secured
    }

    /// flumen.toml, with further tables behind.
    fn write(&self, tables: &str) {
        let Secured { flumen, sasl, ssl, sasl_ssl } = self;
        let http = flumen.http_url("").replace("http://", "");
        let text = format!(
            r#"[broker]
data.dir = "data"
http = "{http}"
listeners = ["PLAINTEXT://{}", "SASL_PLAINTEXT://127.0.0.1:{sasl}", "SSL://127.0.0.1:{ssl}", "SASL_SSL://127.0.0.1:{sasl_ssl}"]
group.initial.rebalance.delay.ms = 100
ssl.keystore.location = "tls/broker.pem"
ssl.key.location = "tls/broker.key"
ssl.truststore.location = "tls/ca.pem"
ssl.client.auth = "requested"
ssl.principal.mapping.rules = "RULE:^CN=(.*?),.*$/$1/L,DEFAULT"
sasl.enabled.mechanisms = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
authorizer.class.name = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
super.users = "User:admin"

[users.admin]
password = "admin-secret"

[users.alice]
password = "alice-secret"

[[acls]]
principal = "User:alice"
operation = ["Read", "Write", "Create"]
topic = "alices-"
resource.pattern.type = "prefixed"

[[acls]]
principal = "User:alice"
operation = "Read"
group = "alices-"
resource.pattern.type = "prefixed"
{tables}"#,
            flumen.bootstrap()
        );
        let fresh = flumen.path("flumen.toml.new");
        fs::write(&fresh, text).expect("the configuration is written");
        fs::rename(fresh, flumen.config()).expect("the configuration is put in place");
    }

    fn file(&self, name: &str) -> String {
        self.flumen.path(name).display().to_string()
    }

    fn as_user(&self, port: u16, protocol: &str, mechanism: &str, user: &str) -> serde_json::Value {
        json!({
            "bootstrap": format!("127.0.0.1:{port}"), "protocol": protocol, "mechanism": mechanism,
            "user": user, "password": format!("{user}-secret"), "ca": self.file("tls/ca.pem"),
        })
    }

    /// A properties file for Java's tools.
    fn properties(&self, user: &str) -> String {
        let login = "org.apache.kafka.common.security.scram.ScramLoginModule";
        let path = self.file(&format!("{user}.properties"));
        let text = format!(
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n\
             ssl.truststore.location={}\n\
             sasl.jaas.config={login} required username=\"{user}\" password=\"{user}-secret\";\n",
            self.file("tls/ca.pem")
        );
        fs::write(&path, text).expect("the properties are written");
        path
    }

    /// One of Java's tools, as a user.
    fn tool(&self, class: &str, user: &str, args: &[&str]) -> Command {
        let (bootstrap, properties) = (format!("127.0.0.1:{}", self.sasl_ssl), self.properties(user));
        let common = ["--bootstrap-server", &bootstrap, "--command-config", &properties];
        java(class, &[&common, args].concat())
    }
}

fn client(client: &str, settings: &serde_json::Value, topic: &str, group: &str) -> String {
    python(client, SECURED, &[client, &settings.to_string(), topic, group, "20"]).trim().to_string()
}

#[test]
fn every_mechanism_lets_real_clients_in_over_both_transports() {
    let secured = Secured::start();
    for name in ["confluent", "kafka-python"] {
        for (port, protocol) in [(secured.sasl, "SASL_PLAINTEXT"), (secured.sasl_ssl, "SASL_SSL")] {
            for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
                let alice = secured.as_user(port, protocol, mechanism, "alice");
                let topic = format!("alices-{name}-{protocol}-{mechanism}");
                let said = client(name, &alice, &topic, &topic);
                assert_eq!(said, "read 20", "{name}, {protocol}, {mechanism}");
            }
        }
    }
    assert!(!secured.flumen.log().contains("alice-secret"), "no password is logged");
}

#[test]
fn a_wrong_password_is_told_and_counted() {
    let secured = Secured::start();
    for (name, expected) in [("confluent", "_AUTHENTICATION"), ("kafka-python", "KafkaTimeoutError")] {
        let mut alice = secured.as_user(secured.sasl, "SASL_PLAINTEXT", "SCRAM-SHA-256", "alice");
        alice["password"] = "wrong-password".into();
        let said = client(name, &alice, "alices-topic", "alices-group");
        assert!(said.contains(expected), "{name} said {said}");
    }
    let log = secured.flumen.log();
    assert!(log.contains("a wrong password") && !log.contains("wrong-password"), "{log}");
}

#[test]
fn a_certificate_is_a_user_and_without_one_nobody_gets_far() {
    let secured = Secured::start();
    for name in ["confluent", "kafka-python"] {
        let mut settings = json!({
            "bootstrap": format!("127.0.0.1:{}", secured.ssl), "protocol": "SSL", "ca": secured.file("tls/ca.pem"),
        });
        let said = client(name, &settings, "alices-mtls", "alices-mtls");
        assert!(
            said.to_uppercase().replace('_', "").contains("TOPICAUTHORIZATIONFAILED"),
            "{name} said {said}"
        );
        settings["certificate"] = secured.file("tls/Alice.pem").into();
        settings["key"] = secured.file("tls/Alice.key").into();
        let topic = format!("alices-mtls-{name}");
        assert_eq!(client(name, &settings, &topic, &topic), "read 20", "{name}");
    }
}

#[test]
fn rules_of_kafka_acls_allow_and_deny() {
    let secured = Secured::start();
    let alice = secured.as_user(secured.sasl, "SASL_PLAINTEXT", "SCRAM-SHA-512", "alice");
    assert_eq!(client("confluent", &alice, "orders", "shared"), "TOPIC_AUTHORIZATION_FAILED");
    let add = |args: &[&str]| {
        let common = ["--add", "--allow-principal", "User:alice"];
        stdout("kafka-acls --add", &mut secured.tool(ACLS, "admin", &[&common, args].concat()));
    };
    add(&["--producer", "--topic", "orders"]);
    add(&["--operation", "Read", "--topic", "orders"]);
    assert_eq!(client("confluent", &alice, "orders", "shared"), "GROUP_AUTHORIZATION_FAILED");
    add(&["--operation", "Read", "--group", "shared"]);
    assert_eq!(client("confluent", &alice, "orders", "shared"), "read 20");

    let listed = stdout("kafka-acls --list", &mut secured.tool(ACLS, "admin", &["--list"]));
    for expected in
        ["name=orders, patternType=LITERAL", "name=alices-, patternType=PREFIXED", "operation=WRITE"]
    {
        assert!(listed.contains(expected), "{expected} is missing:\n{listed}");
    }
    let deny = ["--add", "--deny-principal", "User:alice", "--operation", "Write", "--topic", "*"];
    stdout("kafka-acls --deny", &mut secured.tool(ACLS, "admin", &deny));
    assert_eq!(client("confluent", &alice, "alices-own", "alices-own"), "TOPIC_AUTHORIZATION_FAILED");

    let refused = secured.tool(ACLS, "alice", &["--list"]).output().expect("kafka-acls runs");
    let said = String::from_utf8_lossy(&refused.stderr) + String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("Cluster authorization failed"), "{said}");
}

#[test]
fn users_come_by_kafka_configs_and_by_the_file() {
    let secured = Secured::start();
    let keys = "SCRAM-SHA-256=[iterations=8192,password=carol-secret],SCRAM-SHA-512=[password=carol-secret]";
    // Two mechanisms of one user are two requests.
    for key in keys.split("],").map(|key| format!("{}]", key.trim_end_matches(']'))) {
        let alter = ["--alter", "--add-config", &key, "--entity-type", "users", "--entity-name", "carol"];
        stdout("kafka-configs", &mut secured.tool(CONFIGS, "admin", &alter));
    }
    let allow = ["--add", "--allow-principal", "User:carol", "--allow-principal", "User:dave"];
    let allow = [&allow[..], &["--operation", "All", "--topic", "*", "--group", "*"]].concat();
    stdout("kafka-acls", &mut secured.tool(ACLS, "admin", &allow));
    let user = |name| secured.as_user(secured.sasl_ssl, "SASL_SSL", "SCRAM-SHA-256", name);
    assert_eq!(client("confluent", &user("carol"), "of-carol", "of-carol"), "read 20");

    secured.write("\n[users.dave]\npassword = \"dave-secret\"\n");
    wait::until("the new user of the file", || {
        match client("confluent", &user("dave"), "of-dave", "of-dave").as_str() {
            said if said.starts_with("read") => Ok(()),
            said => Err(said.to_string()),
        }
    });
    let key = "SCRAM-SHA-256=[iterations=8192,password=x]";
    let alter = ["--alter", "--add-config", key, "--entity-type", "users", "--entity-name", "dave"];
    let refused = secured.tool(CONFIGS, "admin", &alter).output().expect("kafka-configs runs");
    let said = String::from_utf8_lossy(&refused.stderr) + String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("declared at flumen.toml"), "{said}");
}
