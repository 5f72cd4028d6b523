//! An HTTP service in the clothes of WASI 0.2, written as one writes them: with `wstd`, which knows nothing of this host. Each request
//! meets a fresh instance, as `/count` shows.

use std::env;
use std::fmt::Write;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_lite::stream;
use wstd::http::body::{Body, util::BodyExt};
use wstd::http::{Error, Method, Request, Response, StatusCode};

static SERVED: AtomicU32 = AtomicU32::new(0);

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
    let (head, body) = request.into_parts();
    let answer = match (&head.method, head.uri.path()) {
        (&Method::GET, "/hello") => Body::from("hello from WASI 0.2\n"),
        (&Method::GET, "/count") => Body::from(format!("{served}\n")),
        (&Method::GET, "/env") => {
            let mut variables: Vec<_> = env::vars().collect();
            variables.sort();
            let mut lines = String::new();
            for (name, value) in variables {
                writeln!(lines, "{name}={value}")?;
            }
            Body::from(lines)
        }
        (&Method::GET, "/headers") => {
            let mut lines = String::new();
            for (name, value) in &head.headers {
                writeln!(lines, "{name}: {}", value.as_bytes().escape_ascii())?;
            }
            Body::from(lines)
        }
        (&Method::GET, "/stream") => {
            Body::from_stream(stream::iter((1..=10).map(|n| format!("chunk {n}\n"))))
        }
        // As it comes, trailers and all; which ones there will be is said beforehand.
        (&Method::POST, "/echo") => {
            let mut answer = Response::new(body);
            if let Some(names) = head.headers.get("trailer") {
                answer.headers_mut().insert("trailer", names.clone());
            }
            return Ok(answer);
        }
        (&Method::POST, "/sum") => {
            let mut sum = 0;
            let mut body = body.into_boxed_body();
            while let Some(frame) = body.frame().await {
                sum += frame?.data_ref().map_or(0, |data| data.len());
            }
            Body::from(format!("{sum}\n"))
        }
        _ => {
            let mut answer = Response::new(Body::from("not found\n"));
            *answer.status_mut() = StatusCode::NOT_FOUND;
            return Ok(answer);
        }
    };
    Ok(Response::new(answer))
}
