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

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
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

/// What can be read from a stream without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readable {
    /// Bytes at hand; 0 at the end of input, or for an error that the next read tells.
    pub count: u64,
    /// Whether both directions have ended, as poll(2) means it. A client that has only finished
    /// sending still waits for its answer.
    pub hangup: bool,
}

/// Which direction of a stream to end.
pub use std::net::Shutdown;

impl Stream {
    /// What can be read without waiting; waits until there is something.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<Readable>> {
        loop {
            let now = self.state(PollFlags::IN)?;
            if !now.is_empty() {
                let count = rustix::io::ioctl_fionread(self)?;
                let hangup = now.contains(PollFlags::HUP);
                return Poll::Ready(Ok(Readable { count, hangup }));
            }
            match self {
                Self::Tcp(stream) => ready!(stream.poll_read_ready(cx))?,
                Self::Unix(stream) => ready!(stream.poll_read_ready(cx))?,
            }
            self.forget(Interest::READABLE);
        }
    }

    /// Waits until a write would not wait.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.state(PollFlags::OUT)?.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self {
                Self::Tcp(stream) => ready!(stream.poll_write_ready(cx))?,
                Self::Unix(stream) => ready!(stream.poll_write_ready(cx))?,
            }
            self.forget(Interest::WRITABLE);
        }
    }

    /// What the kernel says now. The runtime remembers what it was told last, which may be older
    /// than the last read or, for a new socket, nothing yet.
    fn state(&self, wanted: PollFlags) -> io::Result<PollFlags> {
        let mut watched = [PollFd::new(self, wanted)];
        poll(&mut watched, Some(&Timespec::default()))?;
        Ok(watched[0].revents())
    }

    /// Has the runtime forget a readiness that the kernel does not confirm.
    fn forget(&self, interest: Interest) {
        let _ = self.try_io(interest, || -> io::Result<()> {
            Err(io::ErrorKind::WouldBlock.into())
        });
    }

    /// Reads, or with `peek` copies, what is at hand; `None` when nothing is. The kernel is asked
    /// and not the runtime, which now and then says no for the sake of other tasks.
    pub fn try_read(&self, into: &mut [u8], peek: bool) -> io::Result<Option<usize>> {
        let peek = if peek {
            RecvFlags::PEEK
        } else {
            RecvFlags::empty()
        };
        let read = retry_on_intr(|| recv(self, &mut *into, RecvFlags::DONTWAIT | peek));
        at_hand(read.map(|(count, _)| count))
    }

    /// Writes what there is room for; `None` when there is none.
    pub fn try_write(&self, from: &[io::IoSlice<'_>]) -> io::Result<Option<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut nothing = SendAncillaryBuffer::default();
        at_hand(retry_on_intr(|| sendmsg(self, from, &mut nothing, flags)))
    }

    /// Copies what is at hand into `into` and leaves it there to be read; waits until there is any.
    pub fn poll_peek(&self, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self {
                Self::Tcp(stream) => ready!(stream.poll_read_ready(cx))?,
                Self::Unix(stream) => ready!(stream.poll_read_ready(cx))?,
            }
            let peeked = self.try_io(Interest::READABLE, || {
                let (count, _) = recv(self, &mut *into, RecvFlags::PEEK)?;
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

/// `None` for what would have had to wait.
fn at_hand(result: rustix::io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
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
