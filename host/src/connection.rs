//! An accepted socket with all that belongs to it: who is at the other end, its id, the permits it
//! holds and the count of what went over it. A connection is a value: dropping it closes the socket
//! and gives the permits back.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::limits::{Permits, Source};
use crate::meter::Meter;

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// Counts up from 1 over the life of the host.
    pub id: u64,
    /// When it was accepted.
    pub since: Instant,
    /// Who is at the other end.
    pub peer: Peer,
    /// Where it arrived, shared by all connections of one listener.
    pub local: Arc<Local>,
    /// The socket itself.
    pub stream: Stream,
    /// What went over it so far; it outlives the connection for the log line.
    pub meter: Arc<Meter>,
    /// Held until the connection is dropped.
    pub permits: Permits,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client over TCP.
    Inet(SocketAddr),
    /// A process of this machine, as the kernel knew it when it connected.
    Unix {
        /// Its effective user.
        uid: u32,
        /// Its effective group.
        gid: u32,
        /// Its process id, where the kernel tells.
        pid: Option<i32>,
    },
}

/// Where a listener is really bound: the port the kernel chose instead of 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// An address and a port.
    Inet(SocketAddr),
    /// A path.
    Unix(PathBuf),
    /// Without the leading `@`.
    Abstract(Vec<u8>),
    /// A unix socket without a name: one end of a pair.
    Unnamed,
}

/// The two kinds of stream socket; both read and write alike.
#[derive(Debug)]
pub enum Stream {
    /// Over inet or inet6.
    Tcp(TcpStream),
    /// Over a path, an abstract name, or one end of a pair.
    Unix(UnixStream),
}

/// Which direction of a stream to end.
pub use std::net::Shutdown;

impl Stream {
    /// Whether a read would not wait; waits for that otherwise. Asks the kernel, since what the
    /// runtime remembers may be older than the last read.
    ///
    /// Ready with the number of bytes at hand, 0 being the end of input.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        match ready!(self.poll_peek(cx, &mut [0; 1])) {
            Ok(0) => Poll::Ready(Ok(0)),
            Ok(_) => Poll::Ready(Ok(rustix::io::ioctl_fionread(self)?)),
            Err(e) => Poll::Ready(Err(e)),
        }
    }

    /// Whether a write would not wait; waits for that otherwise.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(cx),
            Self::Unix(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Copies what is at hand into `into` and leaves it there to be read; waits until there is any.
    pub fn poll_peek(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self {
                Self::Tcp(stream) => ready!(stream.poll_read_ready(cx))?,
                Self::Unix(stream) => ready!(stream.poll_read_ready(cx))?,
            }
            let peeked = self.try_io(Interest::READABLE, || {
                let (count, _) = rustix::net::recv(self, &mut *into, rustix::net::RecvFlags::PEEK)?;
                Ok(count)
            });
            match peeked {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    /// Tries `io`, and forgets the readiness it depended on when it would block.
    fn try_io<R>(&self, interest: Interest, io: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Tcp(stream) => stream.try_io(interest, io),
            Self::Unix(stream) => stream.try_io(interest, io),
        }
    }

    /// Ends one or both directions; the other end sees end of input.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }

    /// The bare socket, which the runtime watches no longer. It is still non-blocking.
    pub fn into_fd(self) -> io::Result<OwnedFd> {
        Ok(match self {
            Self::Tcp(stream) => stream.into_std()?.into(),
            Self::Unix(stream) => stream.into_std()?.into(),
        })
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, from),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, from),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, from),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, from),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown(Shutdown::Write))
    }
}

impl Peer {
    /// What it counts as for the limit of connections from one source.
    pub fn source(&self) -> Source {
        match self {
            Self::Inet(address) => Source::inet(address.ip()),
            Self::Unix { uid, .. } => Source::User(*uid),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix {
                uid,
                pid: Some(pid),
                ..
            } => write!(f, "unix:uid={uid},pid={pid}"),
            Self::Unix { uid, pid: None, .. } => write!(f, "unix:uid={uid}"),
        }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
            Self::Unnamed => f.write_str("unix"),
        }
    }
}
