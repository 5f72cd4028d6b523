//! Where a connection comes from, and what of that counts as one source.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// An address; never one of IPv4 in IPv6's clothes.
    Inet(IpAddr),
    /// A process of this machine.
    Unix {
        /// The user it runs as.
        uid: u32,
        /// Its primary group: the kernel tells of no other.
        gid: u32,
    },
}

/// How many bits of an address make a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub inet: u8,
    pub inet6: u8,
}

/// One source. Neither a user nor a prefix is ever taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Inet(Ipv4Addr),
    Inet6(Ipv6Addr),
    User(u32),
}

impl Source {
    /// That of an address. An IPv4 client of a dual-stack listener is an IPv4 client.
    pub fn inet(ip: IpAddr) -> Self {
        Self::Inet(ip.to_canonical())
    }

    /// Whether it is on this machine.
    pub fn is_local(self) -> bool {
        match self {
            Self::Inet(ip) => ip.is_loopback(),
            Self::Unix { .. } => true,
        }
    }
}

impl Prefixes {
    pub fn key(self, source: Source) -> Key {
        match source {
            Source::Inet(IpAddr::V4(ip)) => {
                let rest = 32 - u32::from(self.inet);
                Key::Inet((u32::from(ip) & u32::MAX.unbounded_shl(rest)).into())
            }
            Source::Inet(IpAddr::V6(ip)) => {
                let rest = 128 - u32::from(self.inet6);
                Key::Inet6((u128::from(ip) & u128::MAX.unbounded_shl(rest)).into())
            }
            Source::Unix { uid, .. } => Key::User(uid),
        }
    }
}
