//! Requests as a guest gets them: as the client sent them, and with who the client is.

use std::sync::Arc;

use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{HeaderName, HeaderValue, StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::connection::{Connection, Local};

/// The header that says who the client is, as the log does. What a client says in it is dropped.
const PEER: HeaderName = HeaderName::from_static("portcullis-peer");

/// A request on its way to a guest.
pub type Request = http::Request<WasiBody>;

/// Who is asking, and whom, where the request itself does not say it.
#[derive(Clone, Debug)]
pub struct Client {
    peer: HeaderValue,
    local: Arc<Local>,
}

impl Client {
    /// The one at the other end of `connection`.
    pub fn of(connection: &Connection) -> Self {
        let peer = HeaderValue::try_from(connection.peer.to_string());
        Self {
            // An address, or numbers: always a value.
            peer: peer.unwrap_or(HeaderValue::from_static("unknown")),
            local: connection.local.clone(),
        }
    }

    /// Its request for the guest; or the status of the answer to one that does not say which host it is
    /// for, or does not say it once.
    pub fn request(&self, request: http::Request<Incoming>) -> Result<Request, StatusCode> {
        let (mut head, body) = request.into_parts();
        head.headers.insert(PEER, self.peer.clone());
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => Some(host.clone()),
            (None, _) if head.uri.authority().is_some() => None,
            (None, _) if head.version < Version::HTTP_11 => Some(self.host()),
            (Some(_) | None, _) => return Err(StatusCode::BAD_REQUEST),
        };
        if let Some(host) = host {
            let authority = Authority::try_from(host.as_bytes());
            let authority = authority.map_err(|_| StatusCode::BAD_REQUEST)?;
            // A guest is not shown the header: it finds the host where HTTP/2 has it.
            if head.uri.authority().is_none() {
                head.uri = absolute(head.uri, authority)?;
            }
        }
        let body = body.map_err(Error::Hyper).boxed_unsync();
        Ok(Request::from_parts(head, body))
    }

    /// The host that HTTP/1.0 takes for granted.
    fn host(&self) -> HeaderValue {
        let host = match &*self.local {
            Local::Inet(address) => HeaderValue::try_from(address.to_string()).ok(),
            Local::Unix(_) | Local::Abstract(_) | Local::Unnamed => None,
        };
        host.unwrap_or(HeaderValue::from_static("localhost"))
    }
}

/// What a request for `uri` of a host means.
fn absolute(uri: Uri, authority: Authority) -> Result<Uri, StatusCode> {
    let mut parts = uri.into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    Uri::from_parts(parts).map_err(|_| StatusCode::BAD_REQUEST)
}
