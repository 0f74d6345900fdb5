//! TLS by rustls, from PEM files that may change while the broker runs.

use std::path::Path;
use std::sync::Arc;

use flumen_auth::{Principal, subject_of_certificate};
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::options::{ClientAuth, TlsOptions};
use super::reloaded::Reloaded;

pub(crate) struct Tls {
    options: TlsOptions,
    config: Reloaded<Arc<ServerConfig>>,
}

impl Tls {
    pub(crate) fn new(options: TlsOptions) -> Result<Tls, String> {
        let mut files = vec![options.certificate.clone(), options.key.clone()];
        files.extend(options.clients.clone());
        let from = options.clone();
        let config = Reloaded::new("certificates", files, move || load(&from))?;
        Ok(Tls { options, config })
    }

    /// The handshake. An error is why there is no connection.
    pub(crate) async fn accept(&self, socket: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let config = Arc::clone(&*self.config.get());
        TlsAcceptor::from(config).accept(socket).await.map_err(|error| error.to_string())
    }

    /// Whom the client's certificate names; nobody in particular if it showed none.
    pub(crate) fn principal(&self, stream: &TlsStream<TcpStream>) -> Result<Principal, String> {
        let Some([first, ..]) = stream.get_ref().1.peer_certificates() else {
            return Ok(Principal::anonymous());
        };
        let subject = subject_of_certificate(first).ok_or("the certificate has no readable subject")?;
        let user = self.options.rules.apply(&subject);
        user.map(Principal::user)
            .ok_or_else(|| format!("no rule of ssl.principal.mapping.rules fits {subject}"))
    }
}

fn load(options: &TlsOptions) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match (options.client_auth, &options.clients) {
        (ClientAuth::None, _) => builder.with_no_client_auth(),
        (_, None) => return Err("there are no authorities to check clients' certificates against".into()),
        (wanted, Some(path)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = match wanted {
                ClientAuth::Requested => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| error.to_string())?)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&options.key)
        .map_err(|error| format!("{}: no private key: {error}", options.key.display()))?;
    let config = builder
        .with_single_cert(certificates(&options.certificate)?, key)
        .map_err(|error| format!("{}: {error}", options.certificate.display()))?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    match read {
        Ok(all) if all.is_empty() => Err(format!("{}: no certificate in it", path.display())),
        Ok(all) => Ok(all),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
