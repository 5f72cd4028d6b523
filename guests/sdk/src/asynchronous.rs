//! A connection in the clothes of WASI 0.3: reading and writing are awaited, and several things can be awaited at once.

mod reader;
mod writer;

use std::fmt;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_io::{AsyncBufRead, AsyncRead, AsyncWrite};

use crate::bindings::asynchronous::portcullis::bridge::async_connection as wit;
use crate::{Local, Outcome, Peer};

pub use reader::Reader;
pub use writer::Writer;

/// The connection that this instance is for.
///
/// It reads and writes by the traits of [`futures-io`](futures_io), and so with all that is made for them: `futures`, `futures-lite`, and
/// by its `compat` module `tokio-util`. Without them, whole pieces can be [received](Self::chunk) and [sent](Self::send); that is also
/// the fastest way, since no byte is copied.
///
/// ```
/// use std::io;
///
/// use portcullis_guest::asynchronous::Connection;
///
/// portcullis_guest::async_handler!(echo);
///
/// async fn echo(mut connection: Connection) -> io::Result<()> {
///     while let Some(chunk) = connection.chunk().await? {
///         connection.send(chunk).await?;
///     }
///     Ok(())
/// }
/// ```
///
/// The end of input is the client's half-close, and it can still be answered. A client that has reset the connection is an error of the
/// kind [`ConnectionReset`](ErrorKind::ConnectionReset) to those who read and to those who write; writing to a connection that
/// was closed here is one of the kind [`BrokenPipe`](ErrorKind::BrokenPipe).
pub struct Connection {
    // In the order in which they are dropped: first what came out of the resource.
    reader: Reader,
    writer: Writer,
    resource: wit::Connection,
}

impl Connection {
    fn new(resource: wit::Connection) -> Self {
        Self {
            reader: Reader::new(&resource),
            writer: Writer::new(&resource),
            resource,
        }
    }

    /// Who the client is.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.resource.peer().into()
    }

    /// Where the connection arrived.
    #[must_use]
    pub fn local(&self) -> Local {
        self.resource.local().into()
    }

    /// The name of the trigger that this guest serves.
    #[must_use]
    pub fn trigger(&self) -> String {
        self.resource.trigger()
    }

    /// What the client has sent, at most 64 KiB of it and at least a byte; `None` at the end of input.
    ///
    /// Nothing is lost when the future is dropped before it is ready.
    ///
    /// # Errors
    /// When the client has reset the connection.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.reader.chunk().await
    }

    /// Sends all of `bytes`; ready when the host has taken them.
    ///
    /// # Errors
    /// When the client has reset the connection or reads no more.
    pub async fn send(&mut self, bytes: Vec<u8>) -> io::Result<()> {
        self.writer.send(bytes).await
    }

    /// Ends the connection's direction to the client; ready when all that was written has been given to the kernel. What the client sends
    /// can still be read.
    ///
    /// # Errors
    /// When not all could be sent.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.writer.finish().await
    }

    /// Both directions at once, for those who read while they write. See [`into_split`](Self::into_split) for tasks of their own.
    pub fn halves(&mut self) -> (&mut Reader, &mut Writer) {
        (&mut self.reader, &mut self.writer)
    }

    /// The two directions, each to go its own way. A direction ends when its half is dropped.
    #[must_use]
    pub fn into_split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.reader).poll_read(cx, buffer)
    }
}

impl AsyncBufRead for Connection {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Pin::new(&mut self.get_mut().reader).poll_fill_buf(cx)
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        Pin::new(&mut self.reader).consume(amount);
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_close(cx)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer())
            .field("local", &self.local())
            .field("trigger", &self.trigger())
            .finish()
    }
}

/// Runs a future beside the handler. The instance lives until the handler and all that it has spawned have ended.
///
/// ```
/// use std::io;
///
/// use portcullis_guest::asynchronous::{Connection, spawn};
///
/// portcullis_guest::async_handler!(greet_while_reading);
///
/// async fn greet_while_reading(connection: Connection) -> io::Result<()> {
///     let (mut reader, mut writer) = connection.into_split();
///     spawn(async move {
///         // A client that went away is not worth a word.
///         let _ = writer.send(b"take your time\n".to_vec()).await;
///     });
///     while let Some(chunk) = reader.chunk().await? {
///         eprintln!("{} bytes", chunk.len());
///     }
///     Ok(())
/// }
/// ```
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    wit_bindgen::spawn_local(future);
}

fn broken(code: wit::ErrorCode) -> io::Error {
    match code {
        wit::ErrorCode::Reset => {
            let why = "the client has reset the connection, or reads no more";
            io::Error::new(ErrorKind::ConnectionReset, why)
        }
        wit::ErrorCode::Io => io::Error::other("the host could not go on with the connection"),
    }
}

/// What `async_handler!` has the host call.
#[doc(hidden)]
pub async fn serve<O: Outcome>(
    resource: wit::Connection,
    handle: impl AsyncFnOnce(Connection) -> O,
) -> Result<(), ()> {
    handle(Connection::new(resource)).await.report()
}

/// Makes a component of an `async` function that serves one [`asynchronous::Connection`](Connection). The function returns nothing, or a
/// `Result` of nothing and any error that can be displayed; see [`Outcome`].
///
/// ```
/// use std::io;
///
/// use portcullis_guest::asynchronous::Connection;
///
/// portcullis_guest::async_handler!(greet);
///
/// async fn greet(mut connection: Connection) -> io::Result<()> {
///     let greeting = format!("good day, {}\n", connection.peer());
///     connection.send(greeting.into_bytes()).await
/// }
/// ```
///
/// A component has one handler: to write it twice is an error, if one of the linker.
#[macro_export]
macro_rules! async_handler {
    ($handle:expr $(,)?) => {
        const _: () = {
            struct Handler;

            impl $crate::bindings::asynchronous::exports::portcullis::bridge::async_handler::Guest
                for Handler
            {
                async fn handle(
                    connection: $crate::bindings::asynchronous::portcullis::bridge::async_connection::Connection,
                ) -> ::core::result::Result<(), ()> {
                    $crate::asynchronous::serve(connection, $handle).await
                }
            }

            $crate::bindings::asynchronous::export_async_service!(
                Handler with_types_in $crate::bindings::asynchronous
            );
        };
    };
}
