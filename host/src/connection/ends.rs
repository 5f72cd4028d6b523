//! The two ends of a connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use crate::limits::Source;

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

impl Peer {
    /// The process at the other end of a unix socket.
    ///
    /// # Errors
    /// When it is none, or the kernel does not tell.
    pub fn unix(socket: impl AsFd) -> io::Result<Self> {
        let who = getsockopt(&socket, PeerCredentials)?;
        Ok(Self::Unix {
            uid: who.uid(),
            gid: who.gid(),
            // 0: in a process namespace that this one does not see.
            pid: Some(who.pid()).filter(|pid| *pid != 0),
        })
    }

    /// Where it comes from, for the limits.
    pub fn source(&self) -> Source {
        match self {
            Self::Inet(address) => Source::inet(address.ip()),
            Self::Unix { uid, gid, .. } => Source::Unix {
                uid: *uid,
                gid: *gid,
            },
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
