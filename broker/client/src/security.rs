//! How a connection is kept from others' eyes, and how a client proves who it is.

use std::fmt;
use std::io;
use std::sync::Arc;

use flumen_auth::Mechanism;
use flumen_auth::sasl::login::Password;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Kafka's `security.protocol`, taken apart: neither is PLAINTEXT.
#[derive(Clone, Debug, Default)]
pub struct Security {
    pub tls: Option<Tls>,
    pub sasl: Option<Sasl>,
}

/// Who to be, and how to prove it.
#[derive(Clone, Debug)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub password: Password,
}

/// What a TLS client knows, in PEM.
#[derive(Clone, Default)]
pub struct TlsOptions {
    /// Whose certificates are believed; else those that browsers believe.
    pub authorities: Option<Vec<u8>>,
    pub identity: Option<TlsIdentity>,
    /// A certificate need not name the host that was connected to.
    pub any_name: bool,
}

/// The client's own certificate, those that lead to its authority, and its key.
#[derive(Clone)]
pub struct TlsIdentity {
    pub certificates: Vec<u8>,
    pub key: Vec<u8>,
}

/// Which part of the options is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsProblem {
    Authorities(String),
    Certificates(String),
    Key(String),
}

/// A client's side of TLS, checked. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(***)")
    }
}

impl Tls {
    pub fn new(options: &TlsOptions) -> Result<Tls, TlsProblem> {
        let provider = Arc::new(default_provider());
        let roots = authorities(options.authorities.as_deref()).map_err(TlsProblem::Authorities)?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsProblem::Authorities(error.to_string()))?;
        let builder = match options.any_name {
            false => builder.with_root_certificates(roots),
            true => any_name(builder, roots, provider).map_err(TlsProblem::Authorities)?,
        };
        let config = match &options.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificates = certificates(&identity.certificates).map_err(TlsProblem::Certificates)?;
                let key = PrivateKeyDer::from_pem_slice(&identity.key)
                    .map_err(|_| TlsProblem::Key("no private key in it that is not encrypted".into()))?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| TlsProblem::Key(error.to_string()))?
            }
        };
        Ok(Tls(Arc::new(config)))
    }

    /// The handshake with the broker at this address.
    pub(crate) async fn connect(&self, address: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']').to_string();
        let name = ServerName::try_from(host).map_err(io::Error::other)?;
        TlsConnector::from(self.0.clone()).connect(name, stream).await
    }
}

fn authorities(pem: Option<&[u8]>) -> Result<RootCertStore, String> {
    let Some(pem) = pem else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(all) if all.is_empty() => Err("no certificate in it".into()),
        Ok(all) => Ok(all),
        Err(error) => Err(error.to_string()),
    }
}

/// An empty `ssl.endpoint.identification.algorithm`: any certificate of these authorities will do.
fn any_name(
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, String> {
    let strict = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let strict = strict.map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(strict))))
}

#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.0.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // The name is looked at last, when all else has been found good.
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(options: TlsOptions) -> TlsProblem {
        Tls::new(&options).unwrap_err()
    }

    #[test]
    fn the_part_that_is_wrong_is_named() {
        let empty = TlsOptions { authorities: Some(Vec::new()), ..TlsOptions::default() };
        assert_eq!(problem(empty), TlsProblem::Authorities("no certificate in it".into()));
        let identity = TlsIdentity { certificates: b"no PEM".to_vec(), key: Vec::new() };
        let nobody = TlsOptions { identity: Some(identity), ..TlsOptions::default() };
        assert_eq!(problem(nobody), TlsProblem::Certificates("no certificate in it".into()));
        for any_name in [false, true] {
            assert!(Tls::new(&TlsOptions { any_name, ..TlsOptions::default() }).is_ok());
        }
    }
}
