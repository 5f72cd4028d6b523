//! Misbehaves over HTTP in the clothes of WASI 0.3, in the way that the path names. What it learns of the host it answers.

use std::hint;
use std::mem;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use wasip3::clocks::monotonic_clock;
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response, Trailers};
use wasip3::wit_bindgen::{FutureReader, StreamWriter};
use wasip3::{spawn_local, wit_future, wit_stream};

wasip3::http::service::export!(Unruly);

struct Unruly;

static SERVED: AtomicU32 = AtomicU32::new(0);

/// Longer than anybody waits.
const LONG: u64 = 3_600_000_000_000;

impl wasip3::exports::http::handler::Guest for Unruly {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let served = SERVED.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        Ok(match target.as_str() {
            "/trap" => process::abort(),
            "/panic" => panic!("as it was told to"),
            "/exit" => process::exit(1),
            "/spin" => loop {
                hint::spin_loop();
            },
            // A twentieth of a second, and an answer.
            "/work" => {
                let begun = monotonic_clock::now();
                while monotonic_clock::now() - begun < 50_000_000 {
                    hint::spin_loop();
                }
                text(format!("{served}\n"))
            }
            "/wait" => {
                monotonic_clock::wait_for(LONG).await;
                text("at last\n")
            }
            "/error" => return Err(ErrorCode::InternalError(Some("as it was told to".into()))),
            // Begins to answer, and cannot go on.
            "/late-trap" => answer(none(), async |mut to| {
                to.write_all(b"so far".to_vec()).await;
                process::abort();
            }),
            "/late-wait" => answer(none(), async |mut to| {
                to.write_all(b"so far".to_vec()).await;
                monotonic_clock::wait_for(LONG).await;
            }),
            // Says with its trailers that the body is not whole.
            "/unfinished" => {
                let trailers = wit_future::new(|| Err(ErrorCode::InternalError(None))).1;
                answer(trailers, async |mut to| {
                    to.write_all(b"so far".to_vec()).await;
                })
            }
            // Says that there is more than there is.
            "/short" => {
                let headers = Fields::new();
                headers
                    .append("content-length", b"100")
                    .expect("a header like others");
                let (mut to, body) = wit_stream::new();
                spawn_local(async move {
                    to.write_all(b"so far".to_vec()).await;
                });
                Response::new(headers, Some(body), none()).0
            }
            // A body without an end, as fast as it may.
            "/endless" => answer(none(), async |mut to| {
                while to.write_all(vec![b'x'; 64 * 1024]).await.is_empty() {}
                eprintln!("the client reads no more");
            }),
            // Goes on when the client has all of its answer.
            "/after" => answer(none(), async |mut to| {
                to.write_all(b"that is all\n".to_vec()).await;
                drop(to);
                eprintln!("after the answer");
            }),
            "/log" => {
                for line in 0..200 {
                    eprintln!("{line:0>1000}");
                }
                text("logged\n")
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
                text(format!("{}split: {split:?}\n", tried.concat()))
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
                Response::new(fields, None, none()).0
            }
            "/huge-header" => {
                let fields = Fields::new();
                let set = fields.append("huge", &vec![b'x'; 1 << 20]);
                text(format!("{set:?}\n"))
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
                    let request = Request::new(Fields::new(), None, none(), None).0;
                    let set = match target.as_str() {
                        "/methods" => request.set_method(&method),
                        _ => request.set_authority(Some(&long)),
                    };
                    refused += usize::from(set.is_err());
                    mem::forget(request);
                }
                text(format!("{refused} refused\n"))
            }
            "/handles" => loop {
                mem::forget(request.get_headers());
            },
            "/count" => text(format!("{served}\n")),
            "/url" => {
                let (method, scheme) = (request.get_method(), request.get_scheme());
                let authority = request.get_authority().unwrap_or_default();
                text(format!("{method:?} {scheme:?} {authority} {target}\n"))
            }
            _ => text("what?\n"),
        })
    }
}

type End = FutureReader<Result<Option<Trailers>, ErrorCode>>;

/// No trailers, and all is well.
fn none() -> End {
    wit_future::new(|| Ok(None)).1
}

fn text(text: impl Into<String>) -> Response {
    let text = text.into();
    answer(none(), async |mut to| {
        to.write_all(text.into_bytes()).await;
    })
}

/// An answer whose body is written after it has begun.
fn answer(end: End, write: impl AsyncFnOnce(StreamWriter<u8>) + 'static) -> Response {
    let (to, body) = wit_stream::new();
    spawn_local(async move { write(to).await });
    Response::new(Fields::new(), Some(body), end).0
}
