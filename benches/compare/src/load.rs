//! The loads, each with how much of it.

use std::fmt;

use crate::run::Pace;

/// What a server is put under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// A connection for each message, so many at once.
    Conns(usize),
    /// Messages on so many open connections.
    Rtt(usize),
    /// So many streams at once.
    Bulk(usize),
    /// So many connections that wait.
    Idle(usize),
    /// Nothing: it is started.
    Start,
}

impl Load {
    pub fn wants_a_fresh_server(self) -> bool {
        matches!(self, Self::Idle(_) | Self::Start)
    }

    /// With as many idle connections as this pace has.
    pub fn at(self, pace: &Pace) -> Self {
        match self {
            Self::Idle(connections) => Self::Idle(connections / pace.fewer),
            other => other,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conns(1) => f.write_str("one connection at a time"),
            Self::Conns(slots) => write!(f, "{slots} connections at once"),
            Self::Rtt(streams) => write!(f, "round trips on {streams} connections"),
            Self::Bulk(1) => f.write_str("bulk on 1 stream"),
            Self::Bulk(streams) => write!(f, "bulk on {streams} streams"),
            Self::Idle(count) => write!(f, "{count} idle connections"),
            Self::Start => f.write_str("with a warm cache"),
        }
    }
}
