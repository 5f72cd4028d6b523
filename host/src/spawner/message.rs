//! What host and spawner say to each other: one postcard value a packet. Both ends are the same
//! binary, so the encoding needs no version.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MAX_ARGUMENTS, Program, Setup};

/// Larger than any request that `Handle::spawn` sends: the setup adds a few paths and ids to the arguments.
pub(super) const MAX_PACKET: usize = MAX_ARGUMENTS + 32 * 1024;

/// Standard input, output and error, and descriptor 3.
pub(super) const DESCRIPTORS: usize = 4;

/// From the host. `Spawn` comes with `DESCRIPTORS` descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request<Program, Setup> {
    Spawn {
        ticket: u64,
        program: Program,
        setup: Setup,
    },
    /// To the whole process group. From then on the job is being ended: `Exited` waits for all of its
    /// group, until KILL is asked for.
    Signal { ticket: u64, signal: i32 },
}

pub(super) type OwnedRequest = Request<Program, Setup>;

/// From the spawner. Each `Spawn` is answered by `Failed`, or by `Started` and at last `Exited`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Started {
        ticket: u64,
        pid: i32,
    },
    Failed {
        ticket: u64,
        stage: Stage,
        errno: i32,
    },
    Exited {
        ticket: u64,
        ended: Ended,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// With this status, 0 to 255.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
}

/// Where a start failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// No process could be made.
    Clone,
    /// The new session.
    Session,
    /// A resource limit.
    Limit,
    /// The nice value.
    Nice,
    /// The new root.
    Chroot,
    /// The working directory.
    Chdir,
    /// The supplementary groups.
    Groups,
    /// The group.
    Setgid,
    /// The user.
    Setuid,
    /// Descriptors 0 to 3.
    Descriptors,
    /// The signal mask.
    Signals,
    /// The program itself.
    Exec,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clone => "clone",
            Self::Session => "setsid",
            Self::Limit => "setrlimit",
            Self::Nice => "nice",
            Self::Chroot => "chroot",
            Self::Chdir => "chdir",
            Self::Groups => "setgroups",
            Self::Setgid => "setgid",
            Self::Setuid => "setuid",
            Self::Descriptors => "descriptors",
            Self::Signals => "signal mask",
            Self::Exec => "exec",
        })
    }
}
