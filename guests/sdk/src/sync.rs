//! A connection in the clothes of WASI 0.2: reading and writing wait, as they do with a `TcpStream`.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::iter::FusedIterator;
use std::net::Shutdown;

use crate::bindings::sync::portcullis::bridge::connection as wit;
use crate::bindings::sync::wasi::io::streams::{InputStream, OutputStream, StreamError};
use crate::{Local, Outcome, Peer};

/// What one read asks of the host at most.
const CHUNK: usize = 64 * 1024;

/// The connection that this instance is for.
///
/// It reads and writes as a [`TcpStream`](std::net::TcpStream) does, also behind a shared reference, so that a reader and a writer can
/// be had of it at once:
///
/// ```
/// use std::io::{self, BufRead, BufReader, Write};
///
/// use portcullis_guest::Connection;
///
/// portcullis_guest::handler!(greet);
///
/// fn greet(connection: Connection) -> io::Result<()> {
///     let mut client = &connection;
///     writeln!(client, "who is there?")?;
///     for line in BufReader::new(&connection).lines() {
///         writeln!(client, "good day, {}", line?)?;
///     }
///     Ok(())
/// }
/// ```
///
/// Every read and every write is a call of the host. What moves small pieces wants a [`BufReader`](io::BufReader) and a
/// [`BufWriter`](io::BufWriter); `write!` needs none, it sends its text as one piece.
///
/// The end of input is the client's half-close, and it can still be answered. Errors are of these kinds:
///
/// | kind | when |
/// |---|---|
/// | [`ConnectionReset`](ErrorKind::ConnectionReset) | the client has reset the connection |
/// | [`BrokenPipe`](ErrorKind::BrokenPipe) | a write, when the client reads no more or this end was shut down |
pub struct Connection {
    // In the order in which they are dropped: first what came out of the resource.
    input: InputStream,
    output: OutputStream,
    resource: wit::Connection,
}

impl Connection {
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

    /// Ends one direction or both: after `Shutdown::Write` the client sees the end of input once it has read all that was written, after
    /// `Shutdown::Read` what still arrives is thrown away. To end a direction again does nothing.
    pub fn shutdown(&self, how: Shutdown) {
        self.resource.shutdown(match how {
            Shutdown::Read => wit::Direction::Receive,
            Shutdown::Write => wit::Direction::Send,
            Shutdown::Both => wit::Direction::Both,
        });
    }

    /// What the client has sent, at most 64 KiB of it and at least a byte; `None` at the end of input. It waits for the client, and for
    /// as little as it can. Bulk travels fastest so: the bytes stay where the host has put them.
    ///
    /// # Errors
    /// When the client has reset the connection.
    pub fn chunk(&self) -> io::Result<Option<Vec<u8>>> {
        self.receive(CHUNK)
    }

    /// All that the client sends, [chunk](Self::chunk) by chunk, to the end of input or the first error.
    #[must_use]
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks {
            connection: Some(self),
        }
    }

    /// Between 1 and `limit` bytes; `None` at the end of input.
    fn receive(&self, limit: usize) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.input.blocking_read(limit as u64) {
                // Nothing yet, says a host that woke too early.
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StreamError::Closed) => return Ok(None),
                Err(StreamError::LastOperationFailed(why)) => {
                    return Err(reset(&why.to_debug_string()));
                }
            }
        }
    }

    /// Sends what the host takes at once, after waiting for it to take any. Much travels in one call of the host.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        loop {
            let permitted = self.output.check_write().map_err(unwritten)?;
            if permitted == 0 {
                self.output.subscribe().block();
                continue;
            }
            let permitted = usize::try_from(permitted).unwrap_or(usize::MAX);
            let bytes = &bytes[..bytes.len().min(permitted)];
            self.output.write(bytes).map_err(unwritten)?;
            return Ok(bytes.len());
        }
    }
}

impl Read for &Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let bytes = self.receive(buffer.len().min(CHUNK))?.unwrap_or_default();
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn read_to_end(&mut self, all: &mut Vec<u8>) -> io::Result<usize> {
        let before = all.len();
        for chunk in self.chunks() {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.len() - before)
    }
}

impl Write for &Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    /// Does nothing: what has been written is sent without a flush.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    // One call of the host, and one packet, instead of one for every piece of the format.
    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        match text.as_str() {
            Some(text) => self.write_all(text.as_bytes()),
            None => self.write_all(text.to_string().as_bytes()),
        }
    }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buffer)
    }

    fn read_to_end(&mut self, all: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(all)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes)
    }

    /// Does nothing: what has been written is sent without a flush.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
        (&*self).write_fmt(text)
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

/// All that a client sends, piece by piece; [`Connection::chunks`] gives it.
#[derive(Debug)]
pub struct Chunks<'a> {
    /// `None` after the last one.
    connection: Option<&'a Connection>,
}

impl Iterator for Chunks<'_> {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let chunk = self.connection?.chunk().transpose();
        if !matches!(chunk, Some(Ok(_))) {
            self.connection = None;
        }
        chunk
    }
}

impl FusedIterator for Chunks<'_> {}

fn unwritten(error: StreamError) -> io::Error {
    match error {
        StreamError::Closed => {
            let why = "the client reads no more, or this end was shut down";
            io::Error::new(ErrorKind::BrokenPipe, why)
        }
        StreamError::LastOperationFailed(why) => reset(&why.to_debug_string()),
    }
}

fn reset(why: &str) -> io::Error {
    io::Error::new(ErrorKind::ConnectionReset, why)
}

/// What `handler!` has the host call.
#[doc(hidden)]
#[expect(
    clippy::result_unit_err,
    reason = "the world has no more to say than that"
)]
pub fn serve<O: Outcome>(
    resource: wit::Connection,
    handle: impl FnOnce(Connection) -> O,
) -> Result<(), ()> {
    let connection = Connection {
        input: resource.input(),
        output: resource.output(),
        resource,
    };
    handle(connection).report()
}

/// Makes a component of a function that serves one [`Connection`]. The function returns nothing, or a `Result` of nothing and any error
/// that can be displayed; see [`Outcome`].
///
/// ```
/// portcullis_guest::handler!(|connection| {
///     use std::io::Write;
///     write!(&connection, "good day, {}\n", connection.peer())
/// });
/// ```
///
/// A component has one handler: to write it twice is an error, if one of the linker.
#[macro_export]
macro_rules! handler {
    ($handle:expr $(,)?) => {
        const _: () = {
            struct Handler;

            impl $crate::bindings::sync::exports::portcullis::bridge::handler::Guest for Handler {
                fn handle(
                    connection: $crate::bindings::sync::portcullis::bridge::connection::Connection,
                ) -> ::core::result::Result<(), ()> {
                    $crate::serve(connection, $handle)
                }
            }

    $crate::bindings::sync::export_service!(Handler with_types_in $crate::bindings::sync);
        };
    };
}
