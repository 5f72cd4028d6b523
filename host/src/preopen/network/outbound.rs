//! The requests of a guest, as `wasi:http` hands them over: refused at once, or sent to a site that is
//! allowed. Redirections are the guest's to follow, by a request that is looked at like any other.

use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::Outlet;
use super::exchange::{Exchange, Sent};
use super::reach::Site;
use crate::plan::HttpScheme;

/// How the HTTP requests of a guest leave the host.
#[derive(Clone)]
pub struct Outbound(Outlet);

impl Outbound {
    /// By this way.
    pub fn new(outlet: Outlet) -> Self {
        Self(outlet)
    }

    /// The way they leave.
    pub fn outlet(&self) -> &Outlet {
        &self.0
    }

    /// The exchange that `request` asks for, if it may be.
    fn exchange(
        &self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<Exchange, Error> {
        let Some(way) = &self.0.0 else {
            return Err(Error::HttpRequestDenied);
        };
        // A tunnel is no request.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let site = site(request.uri())?;
        let Some(addresses) = way.open.reach.site(&site) else {
            return Err(Error::HttpRequestDenied);
        };
        let Some(socket) = self.0.socket() else {
            return Err(Error::ConnectionLimitReached);
        };
        let tls = match site.scheme {
            HttpScheme::Plain => None,
            HttpScheme::Tls => Some(way.open.tls.clone().ok_or(Error::ConfigurationError)?),
        };
        Ok(Exchange {
            addresses: addresses.to_vec(),
            request: addressed(request, &site)?,
            host: site.host,
            tls,
            options: options.unwrap_or_default(),
            socket,
        })
    }
}

/// Whom a request is for.
fn site(uri: &Uri) -> Result<Site, Error> {
    let scheme = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => HttpScheme::Plain,
        Some(scheme) if *scheme == Scheme::HTTPS => HttpScheme::Tls,
        _ => return Err(Error::HttpRequestUriInvalid),
    };
    let authority = uri.authority().ok_or(Error::HttpRequestUriInvalid)?;
    let host = authority.host();
    // Who asks is said in a header, and a port that is none is not that of the scheme.
    let behind = authority.as_str().strip_prefix(host);
    let port = match behind.map(|behind| behind.strip_prefix(':').unwrap_or(behind)) {
        Some("") => scheme.port().get(),
        Some(port) => port.parse().map_err(|_| Error::HttpRequestUriInvalid)?,
        None => return Err(Error::HttpRequestUriInvalid),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let host = match bare.unwrap_or(host).parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.to_ascii_lowercase(),
    };
    Ok(Site { scheme, host, port })
}

/// The request as it goes over its connection: to a path, at a host that is the one that was allowed.
fn addressed(mut request: Request<WasiBody>, site: &Site) -> Result<Request<WasiBody>, Error> {
    let written = request.uri().path_and_query();
    let path = match written.map_or("", PathAndQuery::as_str) {
        path if path.starts_with('/') => path.to_owned(),
        rest => format!("/{rest}"),
    };
    let path = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(path);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Error::HttpRequestUriInvalid)?;
    let host = if site.host.contains(':') {
        format!("[{}]", site.host)
    } else {
        site.host.clone()
    };
    let host = if site.port == site.scheme.port().get() {
        host
    } else {
        format!("{host}:{}", site.port)
    };
    let host = HeaderValue::try_from(host).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _failed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let exchange = self.exchange(request, options);
        Box::new(async move { exchange?.run().await })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

/// Bytes of a body that the host takes from a guest at once.
const CHUNK: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn words(uri: &str) -> Option<String> {
        let Site { scheme, host, port } = site(&uri.parse().unwrap()).ok()?;
        Some(format!("{} {host} {port}", scheme.name()))
    }

    #[test]
    fn a_site_has_one_spelling() {
        for (uri, site) in [
            ("http://API.Example.com/a?b", "http api.example.com 80"),
            ("https://api.example.com", "https api.example.com 443"),
            (
                "https://api.example.com:8443/",
                "https api.example.com 8443",
            ),
            ("http://[::ffff:10.0.0.7]:8080/", "http 10.0.0.7 8080"),
            ("http://[0:0:0:0:0:0:0:1]/", "http ::1 80"),
            ("http://a:/", "http a 80"),
            ("http://api.example.com./", "http api.example.com. 80"),
        ] {
            assert_eq!(words(uri).as_deref(), Some(site), "{uri}");
        }
        for uri in ["/path", "ftp://a/", "http://user@a/", "http://a:99999/"] {
            assert_eq!(
                uri.parse::<Uri>().ok().and_then(|uri| site(&uri).ok()),
                None,
                "{uri}"
            );
        }
    }
}
