//! An HTTP service in the clothes of WASI 0.3. One instance serves all requests of a connection, several at once, as `/count` shows.

use std::env;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::http::types::{ErrorCode, Fields, HeaderError, Method, Request, Response};
use wasip3::wit_bindgen::{FutureReader, StreamReader, StreamResult, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

static SERVED: AtomicU32 = AtomicU32::new(0);

wasip3::http::service::export!(Service);

struct Service;

impl wasip3::exports::http::handler::Guest for Service {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        Ok(match (request.get_method(), path) {
            (Method::Get, "/hello") => text("hello from WASI 0.3\n"),
            (Method::Get, "/count") => text(format!("{served}\n")),
            (Method::Get, "/env") => text(environment()),
            (Method::Get, "/headers") => text(headers(&request)),
            (Method::Get, "/stream") => answer(Fields::new(), none(), async |mut to| {
                for n in 1..=10 {
                    to.write_all(format!("chunk {n}\n").into_bytes()).await;
                }
            }),
            // As it comes, and then its trailers.
            (Method::Post, "/echo") => {
                let fields = Fields::new();
                // Which trailers there will be is said beforehand.
                let names = request.get_headers().get("trailer");
                fields.set("trailer", &names).map_err(refused)?;
                let (body, trailers) = body(request);
                answer(fields, trailers, async |to| copy(body, to).await)
            }
            // The same without touching a byte: the host is left to itself.
            (Method::Post, "/forward") => {
                let (body, trailers) = body(request);
                Response::new(Fields::new(), Some(body), trailers).0
            }
            (Method::Post, "/sum") => {
                let (body, trailers) = body(request);
                let sum = count(body).await;
                trailers.await?;
                text(format!("{sum}\n"))
            }
            _ => {
                let answer = text("not found\n");
                answer.set_status_code(404).expect("404 is a status");
                answer
            }
        })
    }
}

type Trailers = FutureReader<Result<Option<Fields>, ErrorCode>>;

fn environment() -> String {
    let mut variables: Vec<_> = env::vars().collect();
    variables.sort();
    let lines = variables
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"));
    lines.collect()
}

fn headers(request: &Request) -> String {
    let mut lines = String::new();
    for (name, value) in request.get_headers().copy_all() {
        writeln!(lines, "{name}: {}", value.escape_ascii()).expect("a string takes it");
    }
    lines
}

fn body(request: Request) -> (StreamReader<u8>, Trailers) {
    // To drop the future's other end says that all went well.
    let (_, went) = wit_future::new(|| Ok(()));
    Request::consume_body(request, went)
}

async fn copy(mut from: StreamReader<u8>, mut to: StreamWriter<u8>) {
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let (result, filled) = from.read(buffer).await;
        if result == StreamResult::Dropped {
            return;
        }
        buffer = to.write_all(filled).await;
        if !buffer.is_empty() {
            // The client reads no more.
            return;
        }
    }
}

async fn count(mut from: StreamReader<u8>) -> usize {
    let mut sum = 0;
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let (result, filled) = from.read(buffer).await;
        sum += filled.len();
        if result == StreamResult::Dropped {
            return sum;
        }
        buffer = filled;
        buffer.clear();
    }
}

fn text(text: impl Into<String>) -> Response {
    let text = text.into();
    answer(Fields::new(), none(), async |mut to| {
        to.write_all(text.into_bytes()).await;
    })
}

fn none() -> Trailers {
    wit_future::new(|| Ok(None)).1
}

/// An answer whose body is written after it has begun. How it was received is not asked.
fn answer(
    fields: Fields,
    trailers: Trailers,
    write: impl AsyncFnOnce(StreamWriter<u8>) + 'static,
) -> Response {
    let (to, body) = wit_stream::new();
    spawn_local(async move { write(to).await });
    Response::new(fields, Some(body), trailers).0
}

fn refused(error: HeaderError) -> ErrorCode {
    ErrorCode::InternalError(Some(error.to_string()))
}
