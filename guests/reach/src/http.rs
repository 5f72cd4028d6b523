//! Requests of `wasi:http` 0.2.

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};
use wasip2::io::streams::StreamError;

/// The status and the body, and of a long one its length.
pub fn get(url: &str, patience: Option<u64>) -> Result<String, ErrorCode> {
    read(send("GET", url, patience, 0)?)
}

pub fn with_method(method: &str, url: &str) -> Result<String, ErrorCode> {
    read(send(method, url, None, 0)?)
}

pub fn post(url: &str, size: usize) -> Result<String, ErrorCode> {
    read(send("POST", url, None, size)?)
}

/// The answer to a request with a body of `size` bytes.
pub fn send(
    method: &str,
    url: &str,
    patience: Option<u64>,
    size: usize,
) -> Result<IncomingResponse, ErrorCode> {
    let (scheme, rest) = url.split_once("://").expect("a URL is written in full");
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let request = OutgoingRequest::new(Fields::new());
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
    let uri_invalid = |()| ErrorCode::HttpRequestUriInvalid;
    request.set_method(&method).map_err(uri_invalid)?;
    request.set_scheme(Some(&scheme)).map_err(uri_invalid)?;
    request
        .set_authority(Some(authority))
        .map_err(uri_invalid)?;
    request
        .set_path_with_query(Some(path))
        .map_err(uri_invalid)?;
    let options = patience.map(|milliseconds| {
        let options = RequestOptions::new();
        let time = Some(milliseconds * 1_000_000);
        options.set_connect_timeout(time).expect("it is kept");
        options.set_first_byte_timeout(time).expect("it is kept");
        options.set_between_bytes_timeout(time).expect("it is kept");
        options
    });
    let body = request.body().expect("it is taken once");
    let answer = handle(request, options)?;
    if size > 0 {
        let stream = body.write().expect("it is taken once");
        let mut left = size;
        while left > 0 {
            let now = left.min(4096);
            // The answer tells why it does not take more.
            if stream.blocking_write_and_flush(&vec![b'x'; now]).is_err() {
                break;
            }
            left -= now;
        }
    }
    let _ = OutgoingBody::finish(body, None);
    loop {
        match answer.get() {
            Some(answer) => return answer.expect("it is taken once"),
            None => answer.subscribe().block(),
        }
    }
}

fn read(answer: IncomingResponse) -> Result<String, ErrorCode> {
    let status = answer.status();
    let body = answer.consume().expect("it is taken once");
    let stream = body.stream().expect("it is taken once");
    let mut read = Vec::new();
    let mut length = 0;
    loop {
        match stream.blocking_read(64 * 1024) {
            Ok(bytes) => {
                length += bytes.len();
                if read.len() < 200 {
                    read.extend(bytes);
                }
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                let code = wasip2::http::types::http_error_code(&error);
                return Err(code.unwrap_or(ErrorCode::InternalError(Some(error.to_debug_string()))));
            }
        }
    }
    if length > 200 {
        return Ok(format!("{status} of {length} bytes"));
    }
    Ok(format!("{status} {}", read.escape_ascii()))
}
