//! Why a connection is refused, and why accepting waits, each in a word for the log.

use std::fmt;

/// Why a connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The rules of access say so.
    Denied,
    /// It is not the time of day.
    Time,
    /// Its source has as many connections as it may.
    PerSource,
    /// Its source comes faster than it may.
    SourceRate,
    /// All together come faster than they may.
    Rate,
}

/// What there is too little of to accept at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// Turns of the trigger's rate.
    Rate,
    /// Places of the trigger.
    Connections,
    /// Places of the host.
    HostConnections,
    /// Descriptors of the host, for what its guests open.
    HostFiles,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Denied,
        Self::Time,
        Self::PerSource,
        Self::SourceRate,
        Self::Rate,
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Denied => "denied",
            Self::Time => "time",
            Self::PerSource => "per_source",
            Self::SourceRate => "source_rate",
            Self::Rate => "rate",
        })
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "rate",
            Self::Connections => "connections",
            Self::HostConnections => "host_connections",
            Self::HostFiles => "host_files",
        })
    }
}
