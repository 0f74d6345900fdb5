//! Twelve thousand and more random questions, answered as Apache Kafka 4.3.1's StandardAuthorizer answers them.
//!
//! One difference is wanted: Kafka passes over a rule for `*` when the resource's own name begins with a
//! star, so that a deny for all topics does not deny `*a`. Here it does; those questions are left out.
//!
//! The worlds are made from fixed seeds; `kafka/answers` has Kafka's answers, a line a world. To ask
//! Kafka anew (a JDK, and its jars as tests/setup lays them):
//! `KAFKA_LIB=target/test-env/kafka/lib cargo test -p flumen-auth --test kafka_authorizer`

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use flumen_auth::acl::{Acl, Operation, Pattern, Permission, ResourceType};
use flumen_auth::{Authorizer, Principal, Subject};

const WORLDS: u64 = 130;
const QUESTIONS: usize = 100;

/// SplitMix64: the same worlds on every machine and with every version of every crate.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % limit as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

const NAMES: &[&str] = &[
    "a",
    "ab",
    "abc",
    "abd",
    "b",
    "ba",
    "orders",
    "orders-eu",
    "orders.x",
    "or",
    "*",
    "*a",
    "hardcode",
    "hard",
    "ä",
    "äö",
];
const ASKERS: &[&str] = &["User:alice", "User:bob", "User:CN=a,O=b", "Group:alice", "User:root"];
const RULED: &[&str] =
    &["User:alice", "User:alice", "User:bob", "User:*", "User:CN=a,O=b", "Group:alice", "Group:*"];
const HOSTS: &[&str] = &["10.0.0.1", "10.0.0.2", "127.0.0.1"];
const TYPES: &[ResourceType] =
    &[ResourceType::Topic, ResourceType::Topic, ResourceType::Group, ResourceType::TransactionalId];
const OPERATIONS: &[Operation] = &[
    Operation::Read,
    Operation::Write,
    Operation::Describe,
    Operation::Delete,
    Operation::Alter,
    Operation::DescribeConfigs,
    Operation::AlterConfigs,
    Operation::Create,
];

struct Question {
    principal: Principal,
    host: &'static str,
    operation: Operation,
    resource: ResourceType,
    /// `None`: any of the type.
    name: Option<&'static str>,
}

struct World {
    authorizer: Authorizer,
    questions: Vec<Question>,
    /// The same for Kafka.
    script: String,
}

fn world(seed: u64) -> World {
    let mut chance = Chance(seed);
    let allow_everyone = chance.below(2) == 0;
    let super_users = if chance.below(4) == 0 { "User:root" } else { "" };
    let mut script = format!("world\t{allow_everyone}\t{super_users}\n");
    let mut acls = Vec::new();
    for _ in 0..chance.below(25) {
        let operation = if chance.below(5) == 0 { Operation::All } else { chance.one_of(OPERATIONS) };
        let permission = if chance.below(3) == 0 { Permission::Deny } else { Permission::Allow };
        let acl = Acl {
            resource: chance.one_of(TYPES),
            pattern: chance.one_of(Pattern::ALL),
            name: chance.one_of(NAMES).into(),
            principal: chance.one_of(RULED).into(),
            host: if chance.below(3) == 0 { chance.one_of(HOSTS) } else { "*" }.into(),
            operation,
            permission,
        };
        let (kind, pattern, operation) = (acl.resource as i8, acl.pattern as i8, acl.operation as i8);
        let (name, principal, host, permission) =
            (&acl.name, &acl.principal, &acl.host, acl.permission as i8);
        writeln!(script, "acl\t{kind}\t{name}\t{pattern}\t{principal}\t{host}\t{operation}\t{permission}")
            .unwrap();
        acls.push(acl);
    }
    let mut questions = Vec::new();
    for _ in 0..QUESTIONS {
        let asker = chance.one_of(ASKERS);
        let question = Question {
            principal: Principal::parse(asker).unwrap(),
            host: chance.one_of(HOSTS),
            operation: chance.one_of(OPERATIONS),
            resource: chance.one_of(TYPES),
            name: (chance.below(5) != 0).then(|| chance.one_of(NAMES)),
        };
        let (host, operation, kind) = (question.host, question.operation as i8, question.resource as i8);
        match question.name {
            Some(name) => writeln!(script, "ask\t{asker}\t{host}\t{operation}\t{kind}\t{name}").unwrap(),
            None => writeln!(script, "any\t{asker}\t{host}\t{operation}\t{kind}").unwrap(),
        }
        questions.push(question);
    }
    let super_users = Principal::parse_list(super_users).unwrap().into_iter().collect();
    World {
        authorizer: Authorizer { acls: acls.into_iter().collect(), super_users, allow_everyone },
        questions,
        script,
    }
}

fn answer(authorizer: &Authorizer, question: &Question) -> char {
    let who = Subject { principal: &question.principal, host: question.host };
    let allowed = match question.name {
        Some(name) => authorizer.allows(who, question.operation, question.resource, name),
        None => authorizer.allows_any(who, question.operation, question.resource),
    };
    if allowed { 'A' } else { 'd' }
}

/// Kafka's answers to all worlds, from its own code.
fn ask_kafka(lib: &Path, worlds: &[World]) -> String {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/Judge.java");
    let mut java = Command::new("java");
    java.arg("-Dfile.encoding=UTF-8")
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=error")
        .arg("-cp")
        .arg(lib.join("*"))
        .arg(driver);
    let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("java starts");
    let mut stdin = child.stdin.take().unwrap();
    let script: String = worlds.iter().map(|world| world.script.as_str()).collect();
    // It answers when it has read everything.
    stdin.write_all(script.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Kafka's authorizer did not answer");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_question_is_answered_as_kafka_answers_it() {
    let worlds: Vec<World> = (0..WORLDS).map(world).collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kafka/answers");
    if let Some(lib) = std::env::var_os("KAFKA_LIB") {
        // Cargo runs tests in the crate's folder; the path is from the workspace's.
        let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(lib);
        std::fs::write(&file, ask_kafka(&lib, &worlds)).unwrap();
    }
    let expected = std::fs::read_to_string(&file).expect("Kafka's answers");
    assert_eq!(expected.lines().count(), worlds.len());
    let mut asked = 0;
    for (seed, (world, expected)) in worlds.iter().zip(expected.lines()).enumerate() {
        assert_eq!(expected.chars().count(), QUESTIONS);
        for (number, (question, expected)) in world.questions.iter().zip(expected.chars()).enumerate() {
            if question.name == Some("*a") {
                continue;
            }
            let found = answer(&world.authorizer, question);
            let lines = world.script.lines();
            let asked_is = |line: &&str| line.starts_with("ask") || line.starts_with("any");
            let (rules, line) = (
                lines.clone().take_while(|line| !asked_is(line)),
                lines.clone().filter(asked_is).nth(number),
            );
            assert_eq!(found, expected, "world {seed}: {line:?} after {:#?}", rules.collect::<Vec<_>>());
            asked += 1;
        }
    }
    assert!(asked >= 10_000);
    let allowed = expected.matches('A').count();
    assert!(
        (asked / 10..asked * 9 / 10).contains(&allowed),
        "{allowed} of {asked} are allowed: a poor mixture"
    );
}
