//! Listening sockets, and the connections they give. Binding is all or none; accepting cannot fail:
//! whatever the kernel says, the trigger goes on.

mod bound;
mod inherited;
mod open;
mod path;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketAddrAny, SocketFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::connection::{Local, Peer, Stream};
pub use bound::{Bound, Shared, mark};
pub use inherited::{CONTROL, Inherited};
use path::OwnedPath;

/// How long accepting pauses when the system has no descriptor or memory for one more connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that accepts on the runtime it was made on.
#[derive(Debug)]
pub struct Listener {
    /// Where it is bound.
    pub local: Arc<Local>,
    socket: AsyncFd<Arc<OwnedFd>>,
    path: Option<OwnedPath>,
}

/// What came of trying to accept.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Connection(Stream, Peer),
    /// The connection that was announced is gone again, or another taker had it.
    Gone,
    /// The system is out of something (the error says what): accepting has to pause.
    Exhausted(io::Error, Duration),
}

impl Listener {
    /// Waits until a connection may wait to be accepted: what the runtime remembers may be the one
    /// that was accepted last.
    pub async fn maybe_waiting(&self) {
        if self.socket.readable().await.is_err() {
            // The runtime shuts down; nothing is waited for any more.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until a connection waits to be accepted, by the word of the kernel.
    pub async fn waiting(&self) {
        loop {
            let Ok(mut remembered) = self.socket.readable().await else {
                return std::future::pending().await;
            };
            let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
            // An error is told by accept.
            if poll(&mut watched, Some(&Timespec::default())) != Ok(0) {
                return;
            }
            remembered.clear_ready();
        }
    }

    /// Accepts what waits. Never waits itself.
    pub fn accept(&self) -> Accepted {
        let accepted = self.socket.try_io(Interest::READABLE, |socket| {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            Ok(rustix::net::acceptfrom_with(socket, flags)?)
        });
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => return refused(e),
        };
        match peer(&socket, address) {
            Ok(peer) => Accepted::Connection(Stream::new(socket), peer),
            Err(e) => refused(e),
        }
    }
}

/// Sorts the errors of accept(2) into those of one connection and those of the whole system. The
/// manual page lists network errors of the new socket among the first, and asks to go on.
fn refused(error: io::Error) -> Accepted {
    use rustix::io::Errno;
    if error.kind() == io::ErrorKind::WouldBlock {
        return Accepted::Gone;
    }
    match Errno::from_io_error(&error) {
        Some(
            Errno::INTR
            | Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::PERM
            | Errno::TIMEDOUT
            | Errno::NOTCONN,
        ) => Accepted::Gone,
        _ => Accepted::Exhausted(error, PAUSE),
    }
}

/// Who is at the other end, by what accept said.
fn peer(socket: &OwnedFd, address: Option<SocketAddrAny>) -> io::Result<Peer> {
    let inet = address.and_then(|address| SocketAddr::try_from(address).ok());
    if let Some(address) = inet {
        // An IPv4 client of a dual-stack listener, which systemd may hand over, is an IPv4 client.
        return Ok(Peer::Inet(SocketAddr::new(
            address.ip().to_canonical(),
            address.port(),
        )));
    }
    Peer::unix(socket)
}
