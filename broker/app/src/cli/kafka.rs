//! What every command that speaks Kafka has in common: where the broker is, how long to wait for it,
//! and what its errors are to a person.

use std::path::PathBuf;
use std::time::Duration;

use flumen_client::{Client, Error, Options, Topic};
use flumen_protocol::ErrorCode;
use flumen_types::{Millis, TopicPartition};

use super::{Exit, Failure, command_config};

/// Which cluster to talk to.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Broker {
    /// Broker addresses, host:port, separated by commas
    #[arg(
        long,
        short,
        global = true,
        env = "FLUMEN_BOOTSTRAP",
        default_value = "127.0.0.1:9092",
        display_order = 800
    )]
    bootstrap: String,
    /// How long to try, such as 30s
    #[arg(long, global = true, default_value = "30s", value_name = "TIME", display_order = 801)]
    timeout: Millis,
    /// A file of Kafka's client properties that says how to reach a secured broker, as kafka-topics.sh takes it
    /// (docs/reference/command-config.md)
    #[arg(long, global = true, env = "FLUMEN_COMMAND_CONFIG", value_name = "FILE", display_order = 802)]
    command_config: Option<PathBuf>,
}

impl Broker {
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let mut options = Options::new(&self.bootstrap);
        if let Some(file) = &self.command_config {
            options.security = command_config::read(file)?;
        }
        let patience = self.timeout.duration().max(Duration::from_millis(1));
        options.operation_timeout = patience;
        options.request_timeout = options.request_timeout.min(patience);
        options.connect_timeout = options.connect_timeout.min(patience);
        Client::connect(options).await.map_err(failed("cannot reach the broker"))
    }
}

/// A client's error under the words of the command.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(Error) -> Failure {
    move |error| {
        let (todo, exit) = advice(&error);
        let failure = Failure::new(what).because(error).exit(exit);
        match todo {
            Some(todo) => failure.todo(todo),
            None => failure,
        }
    }
}

/// What to do about it, and what it is to a program.
fn advice(error: &Error) -> (Option<&'static str>, Exit) {
    match error {
        Error::NoBroker { source, .. } => advice(source),
        Error::Address { .. } => (None, Exit::Usage),
        Error::Tls { .. } => (
            Some(
                "name the port of a listener with TLS, and in the file of --command-config the authority of \
                 its certificate (ssl.truststore.location)",
            ),
            Exit::Failure,
        ),
        Error::Login { .. } => {
            (Some("look at the sasl settings in the file of --command-config"), Exit::Failure)
        }
        // A listener that wants TLS, or a user, hangs up on who offers neither.
        Error::Closed { .. } => (
            Some(
                "look whether the listener wants TLS, a certificate or a user: --command-config names the file \
                 that says so; the broker's log has the reason",
            ),
            Exit::Unreachable,
        ),
        error if error.is_unreachable() => {
            (Some("start the broker with `flumen run`, or name another with --bootstrap"), Exit::Unreachable)
        }
        _ => (None, Exit::Failure),
    }
}

/// A topic that must be there.
pub(crate) async fn topic(client: &Client, name: &str) -> Result<Topic, Failure> {
    client.topic(name).await.map_err(|error| {
        let missing = error.code().is_some();
        let failure = failed(format!("cannot find topic \"{name}\""))(error);
        if missing { failure.todo("`flumen topic list` shows the topics there are") } else { failure }
    })
}

/// Its partitions, or those of them that were asked for.
pub(crate) fn partitions(topic: &Topic, wanted: &[i32]) -> Result<Vec<TopicPartition>, Failure> {
    let all: Vec<i32> = topic.partitions.iter().map(|partition| partition.id.0).collect();
    if let Some(missing) = wanted.iter().find(|partition| !all.contains(partition)) {
        let what = format!("topic \"{}\" has no partition {missing}; it has {}", topic.name, all.len());
        return Err(Failure::new(what));
    }
    let chosen = if wanted.is_empty() { all } else { wanted.to_vec() };
    Ok(chosen.into_iter().map(|partition| TopicPartition::new(topic.name.clone(), partition)).collect())
}

/// The broker has such a topic already.
pub(crate) fn says_exists(error: &Error) -> bool {
    error.code() == Some(ErrorCode::TopicAlreadyExists)
}

/// The broker has no such group.
pub(crate) fn says_no_group(error: &Error) -> bool {
    error.code() == Some(ErrorCode::GroupIdNotFound)
}
