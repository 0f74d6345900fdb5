//! `wasi:http`, to granted origins only.
//!
//! Invariants: scheme, host and port must be those of a grant; a host that is granted by name must not
//! lead to this machine or its neighbourhood (loopback, link-local, unspecified, multicast) unless the
//! grant says `localhost`; plain requests connect to the very address that was checked, with TLS the
//! certificate vouches for the name. A request ends with the store that made it.
//!
//! Plain connections are kept and used again. Lacks that for TLS, where each request makes its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_send_request};

const CONNECT_WAIT: Duration = Duration::from_secs(10);
const IDLE_KEPT: Duration = Duration::from_secs(30);

type Sending = Box<dyn Future<Output = Result<(Response<WasiBody>, Finishing), Error>> + Send>;
type Finishing = Box<dyn Future<Output = Result<(), Error>> + Send>;
type Pool = Client<HttpConnector<Elsewhere>, WasiBody>;

/// What a guest may reach.
pub(crate) struct Origins {
    granted: Vec<Origin>,
    /// A whole call's time.
    limit: Duration,
    /// Made with the first plain request.
    pool: Option<Pool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Origin> {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().or(match scheme.as_str() {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })?;
        let host = uri.host()?.to_ascii_lowercase();
        Some(Origin { scheme, host, port })
    }

    /// As an address, where it is written as one.
    fn ip(&self) -> Option<IpAddr> {
        self.host.trim_matches(['[', ']']).parse().ok()
    }
}

/// Whether a grant reads as an origin: scheme, host, perhaps a port, and nothing behind it.
pub(crate) fn is_origin(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.path_and_query().is_none_or(|path| path == "/")
            && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    })
}

impl Origins {
    pub(crate) fn new(granted: &[String], limit: Duration) -> Origins {
        let granted = granted.iter().filter_map(|text| Origin::of(&text.parse().ok()?)).collect();
        Origins { granted, limit, pool: None }
    }

    fn granted(&self, uri: &Uri) -> Option<&Origin> {
        let wanted = Origin::of(uri)?;
        self.granted.iter().find(|origin| **origin == wanted)
    }
}

impl WasiHttpHooks for Origins {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Sending {
        let Some(origin) = self.granted(request.uri()).cloned() else {
            tracing::warn!(target: "flumen::plugin", uri = %request.uri().authority().map_or("", Authority::as_str), "a request to an origin that is not in grant.http was refused");
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        let options = self.bounded(options);
        if origin.scheme == "http" {
            let pool = self.pool().clone();
            return Box::new(plain(pool, request, options));
        }
        Box::new(async move {
            Elsewhere::check(&origin).await?;
            let (response, rest) = default_send_request(request, Some(options)).await?;
            Ok((response.map(BodyExt::boxed_unsync), Box::new(rest) as Finishing))
        })
    }
}

impl Origins {
    fn pool(&mut self) -> &Pool {
        self.pool.get_or_insert_with(|| {
            let mut connector = HttpConnector::new_with_resolver(Elsewhere);
            connector.set_nodelay(true);
            connector.set_connect_timeout(Some(self.limit.min(CONNECT_WAIT)));
            Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE_KEPT).build(connector)
        })
    }

    fn bounded(&self, options: Option<RequestOptions>) -> RequestOptions {
        let asked = options.unwrap_or_default();
        let within = |asked: Option<Duration>, most: Duration| Some(asked.unwrap_or(most).min(most));
        RequestOptions {
            connect_timeout: within(asked.connect_timeout, self.limit.min(CONNECT_WAIT)),
            first_byte_timeout: within(asked.first_byte_timeout, self.limit),
            between_bytes_timeout: within(asked.between_bytes_timeout, self.limit),
        }
    }
}

async fn plain(
    pool: Pool,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<(Response<WasiBody>, Finishing), Error> {
    let patience = options.first_byte_timeout.unwrap_or(CONNECT_WAIT);
    let response = match tokio::time::timeout(patience, pool.request(request)).await {
        Ok(answered) => answered.map_err(|error| failed(&error))?,
        Err(_) => return Err(Error::ConnectionReadTimeout),
    };
    let response = response.map(|body| body.map_err(Error::from).boxed_unsync());
    Ok((response, Box::new(async { Ok(()) })))
}

/// What the guest is told: as near to the cause as wasi:http has words for.
fn failed(error: &hyper_util::client::legacy::Error) -> Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
                io::ErrorKind::TimedOut => Error::ConnectionTimeout,
                io::ErrorKind::PermissionDenied => Error::DestinationIpProhibited,
                _ if error.is_connect() => Error::DestinationUnavailable,
                _ => Error::ConnectionTerminated,
            };
        }
        next = cause.source();
    }
    if error.is_connect() { Error::DestinationUnavailable } else { Error::ConnectionTerminated }
}

/// Looks hosts up, and refuses to be led to this machine.
#[derive(Clone)]
struct Elsewhere;

impl Elsewhere {
    async fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((host, port)).await?;
        let allowed: Vec<SocketAddr> =
            found.filter(|address| host == "localhost" || is_elsewhere(address.ip())).collect();
        if allowed.is_empty() {
            let said = format!("{host} leads to this machine or its neighbourhood");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, said));
        }
        Ok(allowed)
    }

    async fn check(origin: &Origin) -> Result<(), Error> {
        if origin.ip().is_some() {
            return Ok(());
        }
        match Elsewhere::look_up(&origin.host, origin.port).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(Error::DestinationIpProhibited)
            }
            Err(error) => Err(Error::DnsError { rcode: Some(error.to_string()), info_code: None }),
        }
    }
}

impl tower_service::Service<Name> for Elsewhere {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        // The connector puts the port in.
        Box::pin(async move { Ok(Elsewhere::look_up(name.as_str(), 0).await?.into_iter()) })
    }
}

fn is_elsewhere(ip: IpAddr) -> bool {
    let near = match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast()
        }
    };
    !near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let granted = ["https://API.example.com".to_owned(), "http://127.0.0.1:8099".to_owned()];
        let origins = Origins::new(&granted, Duration::from_secs(1));
        for (uri, good) in [
            ("https://api.example.com/a?b", true),
            ("https://api.example.com:443/", true),
            ("http://api.example.com/", false),
            ("https://api.example.com:444/", false),
            ("https://api.example.com.evil.net/", false),
            ("http://127.0.0.1:8099/x", true),
            ("http://127.0.0.1/", false),
            ("http://localhost:8099/", false),
        ] {
            assert_eq!(origins.granted(&uri.parse().unwrap()).is_some(), good, "{uri}");
        }
        assert!(is_origin("http://a.b:1") && is_origin("https://a/"));
        for not in ["a.b", "ftp://a", "https://a/path", "https://u:p@a", "https://a?x"] {
            assert!(!is_origin(not), "{not}");
        }
    }

    #[test]
    fn this_machine_and_its_neighbourhood_are_not_elsewhere() {
        for near in
            ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "fe80::1", "::ffff:127.0.0.1", "224.0.0.1"]
        {
            assert!(!is_elsewhere(near.parse().unwrap()), "{near}");
        }
        assert!(is_elsewhere("10.1.2.3".parse().unwrap()) && is_elsewhere("2001:db8::1".parse().unwrap()));
    }
}
