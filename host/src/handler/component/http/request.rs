//! Requests as a guest gets them: as the client sent them, and with who the client is.

use std::sync::Arc;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderName, HeaderValue, StatusCode, Version};
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

    /// Its request for the guest; or the status of the answer to one that names no host though it has to.
    pub fn request(&self, request: http::Request<Incoming>) -> Result<Request, StatusCode> {
        let (mut head, body) = request.into_parts();
        head.headers.insert(PEER, self.peer.clone());
        let named = head.uri.authority().is_some() || head.headers.contains_key(HOST);
        if !named {
            if head.version >= Version::HTTP_11 {
                return Err(StatusCode::BAD_REQUEST);
            }
            head.headers.insert(HOST, self.host());
        }
        let host = head.headers.get(HOST).map(HeaderValue::as_bytes);
        if host.is_some_and(|host| Authority::try_from(host).is_err()) {
            return Err(StatusCode::BAD_REQUEST);
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
