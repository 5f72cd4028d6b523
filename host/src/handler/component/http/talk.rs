//! The conversation with one client: HTTP/1.1 with keep-alive or HTTP/2 with prior knowledge, whichever
//! it begins. Whatever it says, what is kept of it is bounded.

use std::pin::pin;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::sync::{mpsc, oneshot};

use super::executor::Executor;
use super::request::{Client, Request};
use super::response;
use crate::outcome::Outcome;
use crate::preopen::wire::Connected;

/// Requests of one connection that are served at once; an HTTP/2 client is told so.
pub const REQUESTS: u32 = 16;

/// Bytes of the head of a request, and of an answer that wait to be sent.
const HEAD: usize = 64 * 1024;
const UNSENT: usize = 64 * 1024;

/// How long a client may take to send the head of a request, if the trigger has more patience.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, and where its answer goes.
pub struct Exchange {
    pub request: Request,
    pub answer: response::Reply,
}

/// Speaks HTTP with a client, and asks for an answer to each request, until the client has had enough
/// or the host has: the request at hand is answered then, and is the last.
pub async fn talk(
    wire: Connected,
    client: Client,
    ask: mpsc::Sender<Exchange>,
    idle: Duration,
    enough: impl Future<Output = ()>,
) -> Outcome {
    let service = service_fn(move |request| {
        let (ask, request) = (ask.clone(), client.request(request));
        async move {
            let request = match request {
                Ok(request) => request,
                Err(status) => return Ok(response::refusal(status)),
            };
            let (answer, answered) = oneshot::channel();
            // Refused when the instance of this connection has gone: the answer is, too.
            let _ = ask.send(Exchange { request, answer }).await;
            drop(ask);
            response::sent(answered).await
        }
    });
    let mut builder = Builder::new(Executor::default());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE.min(idle))
        .max_buf_size(HEAD)
        .half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(REQUESTS)
        .max_send_buf_size(UNSENT)
        .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX));
    let mut talk = pin!(builder.serve_connection(TokioIo::new(wire.clone()), service));
    let ended = tokio::select! {
        biased;
        () = enough => {
            talk.as_mut().graceful_shutdown();
            talk.await
        }
        ended = talk.as_mut() => ended,
    };
    match ended {
        Err(error) if timed_out(&*error) => Outcome::Idle,
        Err(_) if wire.hangup() => Outcome::Hangup,
        // Of a client that speaks no HTTP as well: it was told what can be told.
        Ok(()) | Err(_) => Outcome::Done,
    }
}

fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    let hyper = error.downcast_ref::<hyper::Error>();
    hyper.is_some_and(hyper::Error::is_timeout)
}
