//! Encrypted connections: who the broker is, who the client is, and certificates that change.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_auth::MappingRules;
use flumen_protocol::messages::MetadataRequest;
use flumen_server::{ClientAuth, Options, SecurityProtocol, TlsOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::running::{Client, PATIENCE, Running, batch, fetch};

/// An authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

struct Certificate {
    certificate: String,
    key: String,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn sign(&self, name: &str) -> Certificate {
        let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Flumen");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Certificate { certificate, key: key.serialize_pem() }
    }
}

fn write(dir: &Path, broker: &Certificate) {
    std::fs::write(dir.join("broker.pem"), format!("{}{}", broker.key, broker.certificate)).unwrap();
}

async fn start(dir: &Path, authority: &Authority, client_auth: ClientAuth) -> Running {
    write(dir, &authority.sign("broker"));
    std::fs::write(dir.join("ca.pem"), authority.0.pem()).unwrap();
    let tls = TlsOptions {
        certificate: dir.join("broker.pem"),
        key: dir.join("broker.pem"),
        clients: Some(dir.join("ca.pem")),
        client_auth,
        rules: MappingRules::parse("RULE:^CN=([a-z]+),O=Flumen$/$1/").unwrap(),
    };
    let with = |options: &mut Options| {
        crate::sasl::users(options);
        options.security.tls = Some(tls);
        options.security.authorizer = true;
        options.security.super_users = vec![flumen_auth::Principal::user("alice")];
    };
    Running::start_as(SecurityProtocol::Ssl, with).await
}

async fn connect(
    running: &Running,
    authority: &Authority,
    own: Option<Certificate>,
) -> std::io::Result<Client<TlsStream<TcpStream>>> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let certificate = CertificateDer::from_pem_slice(own.certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let socket = TcpStream::connect(running.address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, socket).await.map(Client::over)
}

/// Whether the broker serves this client; TLS 1.3 tells of a refused certificate with the first answer.
async fn is_served(client: std::io::Result<Client<TlsStream<TcpStream>>>) -> bool {
    let Ok(mut client) = client else { return false };
    let request = flumen_protocol::encode_request(1, "t", &MetadataRequest::default(), 9).unwrap();
    let sent = tokio::io::AsyncWriteExt::write_all(&mut client.socket, &request).await;
    sent.is_ok() && client.frame().await.is_some()
}

#[tokio::test]
async fn megabytes_go_in_and_come_out_encrypted() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let running = start(dir.path(), &authority, ClientAuth::Requested).await;
    let mut client = connect(&running, &authority, Some(authority.sign("alice"))).await.unwrap();
    client.create("t", 1, &[("max.message.bytes", "10000000")]).await;
    let long = "0123456789".repeat(300_000);
    for offset in 0..5 {
        assert_eq!(client.produce("t", 0, batch(&[&long])).await.base_offset, offset);
    }
    let mut wanted = fetch("t", 0, 0);
    wanted.topics[0].partitions[0].partition_max_bytes = 50 << 20;
    let got = client.fetch_all(wanted, 11, 5).await;
    assert_eq!(got.len(), 5);
    assert!(got.iter().all(|(_, value)| *value == long));
    running.stop().await;
}

#[tokio::test]
async fn a_certificate_says_who_the_client_is() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let running = start(dir.path(), &authority, ClientAuth::Requested).await;
    let request = flumen_protocol::message!(flumen_protocol::messages::DescribeClusterRequest {
        include_cluster_authorized_operations: true,
        endpoint_type: 1,
    });
    for (own, operations) in [
        (Some("alice"), 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12),
        (Some("bob"), 0),
        (None, 0),
    ] {
        let certificate = own.map(|name| authority.sign(name));
        let mut client = connect(&running, &authority, certificate).await.unwrap();
        assert_eq!(client.ask(&request, 1).await.cluster_authorized_operations, operations, "{own:?}");
    }
    // No rule fits it.
    assert!(!is_served(connect(&running, &authority, Some(authority.sign("Alice"))).await).await);
    running.stop().await;
}

#[tokio::test]
async fn where_a_certificate_is_required_only_the_authoritys_own_will_do() {
    let (dir, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let running = start(dir.path(), &authority, ClientAuth::Required).await;
    assert!(is_served(connect(&running, &authority, Some(authority.sign("bob"))).await).await);
    assert!(!is_served(connect(&running, &authority, None).await).await);
    assert!(!is_served(connect(&running, &authority, Some(Authority::new().sign("bob"))).await).await);
    assert_eq!(running.broker.security().failed_authentications(), 2);
    let mut plain = running.client().await;
    plain.send(&MetadataRequest::default(), 9).await;
    // An alert of TLS, and the end.
    let mut rest = Vec::new();
    let ended = tokio::io::AsyncReadExt::read_to_end(&mut plain.socket, &mut rest).await;
    assert!(ended.is_err() || rest.len() < 20, "{rest:02x?}");
    running.stop().await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let (dir, old) = (tempfile::tempdir().unwrap(), Authority::new());
    let running = start(dir.path(), &old, ClientAuth::None).await;
    let mut before = connect(&running, &old, None).await.unwrap();
    let new = Authority::new();
    assert!(connect(&running, &new, None).await.is_err());
    write(dir.path(), &new.sign("broker"));
    let deadline = Instant::now() + PATIENCE;
    while connect(&running, &new, None).await.is_err() {
        assert!(Instant::now() < deadline, "the new certificate is never shown");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        before.ask(&MetadataRequest::default(), 9).await.brokers.len(),
        1,
        "an old connection goes on"
    );
    running.stop().await;
}
