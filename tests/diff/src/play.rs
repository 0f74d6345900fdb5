//! Plays a case against a broker and writes down what it answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::catalog::Catalog;
use crate::connection::{Connection, Due};
use crate::definition::Message;
use crate::mask::{Names, mask};
use crate::script::{Act, Extras, Script, Step};
use crate::transcript::{Answer, Transcript};
use crate::value::Value;
use crate::wire::{Out, Width};
use crate::{decode, encode, path};

/// What a case waits for comes within this time.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// Its answers' header never has tagged fields.
const API_VERSIONS: i16 = 18;

pub struct Player<'a> {
    broker: SocketAddr,
    catalog: &'a Catalog,
    /// `area.name`, which names of the case's own begin with.
    case: String,
    names: Names,
    connections: HashMap<String, Connection>,
    transcript: Transcript,
}

/// Plays a case that is called `area/name`.
pub fn play(case: &str, script: &Script, broker: SocketAddr, catalog: &Catalog) -> Result<Transcript> {
    let mut player = Player {
        broker,
        catalog,
        case: case.replace('/', "."),
        names: Names::new(),
        connections: HashMap::new(),
        transcript: Transcript::default(),
    };
    for step in &script.steps {
        player.step(step).with_context(|| {
            let so_far = player.transcript.write("");
            format!("{case}.case:{}; the answers up to there:\n{so_far}", step.line)
        })?;
    }
    player.transcript.settled()
}

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Result<()> {
        match &step.act {
            Act::New(names) => {
                for name in names {
                    self.declare(name);
                }
                Ok(())
            }
            Act::Topic { name, partitions, configs } => self.make_topic(name, *partitions, configs),
            Act::Close => {
                self.connections.remove(&step.connection);
                Ok(())
            }
            Act::Raw(bytes) => {
                let frame = encode::bytes(&self.resolved(bytes)?, self.catalog)?;
                let due = Due {
                    title: "raw".into(),
                    correlation: None,
                    answer: None,
                    version: 0,
                    tagged_header: false,
                };
                self.connection(&step.connection)?.send(&frame, Some(due))?;
                self.receive(step)
            }
            Act::Receive => self.receive(step),
            Act::Request { api, versions, body, later } => {
                for version in versions.clone() {
                    self.send(step, api, version, body)?;
                    if *later || step.extras.unanswered {
                        continue;
                    }
                    self.answered(step, api, version, body)?;
                }
                Ok(())
            }
        }
    }

    /// Takes the answer; asks again as long as it is not what the step waits for.
    fn answered(&mut self, step: &Step, api: &str, version: i16, body: &Value) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (due, answer) = self.take(&step.connection, &step.extras)?;
            let Some(missing) = self.missing(&step.extras, &answer)? else {
                return self.note(due, answer, step);
            };
            if Instant::now() > deadline {
                bail!("it never came to {missing}; the last answer was {answer}");
            }
            std::thread::sleep(PAUSE);
            self.send(step, api, version, body)?;
        }
    }

    /// What an answer does not say yet of that which is waited for.
    fn missing(&self, extras: &Extras, answer: &Value) -> Result<Option<String>> {
        for (at, wanted) in &extras.until {
            let wanted = self.resolved(wanted)?;
            if path::find(answer, at).ok().map(Value::to_string) != Some(wanted.to_string()) {
                return Ok(Some(format!("{at} = {wanted}")));
            }
        }
        Ok(None)
    }

    fn receive(&mut self, step: &Step) -> Result<()> {
        let (due, answer) = self.take(&step.connection, &step.extras)?;
        self.note(due, answer, step)
    }

    /// The next answer on a connection, whole.
    fn take(&mut self, connection: &str, extras: &Extras) -> Result<(Due, Value)> {
        let (due, body) = self.connection(connection)?.receive()?;
        let Some(body) = body else {
            self.connections.remove(connection);
            return Ok((due, Value::text("<closed>")));
        };
        let version = extras.answered_as.unwrap_or(due.version);
        let answer = match &due.answer {
            Some(message) => decode::message(message, version, &body)?,
            None => decode::blob(&body),
        };
        Ok((due, answer))
    }

    /// Keeps what later steps use of an answer, and writes the rest down.
    fn note(&mut self, due: Due, mut answer: Value, step: &Step) -> Result<()> {
        for (name, at) in &step.extras.lets {
            let value = path::find(&answer, at)?.clone();
            self.names.retain(|(own, _)| own != name);
            self.names.push((name.clone(), value));
        }
        for (at, kept) in &step.extras.keep {
            let kept: Vec<String> =
                kept.iter().map(|value| Ok(plain(&self.resolved(value)?))).collect::<Result<_>>()?;
            if let Some(Value::List(items)) = path::find_mut(&mut answer, at)? {
                let keys = path::keys(items).with_context(|| format!("{at}: its items have no names"))?;
                let mut keys = keys.iter();
                items.retain(|_| keys.next().is_some_and(|key| kept.contains(key)));
            }
        }
        for at in &step.extras.ignore {
            if let Some(value) = path::find_mut(&mut answer, at)? {
                *value = Value::text("<ignored>");
            }
        }
        let value = mask(answer, &self.names);
        let title = match step.connection.as_str() {
            "main" => due.title,
            name => format!("@{name} {}", due.title),
        };
        self.transcript.answers.push(Answer { title, value });
        Ok(())
    }

    fn send(&mut self, step: &Step, api: &str, version: i16, body: &Value) -> Result<()> {
        let request = self.catalog.message(&format!("{api}Request"))?;
        let answer = self.catalog.message(&format!("{api}Response"))?;
        let key = request.api_key.context("a request has a number")?;
        let body = self.resolved(body)?;
        let body = encode::message(&request, version, &body, self.catalog)?;
        let client = match &step.extras.client {
            Some(client) => self.resolved(client)?,
            None => Value::text("diff"),
        };
        let append = match &step.extras.append {
            Some(append) => encode::bytes(&self.resolved(append)?, self.catalog)?,
            None => Vec::new(),
        };
        let connection = self.connection(&step.connection)?;
        let correlation = connection.next_correlation();
        let mut frame = header(&request, key, version, correlation, &client)?;
        frame.extend(body);
        frame.truncate(frame.len().saturating_sub(step.extras.cut));
        frame.extend(append);
        let due = Due {
            title: format!("{api} {version}"),
            correlation: Some(correlation),
            tagged_header: key != API_VERSIONS && answer.flexible.has(answer.layout(version)),
            answer: Some(answer),
            version,
        };
        connection.send(&frame, Some(due).filter(|_| !step.extras.unanswered))
    }

    fn connection(&mut self, name: &str) -> Result<&mut Connection> {
        if !self.connections.contains_key(name) {
            self.connections.insert(name.into(), Connection::open(self.broker)?);
        }
        Ok(self.connections.get_mut(name).expect("it has been put there"))
    }

    fn declare(&mut self, name: &str) -> String {
        let own = format!("{}.{name}", self.case);
        self.names.push((name.into(), Value::text(own.clone())));
        own
    }

    /// Made, and led; nothing of it is written down.
    fn make_topic(&mut self, name: &str, partitions: i64, configs: &[(String, String)]) -> Result<()> {
        let own = self.declare(name);
        let configs = configs.iter().map(|(name, value)| {
            Value::Struct(vec![
                ("name".into(), Value::text(name.as_str())),
                ("value".into(), Value::text(value.as_str())),
            ])
        });
        let topic = Value::Struct(vec![
            ("name".into(), Value::text(own.as_str())),
            ("numPartitions".into(), Value::Int(partitions)),
            ("replicationFactor".into(), Value::Int(1)),
            ("configs".into(), Value::List(configs.collect())),
        ]);
        let request = vec![("topics".to_string(), topic), ("timeoutMs".to_string(), Value::Int(10_000))];
        let made = self.quietly("CreateTopics", 7, Value::Struct(request))?;
        if path::find(&made, "topics[0].errorCode")? != &Value::text("NONE") {
            bail!("topic {name} cannot be made: {made}");
        }
        self.await_leaders(&own, partitions)?;
        let topics = Value::Struct(vec![("name".into(), Value::text(own))]);
        let seen = self.quietly("Metadata", 12, Value::Struct(vec![("topics".into(), topics)]))?;
        self.names.push((format!("{name}_id"), path::find(&seen, "topics[0].topicId")?.clone()));
        Ok(())
    }

    /// Kafka names a leader before that leads: only an answer of its own is a sign.
    fn await_leaders(&mut self, topic: &str, partitions: i64) -> Result<()> {
        let partition = |index| {
            Value::Struct(vec![
                ("partitionIndex".into(), Value::Int(index)),
                ("timestamp".into(), Value::Int(-1)),
            ])
        };
        let topic = Value::Struct(vec![
            ("name".into(), Value::text(topic)),
            ("partitions".into(), Value::List((0..partitions).map(partition).collect())),
        ]);
        let request = Value::Struct(vec![("topics".to_string(), topic)]);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.quietly("ListOffsets", 5, request.clone())?;
            let led = path::find(&seen, "topics[0].partitions")?.items().iter();
            if led.filter(|one| one.get("errorCode") != Some(&Value::text("NONE"))).count() == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("a topic is not led: {seen}");
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// A request on a connection of its own, which the transcript does not show.
    fn quietly(&mut self, api: &str, version: i16, body: Value) -> Result<Value> {
        let act = Act::Receive;
        let step = Step { line: 0, connection: "quiet".into(), act, extras: Extras::default() };
        self.send(&step, api, version, &body)?;
        Ok(self.take("quiet", &step.extras)?.1)
    }

    /// With the names' values in place of the names.
    fn resolved(&self, value: &Value) -> Result<Value> {
        Ok(match value {
            Value::Var(name) => self.named(name)?.clone(),
            Value::Text(text) if text.contains("${") => Value::Text(self.joined(text)?),
            Value::List(items) => {
                Value::List(items.iter().map(|item| self.resolved(item)).collect::<Result<_>>()?)
            }
            Value::Struct(fields) => {
                let resolved = fields.iter().map(|(name, value)| Ok((name.clone(), self.resolved(value)?)));
                Value::Struct(resolved.collect::<Result<_>>()?)
            }
            Value::Made(what, of) => Value::made(what, self.resolved(of)?),
            other => other.clone(),
        })
    }

    fn named(&self, name: &str) -> Result<&Value> {
        let found = self.names.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value).with_context(|| format!("there is no ${name} yet"))
    }

    /// `"${name}-more"`
    fn joined(&self, text: &str) -> Result<String> {
        let mut joined = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').context("${NAME}")?;
            joined += before;
            joined += &plain(self.named(name)?);
            rest = after;
        }
        Ok(joined + rest)
    }
}

/// A text without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        other => other.to_string(),
    }
}

fn header(request: &Message, key: i16, version: i16, correlation: i32, client: &Value) -> Result<Vec<u8>> {
    let mut out = Out::default();
    out.put(&key.to_be_bytes());
    out.put(&version.to_be_bytes());
    out.put(&correlation.to_be_bytes());
    match client {
        Value::Null => out.length(None, Width::Two),
        client => {
            let client = plain(client);
            out.length(Some(client.len()), Width::Two);
            out.put(client.as_bytes());
        }
    }
    if request.flexible.has(request.layout(version)) {
        out.unsigned_varint(0);
    }
    Ok(out.0)
}
