//! An HTTP service that answers with what it fetches: `GET /?http://HOST/PATH`. Each request meets a fresh instance. Written with `wstd`, as one
//! writes a program that asks another service.

use wstd::http::{Body, Client, Error, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let url = request.uri().query().unwrap_or_default();
    let asked = Request::get(url).body(Body::empty())?;
    match Client::new().send(asked).await {
        // Its body as it comes.
        Ok(answer) => Ok(Response::new(answer.into_body())),
        Err(error) => {
            let mut answer = Response::new(Body::from(format!("{error:?}\n")));
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            Ok(answer)
        }
    }
}
