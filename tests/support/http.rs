//! Clients of HTTP: one that says every byte itself over HTTP/1, and hyper's over HTTP/2 with prior
//! knowledge.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use crate::support::{Client, PATIENCE};

/// What a server has said in full.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    /// The one value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(found, _)| found == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Whether the server will close the connection after it.
    pub fn is_last(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

/// A connection that speaks HTTP/1.
pub struct Web {
    to: Client,
    from: BufReader<Client>,
}

impl Web {
    pub fn to(address: &str) -> Self {
        Self::over(Client::to(address))
    }

    pub fn over(client: Client) -> Self {
        let from = BufReader::new(client.try_clone());
        Self { to: client, from }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.to.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the server may have no more ears for.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.to.write_all(bytes.as_ref()).is_ok()
    }

    pub fn half_close(&self) {
        self.to.shutdown(Shutdown::Write);
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.answer()
    }

    pub fn post(&mut self, path: &str, body: &[u8]) -> Answer {
        let count = body.len();
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {count}\r\n\r\n"
        ));
        self.send(body);
        self.answer()
    }

    /// The next answer, which has to be whole.
    pub fn answer(&mut self) -> Answer {
        self.heard().expect("the answer is not whole")
    }

    /// The next answer, if the connection does not end before it is whole.
    pub fn heard(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        if answer.header("transfer-encoding") == Some("chunked") {
            self.chunks(&mut answer)?;
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().unwrap();
            answer.body = self.bytes(length)?;
        } else if answer.is_last() {
            answer.body = self.rest();
        }
        Some(answer)
    }

    /// The head of the next answer.
    pub fn head(&mut self) -> Option<Answer> {
        let line = self.line()?;
        let mut words = line.split(' ');
        assert!(words.next().unwrap().starts_with("HTTP/1."), "{line}");
        Some(Answer {
            status: words.next().unwrap().parse().unwrap(),
            headers: self.fields()?,
            ..Answer::default()
        })
    }

    /// Chunks to the last, and the trailers.
    fn chunks(&mut self, answer: &mut Answer) -> Option<()> {
        loop {
            let length = usize::from_str_radix(&self.line()?, 16).unwrap();
            if length == 0 {
                answer.trailers = self.fields()?;
                return Some(());
            }
            answer.body.extend(self.bytes(length)?);
            assert_eq!(self.line()?, "");
        }
    }

    /// `Name: value` lines up to the empty one.
    fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(": ").unwrap();
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    pub fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        if let Err(error) = self.from.read_line(&mut line) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        line.strip_suffix("\r\n").map(str::to_owned)
    }

    pub fn bytes(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        match self.from.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) => {
                let ends = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                assert!(ends.contains(&error.kind()), "{error}");
                None
            }
        }
    }

    /// What comes until the end, be it a reset.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Err(error) = self.from.read_to_end(&mut rest) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
        rest
    }

    /// Whether the server ends the connection without another byte.
    pub fn is_over(&mut self) -> bool {
        self.rest().is_empty()
    }
}

/// A body that a client sends.
pub type Body = BoxBody<Bytes, Infallible>;

/// A connection that speaks HTTP/2.
#[derive(Clone)]
pub struct Web2 {
    send: http2::SendRequest<Body>,
    over: watch::Receiver<bool>,
}

impl Web2 {
    pub async fn to(address: &str) -> Self {
        match address.strip_prefix("unix:") {
            Some(path) => Self::over(UnixStream::connect(path).await.unwrap()).await,
            None => Self::over(TcpStream::connect(address).await.unwrap()).await,
        }
    }

    async fn over(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let executor = TokioExecutor::new();
        let shaken = http2::handshake(executor, TokioIo::new(stream)).await;
        let (send, connection) = shaken.unwrap();
        let (ended, over) = watch::channel(false);
        tokio::spawn(async move {
            // An error is the end, too.
            let _ = connection.await;
            ended.send(true)
        });
        Self { send, over }
    }

    pub async fn get(&self, path: &str) -> hyper::Result<Answer> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> hyper::Result<Answer> {
        self.ask(Method::POST, path, body).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> hyper::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://test{path}"));
        self.request(request.body(Full::new(body.into()).boxed()).unwrap())
            .await
    }

    /// Sends a request, and gives its answer when that is whole.
    pub async fn request(&self, request: Request<Body>) -> hyper::Result<Answer> {
        let mut send = self.send.clone();
        soon(async {
            send.ready().await?;
            let (head, body) = send.send_request(request).await?.into_parts();
            let body = body.collect().await?;
            let fields = |fields: &http::HeaderMap| {
                let fields = fields.iter();
                fields
                    .map(|(name, value)| {
                        (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
                    })
                    .collect::<Vec<_>>()
            };
            Ok(Answer {
                status: head.status.as_u16(),
                headers: fields(&head.headers),
                trailers: body.trailers().map(fields).unwrap_or_default(),
                body: body.to_bytes().to_vec(),
            })
        })
        .await
    }

    /// Sends a request, and gives the beginning of its answer.
    pub async fn begin(
        &self,
        request: Request<Body>,
    ) -> hyper::Result<http::Response<hyper::body::Incoming>> {
        let mut send = self.send.clone();
        soon(async {
            send.ready().await?;
            send.send_request(request).await
        })
        .await
    }

    /// Waits until the connection has ended.
    pub async fn is_over(&self) {
        let mut over = self.over.clone();
        soon(over.wait_for(|over| *over)).await.unwrap();
    }
}

/// What is waited for no longer than a test has patience.
pub async fn soon<T>(work: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, work).await;
    done.expect("never done")
}
