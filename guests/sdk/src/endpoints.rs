//! Who is at the two ends of a connection, as Rust says it. Written out, they look as they do in the host's log.

use std::fmt;
use std::net::SocketAddr;

/// The client's end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A client over TCP.
    Inet(SocketAddr),
    /// A process of the host's machine, over a unix socket.
    Unix(Credentials),
}

/// The host's end of a connection: where it arrived.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Local {
    /// An address and a port.
    Inet(SocketAddr),
    /// A unix socket.
    Unix(UnixName),
}

/// The process at the other end of a unix socket, as the kernel knew it when it connected. Nothing of it is said by the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its process, where the kernel can say.
    pub pid: Option<u32>,
}

/// The name of a unix socket. Names are bytes and need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UnixName {
    /// A path of the host, which is no path of the guest.
    Path(Vec<u8>),
    /// A name of Linux's abstract namespace, without the zero byte in front.
    Abstract(Vec<u8>),
    /// None: one end of a socket pair.
    Unnamed,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(credentials) => write!(f, "unix:{credentials}"),
        }
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid={}", self.uid)?;
        match self.pid {
            Some(pid) => write!(f, ",pid={pid}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "{address}"),
            Self::Unix(UnixName::Path(path)) => write!(f, "unix:{}", String::from_utf8_lossy(path)),
            Self::Unix(UnixName::Abstract(name)) => write!(f, "unix:@{}", name.escape_ascii()),
            Self::Unix(UnixName::Unnamed) => f.write_str("unix"),
        }
    }
}

/// The two clothes have the same types under different names.
macro_rules! from_wit {
    ($wit:path) => {
        const _: () = {
            use std::net::{SocketAddrV4, SocketAddrV6};

            use $wit as wit;

            impl From<wit::PeerEndpoint> for Peer {
                fn from(peer: wit::PeerEndpoint) -> Self {
                    match peer {
                        wit::PeerEndpoint::Inet(end) => Self::Inet(end.into()),
                        wit::PeerEndpoint::Inet6(end) => Self::Inet(end.into()),
                        wit::PeerEndpoint::Unix(wit::Credentials { uid, gid, pid }) => {
                            Self::Unix(Credentials { uid, gid, pid })
                        }
                    }
                }
            }

            impl From<wit::LocalEndpoint> for Local {
                fn from(local: wit::LocalEndpoint) -> Self {
                    match local {
                        wit::LocalEndpoint::Inet(end) => Self::Inet(end.into()),
                        wit::LocalEndpoint::Inet6(end) => Self::Inet(end.into()),
                        wit::LocalEndpoint::Unix(wit::UnixName::Path(path)) => {
                            Self::Unix(UnixName::Path(path))
                        }
                        wit::LocalEndpoint::Unix(wit::UnixName::Abstract(name)) => {
                            Self::Unix(UnixName::Abstract(name))
                        }
                        wit::LocalEndpoint::Unix(wit::UnixName::Unnamed) => {
                            Self::Unix(UnixName::Unnamed)
                        }
                    }
                }
            }

            impl From<wit::InetEndpoint> for SocketAddr {
                fn from(end: wit::InetEndpoint) -> Self {
                    let (a, b, c, d) = end.address;
                    SocketAddrV4::new([a, b, c, d].into(), end.port).into()
                }
            }

            impl From<wit::Inet6Endpoint> for SocketAddr {
                fn from(end: wit::Inet6Endpoint) -> Self {
                    let (a, b, c, d, e, f, g, h) = end.address;
                    let address = [a, b, c, d, e, f, g, h].into();
                    SocketAddrV6::new(address, end.port, 0, end.scope_id).into()
                }
            }
        };
    };
}

#[cfg(feature = "sync")]
from_wit!(crate::bindings::sync::portcullis::bridge::endpoints);
#[cfg(feature = "async")]
from_wit!(crate::bindings::asynchronous::portcullis::bridge::endpoints);

#[cfg(all(test, feature = "sync"))]
mod tests {
    use super::{Credentials, Local, Peer, UnixName};
    use crate::bindings::sync::portcullis::bridge::endpoints as wit;

    #[test]
    fn addresses_are_those_of_the_standard_library() {
        let peer = wit::PeerEndpoint::Inet(wit::InetEndpoint {
            address: (192, 0, 2, 7),
            port: 4321,
        });
        assert_eq!(
            Peer::from(peer),
            Peer::Inet("192.0.2.7:4321".parse().unwrap())
        );
        let local = wit::LocalEndpoint::Inet6(wit::Inet6Endpoint {
            address: (0xfe80, 0, 0, 0, 0, 0, 0, 0x1),
            port: 80,
            scope_id: 3,
        });
        assert_eq!(
            Local::from(local),
            Local::Inet("[fe80::1%3]:80".parse().unwrap())
        );
    }

    #[test]
    fn endpoints_look_as_in_the_log() {
        let credentials = |pid| {
            Peer::Unix(Credentials {
                uid: 1000,
                gid: 100,
                pid,
            })
        };
        let local = |name| Local::Unix(name).to_string();
        assert_eq!(
            Peer::Inet("[::1]:4321".parse().unwrap()).to_string(),
            "[::1]:4321"
        );
        assert_eq!(credentials(Some(7)).to_string(), "unix:uid=1000,pid=7");
        assert_eq!(credentials(None).to_string(), "unix:uid=1000");
        assert_eq!(local(UnixName::Path(b"/run/x".to_vec())), "unix:/run/x");
        assert_eq!(local(UnixName::Abstract(b"x\0y".to_vec())), "unix:@x\\x00y");
        assert_eq!(local(UnixName::Unnamed), "unix");
    }
}
