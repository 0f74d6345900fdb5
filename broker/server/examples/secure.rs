//! The broker alone with every kind of listener: `secure <first port> <dir> <broker.pem> <ca.pem>`.
//!
//! PLAINTEXT, SASL_PLAINTEXT, SSL and SASL_SSL on four ports in a row, an authorizer, and the users admin
//! (who may do everything) and alice, whose passwords are their names and `-secret`.

use std::error::Error;
use std::time::Duration;

use flumen_auth::{MappingRules, Mechanism, Principal};
use flumen_server::{
    Broker, ClientAuth, DeclaredUser, Endpoint, Options, SecurityOptions, SecurityProtocol, TlsOptions,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [port, dir, certificate, clients] = &args[..] else {
        return Err("usage: secure <first port> <dir> <broker.pem> <ca.pem>".into());
    };
    let user = |name: &str| DeclaredUser {
        name: name.into(),
        place: "the example".into(),
        password: Some(format!("{name}-secret")),
        credentials: Vec::new(),
    };
    let security = SecurityOptions {
        mechanisms: Mechanism::ALL.into_iter().filter(|it| *it != Mechanism::OauthBearer).collect(),
        reauthentication: Some(Duration::from_secs(10)),
        authorizer: true,
        super_users: vec![Principal::user("admin")],
        users: vec![user("admin"), user("alice")],
        tls: Some(TlsOptions {
            certificate: certificate.into(),
            key: certificate.into(),
            clients: Some(clients.into()),
            client_auth: ClientAuth::Requested,
            rules: MappingRules::parse("RULE:^CN=(.*?),.*$/$1/L,RULE:^CN=(.*)$/$1/L,DEFAULT")?,
        }),
        ..SecurityOptions::default()
    };
    let group_rebalance_delay = Duration::from_millis(100);
    let broker = Broker::start(Options { security, group_rebalance_delay, ..Options::new(dir) }).await?;
    let stop = CancellationToken::new();
    let protocols = [
        ("PLAINTEXT", SecurityProtocol::Plaintext),
        ("SASL_PLAINTEXT", SecurityProtocol::SaslPlaintext),
        ("SSL", SecurityProtocol::Ssl),
        ("SASL_SSL", SecurityProtocol::SaslSsl),
    ];
    let mut serving = tokio::task::JoinSet::new();
    for (n, (name, protocol)) in protocols.into_iter().enumerate() {
        let listener = TcpListener::bind(("127.0.0.1", port.parse::<u16>()? + n as u16)).await?;
        eprintln!("{name} on {}", listener.local_addr()?);
        let (broker, stop) = (broker.clone(), stop.clone());
        let endpoint = Endpoint { name: name.into(), protocol, advertised: None };
        serving.spawn(async move { broker.serve_as(listener, endpoint, stop).await });
    }
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    serving.join_all().await;
    broker.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}
