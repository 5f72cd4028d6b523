//! Answers on their way to a client: what the guest gave, or what the host says in its place.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Empty};
use tokio::sync::oneshot;
use wasmtime_wasi_http::{Error, WasiBody};

/// An answer.
pub type Response = http::Response<WasiBody>;

/// Where the guest's own goes; `None` for one that answered with an error.
pub type Reply = oneshot::Sender<Option<Response>>;

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

/// An answer whose body does not end as if it were whole once its guest has `failed`: what remains of
/// the body then looks like its end.
pub fn unless(response: Response, failed: Arc<AtomicBool>) -> Response {
    response.map(|body| Unless { body, failed }.boxed_unsync())
}

struct Unless {
    body: WasiBody,
    failed: Arc<AtomicBool>,
}

impl Body for Unless {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            None if self.failed.load(Relaxed) => Some(Err(Error::HttpResponseIncomplete)),
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        !self.failed.load(Relaxed) && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
