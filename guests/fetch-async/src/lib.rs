//! An HTTP service in the clothes of WASI 0.3 that answers with what it fetches: `GET /?http://HOST/PATH`. One instance serves all requests of a
//! connection. It touches no byte of a body itself.

use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::{wit_future, wit_stream};

wasip3::http::service::export!(Fetch);

struct Fetch;

impl wasip3::exports::http::handler::Guest for Fetch {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let target = request.get_path_with_query().unwrap_or_default();
        let url = target.split_once('?').map_or("", |(_, url)| url);
        let (headers, body, trailers) = match fetch(url).await {
            Ok(answer) => {
                let (_, went) = wit_future::new(|| Ok(()));
                let (body, trailers) = Response::consume_body(answer, went);
                return Ok(Response::new(Fields::new(), Some(body), trailers).0);
            }
            Err(error) => {
                let (mut to, body) = wit_stream::new();
                let text = format!("{error:?}\n").into_bytes();
                wasip3::spawn_local(async move {
                    to.write_all(text).await;
                });
                (Fields::new(), Some(body), wit_future::new(|| Ok(None)).1)
            }
        };
        let answer = Response::new(headers, body, trailers).0;
        answer.set_status_code(502).expect("502 is a status");
        Ok(answer)
    }
}

async fn fetch(url: &str) -> Result<Response, ErrorCode> {
    let invalid = |()| ErrorCode::HttpRequestUriInvalid;
    let (scheme, rest) = url.split_once("://").ok_or(()).map_err(invalid)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        _ => Scheme::Https,
    };
    let (authority, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/"),
    };
    let (_, trailers) = wit_future::new(|| Ok(None));
    let (request, _) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&scheme)).map_err(invalid)?;
    request.set_authority(Some(authority)).map_err(invalid)?;
    request.set_path_with_query(Some(path)).map_err(invalid)?;
    client::send(request).await
}
