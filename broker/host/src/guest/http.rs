//! `wasi:http`, to granted origins only.
//!
//! Invariants: scheme, host and port must be those of a grant; a host that is granted by name must not
//! lead to this machine or its neighbourhood (loopback, link-local, unspecified, multicast) unless the
//! grant says `localhost`; plain requests connect to the very address that was checked. A request ends
//! with the call that made it.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::http::uri::Authority;
use hyper::{Request, Response, Uri};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks, default_send_request};

const CONNECT_WAIT: Duration = Duration::from_secs(10);

type Sending = Box<dyn Future<Output = Result<(Response<WasiBody>, Finishing), Error>> + Send>;
type Finishing = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// What a guest may reach.
#[derive(Clone, Debug)]
pub(crate) struct Origins {
    granted: Vec<Origin>,
    /// A whole call's time.
    limit: Duration,
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
        Origins { granted, limit }
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
        Box::new(async move {
            let request = checked(request, &origin).await?;
            let (response, rest) = default_send_request(request, Some(options)).await?;
            Ok((response.map(BodyExt::boxed_unsync), Box::new(rest) as Finishing))
        })
    }
}

impl Origins {
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

/// Looks the host up, and refuses to be led to this machine. A plain request is sent to the address that
/// was looked at; with TLS the certificate vouches for the name.
async fn checked(mut request: Request<WasiBody>, origin: &Origin) -> Result<Request<WasiBody>, Error> {
    if origin.ip().is_some() || origin.host == "localhost" {
        return Ok(request);
    }
    let looked_up = tokio::net::lookup_host((origin.host.as_str(), origin.port)).await;
    let addresses: Vec<SocketAddr> = looked_up
        .map_err(|error| Error::DnsError { rcode: Some(error.to_string()), info_code: None })?
        .collect();
    let Some(address) = addresses.iter().find(|address| is_elsewhere(address.ip())) else {
        return Err(Error::DestinationIpProhibited);
    };
    if addresses.iter().all(|address| is_elsewhere(address.ip())) && origin.scheme == "https" {
        return Ok(request);
    }
    if origin.scheme == "https" {
        return Err(Error::DestinationIpProhibited);
    }
    let mut parts = request.uri().clone().into_parts();
    parts.authority = Some(address.to_string().parse().map_err(|_| Error::HttpRequestUriInvalid)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)?;
    Ok(request)
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
