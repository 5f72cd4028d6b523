//! Answers on their way to a client: what the guest gave, or what the host says in its place.

use std::convert::Infallible;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Empty};
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiBody;

/// An answer.
pub type Response = http::Response<WasiBody>;

/// Where the guest's own goes; `None` for one that answered with an error.
pub type Given = oneshot::Sender<Option<Response>>;

/// What the client gets: 502 when the guest answered with an error, 500 when it ended without an answer.
/// Why is in the log, and not for the client.
pub async fn sent(given: oneshot::Receiver<Option<Response>>) -> Result<Response, Infallible> {
    Ok(match given.await {
        Ok(Some(response)) => response,
        Ok(None) => refusal(StatusCode::BAD_GATEWAY),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR),
    })
}

/// An answer without a body.
pub fn refusal(status: StatusCode) -> Response {
    let body = Empty::<Bytes>::new().map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response
}
