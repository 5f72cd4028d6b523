//! Misbehaves over HTTP in the clothes of WASI 0.2, in the way that the path names. What it learns of the host it answers.

use std::hint;
use std::io::Write;
use std::mem;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip2::clocks::monotonic_clock;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam,
};

wasip2::http::proxy::export!(Unruly);

struct Unruly;

static SERVED: AtomicU32 = AtomicU32::new(0);

/// Longer than anybody waits.
const LONG: u64 = 3_600_000_000_000;

impl wasip2::exports::http::incoming_handler::Guest for Unruly {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.path_with_query().unwrap_or_default();
        match target.as_str() {
            "/trap" => process::abort(),
            "/panic" => panic!("as it was told to"),
            "/exit" => process::exit(1),
            "/spin" => loop {
                hint::spin_loop();
            },
            "/grow" => {
                let mut taken: Vec<Vec<u8>> = Vec::new();
                loop {
                    taken.push(vec![1; 1 << 20]);
                    hint::black_box(&taken);
                }
            }
            // Returns without a word.
            "/silent" => {}
            "/wait" => monotonic_clock::subscribe_duration(LONG).block(),
            "/error" => {
                let why = "as it was told to".to_owned();
                ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(why))));
            }
            // Begins to answer, and cannot go on.
            "/late-trap" => {
                let (_body, stream) = begin(out);
                stream
                    .blocking_write_and_flush(b"so far")
                    .expect("the client reads");
                process::abort();
            }
            "/late-wait" => {
                let (_body, stream) = begin(out);
                stream
                    .blocking_write_and_flush(b"so far")
                    .expect("the client reads");
                monotonic_clock::subscribe_duration(LONG).block();
            }
            // Lets the body go without having finished it.
            "/unfinished" => {
                let (body, stream) = begin(out);
                stream
                    .blocking_write_and_flush(b"so far")
                    .expect("the client reads");
                drop(stream);
                drop(body);
            }
            // Says that there is more than there is.
            "/short" => {
                let headers = Fields::new();
                headers
                    .append("content-length", b"100")
                    .expect("a header like others");
                let response = OutgoingResponse::new(headers);
                let body = response.body().expect("the first time");
                ResponseOutparam::set(out, Ok(response));
                let mut stream = body.write().expect("the first time");
                let _ = stream.write_all(b"so far");
                drop(stream);
                let finished = OutgoingBody::finish(body, None);
                eprintln!("{finished:?}");
            }
            // A body without an end, as fast as it may.
            "/endless" => {
                let (_body, mut stream) = begin(out);
                while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
                eprintln!("the client reads no more");
            }
            // Goes on when the client has all of its answer.
            "/after" => {
                answer(out, "that is all\n");
                eprintln!("after the answer");
            }
            "/log" => {
                for line in 0..200 {
                    eprintln!("{line:0>1000}");
                }
                answer(out, "logged\n");
            }
            // What it may not say of the connection, which is the host's.
            "/forbidden" => {
                let names = [
                    "connection",
                    "transfer-encoding",
                    "upgrade",
                    "keep-alive",
                    "host",
                    "bad name",
                    "fine",
                ];
                let fields = Fields::new();
                let tried = names.map(|name| {
                    let set = fields.append(name, b"close");
                    format!("{name}: {set:?}\n")
                });
                let split = fields.append("fine", b"a\r\nset-cookie: b");
                answer(out, &format!("{}split: {split:?}\n", tried.concat()));
            }
            // Headers until it may have no more.
            "/headers" => {
                let fields = Fields::new();
                let mut count = 0;
                let refused = loop {
                    match fields.append(&format!("header-{count}"), &[b'x'; 100]) {
                        Ok(()) => count += 1,
                        Err(refused) => break refused,
                    }
                };
                eprintln!("{refused:?} after {count}");
                let response = OutgoingResponse::new(fields);
                ResponseOutparam::set(out, Ok(response));
            }
            "/huge-header" => {
                let fields = Fields::new();
                let set = fields.append("huge", &vec![b'x'; 1 << 20]);
                answer(out, &format!("{set:?}\n"));
            }
            // Keeps as many headers as it can get.
            "/fields" => loop {
                let fields = Fields::new();
                for count in 0.. {
                    if fields.append(&format!("h{count}"), &[b'x'; 8000]).is_err() {
                        break;
                    }
                }
                mem::forget(fields);
            },
            // Keeps as many long words as it can, in requests that it never sends.
            "/methods" | "/authorities" => {
                let long = "x".repeat(1 << 20);
                let method = Method::Other(long.clone());
                let mut refused = 0;
                for _ in 0..100 {
                    let request = OutgoingRequest::new(Fields::new());
                    let set = match target.as_str() {
                        "/methods" => request.set_method(&method),
                        _ => request.set_authority(Some(&long)),
                    };
                    refused += usize::from(set.is_err());
                    mem::forget(request);
                }
                answer(out, &format!("{refused} refused\n"));
            }
            "/handles" => loop {
                mem::forget(request.headers());
            },
            "/count" => answer(out, &format!("{served}\n")),
            "/url" => {
                let (method, scheme) = (request.method(), request.scheme());
                let authority = request.authority().unwrap_or_default();
                answer(
                    out,
                    &format!("{method:?} {scheme:?} {authority} {target}\n"),
                );
            }
            _ => answer(out, "what?\n"),
        }
    }
}

/// An answer that has begun.
fn begin(out: ResponseOutparam) -> (OutgoingBody, wasip2::io::streams::OutputStream) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the first time");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("the first time");
    (body, stream)
}

/// A whole answer.
fn answer(out: ResponseOutparam, text: &str) {
    let (body, mut stream) = begin(out);
    // A client that has gone needs no answer.
    let _ = stream.write_all(text.as_bytes());
    drop(stream);
    let _ = OutgoingBody::finish(body, None);
}
