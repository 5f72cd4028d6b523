//! Greets over HTTP. The host calls `main` with each request, and each request meets a fresh instance.

use wstd::http::{Body, Error, Request, Response};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let greeting = format!("hello from {}\n", request.uri().path());
    Ok(Response::new(greeting.into()))
}
