//! Requests of `wasi:http` 0.3.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, RequestOptions, Response, Scheme};
use wasip3::wit_bindgen::StreamResult;
use wasip3::{spawn_local, wit_future, wit_stream};

/// The status and the body, and of a long one its length.
pub async fn get(url: &str, patience: Option<u64>) -> Result<String, ErrorCode> {
    read(send("GET", url, patience, 0).await?).await
}

pub async fn with_method(method: &str, url: &str) -> Result<String, ErrorCode> {
    read(send(method, url, None, 0).await?).await
}

pub async fn post(url: &str, size: usize) -> Result<String, ErrorCode> {
    read(send("POST", url, None, size).await?).await
}

/// The answer to a request with a body of `size` bytes.
pub async fn send(
    method: &str,
    url: &str,
    patience: Option<u64>,
    size: usize,
) -> Result<Response, ErrorCode> {
    let (scheme, rest) = url.split_once("://").expect("a URL is written in full");
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let options = patience.map(|milliseconds| {
        let options = RequestOptions::new();
        let time = Some(milliseconds * 1_000_000);
        options.set_connect_timeout(time).expect("it is kept");
        options.set_first_byte_timeout(time).expect("it is kept");
        options.set_between_bytes_timeout(time).expect("it is kept");
        options
    });
    let body = (size > 0).then(|| {
        let (to, body) = wit_stream::new();
        spawn_local(super::give(to, vec![b'x'; size]));
        body
    });
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), body, trailers, options);
    let uri_invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let method = match method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    request.set_method(&method).map_err(uri_invalid)?;
    request.set_scheme(Some(&scheme)).map_err(uri_invalid)?;
    request
        .set_authority(Some(authority))
        .map_err(uri_invalid)?;
    request
        .set_path_with_query(Some(path))
        .map_err(uri_invalid)?;
    client::send(request).await
}

async fn read(answer: Response) -> Result<String, ErrorCode> {
    let status = answer.get_status_code();
    let (_, went) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Response::consume_body(answer, went);
    let mut read = Vec::new();
    let mut length = 0;
    loop {
        let (result, bytes) = body.read(Vec::with_capacity(64 * 1024)).await;
        length += bytes.len();
        if read.len() < 200 {
            read.extend(bytes);
        }
        if result == StreamResult::Dropped {
            break;
        }
    }
    drop(body);
    trailers.await?;
    if length > 200 {
        return Ok(format!("{status} of {length} bytes"));
    }
    Ok(format!("{status} {}", read.escape_ascii()))
}
