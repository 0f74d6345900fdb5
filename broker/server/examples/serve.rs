//! The broker alone, without plugins, config file or admin API: `serve <port> <dir> [key=value ...]`.
//!
//! For trying clients against it: `cargo run -p flumen-server --example serve -- 9092 /tmp/data`.
//! The keys are Kafka's broker keys (`log.segment.bytes=1048576`); of those that are no topic's default,
//! the times of consumer groups.

use std::error::Error;
use std::time::Duration;

use flumen_server::{Broker, Options};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(port), Some(dir)) = (args.next(), args.next()) else {
        return Err("usage: serve <port> <dir> [key=value ...]".into());
    };
    let mut options = Options::new(dir);
    options.group_rebalance_delay = Duration::from_millis(100);
    for pair in args {
        let (key, value) = pair.split_once('=').ok_or("a setting is key=value")?;
        let millis = || value.parse().map(Duration::from_millis);
        match key {
            "group.consumer.session.timeout.ms" => options.consumer_session_timeout = millis()?,
            "group.consumer.heartbeat.interval.ms" => options.consumer_heartbeat_interval = millis()?,
            "group.consumer.assignment.interval.ms" => options.consumer_assignment_interval = millis()?,
            _ => {
                options.broker_configs.insert(key.into(), value.into());
            }
        }
    }
    let broker = Broker::start(options).await?;
    let listener = TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    eprintln!("listening on {}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let (broker, stop) = (broker.clone(), stop.clone());
        async move { broker.serve(listener, stop).await }
    });
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
    }
    stop.cancel();
    broker.shutdown(Duration::from_secs(5)).await?;
    serving.await?;
    Ok(())
}
