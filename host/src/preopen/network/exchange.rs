//! One request and its answer, over a connection of their own: to the first pinned address that takes it,
//! by HTTP/1.1, encrypted if it is to be. Nothing of it outlives its answer's body, or its instance.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::body::Timed;
use super::tls;

/// How long each step may take for which a guest sets no time: to connect (and to agree on encryption),
/// to begin an answer, and to go on with it. The deadline of its connection holds besides.
const CONNECT: Duration = Duration::from_secs(10);
const FIRST_BYTE: Duration = Duration::from_mins(1);
const BETWEEN_BYTES: Duration = Duration::from_mins(1);

/// Bytes of an answer that are read ahead of the guest; the head of an answer has to fit.
const AHEAD: usize = 64 * 1024;

/// The answer to a request, and what goes on with its connection.
pub type Sent = (
    Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

/// A request that may be sent.
pub struct Exchange {
    /// Where to; not empty.
    pub addresses: Vec<SocketAddr>,
    /// Whom the certificate has to be of.
    pub host: String,
    /// What encrypts it, if anything does.
    pub tls: Option<TlsConnector>,
    /// With a path in place of its URI.
    pub request: Request<WasiBody>,
    /// How long it may take.
    pub options: RequestOptions,
    /// The place of its connection.
    pub socket: OwnedSemaphorePermit,
}

/// A connection to a server.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

impl Exchange {
    /// Sends the request, and waits for the head of the answer.
    pub async fn run(self) -> Result<Sent, Error> {
        let Self {
            addresses,
            host,
            tls,
            request,
            options,
            socket,
        } = self;
        let patience = options.connect_timeout.unwrap_or(CONNECT);
        let wire = timeout(patience, connect(&addresses, &host, tls)).await;
        let wire = wire.map_err(|_| Error::ConnectionTimeout)??;
        let (mut sender, mut connection) = http1::Builder::new()
            .max_buf_size(AHEAD)
            .handshake::<_, WasiBody>(TokioIo::new(wire))
            .await
            .map_err(interrupted)?;

        let patience = options.first_byte_timeout.unwrap_or(FIRST_BYTE);
        let mut over = false;
        let answered = async {
            let answer = sender.send_request(request);
            tokio::pin!(answer);
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                _ = &mut connection => over = true,
            }
            // Its connection has ended, so this is decided, too.
            answer.await
        };
        let answer = timeout(patience, answered).await;
        let answer = answer.map_err(|_| Error::ConnectionReadTimeout)?;
        let answer = answer.map_err(interrupted)?;

        let patience = options.between_bytes_timeout.unwrap_or(BETWEEN_BYTES);
        let answer = answer.map(|body| Timed::new(body, patience).boxed_unsync());
        let rest = async move {
            if !over {
                // What goes wrong with an answer is told by its body, and a server that closes without a
                // word after the last of it has done nothing wrong.
                let _ = connection.await;
            }
            drop(socket);
            Ok(())
        };
        Ok((answer, Box::new(rest)))
    }
}

/// A connection to the first of the addresses that takes one.
async fn connect(
    addresses: &[SocketAddr],
    host: &str,
    tls: Option<TlsConnector>,
) -> Result<Box<dyn Wire>, Error> {
    let mut last = Error::DestinationNotFound;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small requests leave at once. A stream that takes no option tells why when it is used.
                let _ = stream.set_nodelay(true);
                let Some(tls) = tls else {
                    return Ok(Box::new(stream));
                };
                let name = ServerName::try_from(host.to_owned());
                let name = name.map_err(|_| Error::HttpRequestUriInvalid)?;
                let stream = tls
                    .connect(name, stream)
                    .await
                    .map_err(|error| tls::failure(&error))?;
                return Ok(Box::new(stream));
            }
            Err(error) => last = failure(&error),
        }
    }
    Err(last)
}

/// What the system says of a connection, in the words of `wasi:http`.
pub fn failure(error: &io::Error) -> Error {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionRefused => Error::ConnectionRefused,
        Kind::TimedOut => Error::ConnectionTimeout,
        Kind::HostUnreachable => Error::DestinationUnavailable,
        Kind::NetworkUnreachable | Kind::AddrNotAvailable => Error::DestinationIpUnroutable,
        Kind::PermissionDenied => Error::DestinationIpProhibited,
        Kind::ConnectionReset
        | Kind::ConnectionAborted
        | Kind::BrokenPipe
        | Kind::UnexpectedEof => Error::ConnectionTerminated,
        _ => Error::InternalError(Some(error.to_string())),
    }
}

/// What went wrong while HTTP was spoken, in the words of `wasi:http`.
#[expect(clippy::needless_pass_by_value, reason = "it is used by map_err")]
pub fn interrupted(error: hyper::Error) -> Error {
    let source = std::error::Error::source(&error);
    if let Some(io) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return match io.kind() {
            io::ErrorKind::UnexpectedEof => Error::HttpResponseIncomplete,
            _ => failure(io),
        };
    }
    if error.is_parse_too_large() {
        Error::HttpResponseHeaderSectionSize(None)
    } else if error.is_timeout() {
        Error::ConnectionReadTimeout
    } else if error.is_incomplete_message() || error.is_body_write_aborted() {
        Error::HttpResponseIncomplete
    } else if error.is_closed() || error.is_canceled() {
        Error::ConnectionTerminated
    } else {
        Error::HttpProtocolError
    }
}
