//! What host and spawner say to each other, in postcard. Both ends are the same binary, so the
//! encoding needs no version.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MAX_ARGUMENTS, Program, Setup, SpawnError};

/// Larger than any request that `Handle::spawn` sends: the setup adds a few paths and ids to the arguments.
pub(super) const MAX_PACKET: usize = MAX_ARGUMENTS + 32 * 1024;

/// Standard input, output and error, and descriptor 3.
pub(super) use crate::packet::DESCRIPTORS;

/// From the host, one a packet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// Comes with `DESCRIPTORS` descriptors, and is followed by a recipe and by variables, each `NAME=value`
    /// with a 0 byte at its end, that this process gets beside those of the recipe.
    ///
    /// One that comes `after` another is made ready, and gets to its program when the other has ended and a
    /// connection waits at descriptor 3.
    Spawn { ticket: u64, after: Option<u64> },
    /// Ends one that is still to have its turn.
    Spare { ticket: u64 },
    /// To the whole process group. From then on the job is being ended: `Ended` waits for all of its
    /// group, until KILL is asked for.
    Signal { ticket: u64, signal: i32 },
}

/// From the spawner, as many a packet as there are. Each `Spawn` is answered by `Started`, unless it was spared or
/// could not be made, and at last by `Failed` or by `Ended`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum Report {
    /// There is a process, which is on its way to its program. Nobody is told of one that waits for its turn.
    Started {
        ticket: u64,
        pid: i32,
    },
    /// It did not get there.
    Failed {
        ticket: u64,
        stage: Stage,
        errno: i32,
    },
    Ended {
        ticket: u64,
        ended: Ended,
    },
}

/// Reports in one packet at most, and bytes that so many take at most.
pub(super) const REPORTS: usize = 64;
pub(super) const MAX_REPORTS: usize = REPORTS * 32;

/// A program and its setup, encoded once for however many processes are started from it.
#[derive(Clone, Debug)]
pub struct Recipe(Vec<u8>);

impl Recipe {
    /// # Errors
    /// When it can never fit in a request.
    pub fn new(program: &Program, setup: &Setup) -> Result<Self, SpawnError> {
        let recipe = postcard::to_allocvec(&(program, setup))
            .map_err(|error| SpawnError::Send(std::io::Error::other(error)))?;
        match recipe.len() {
            length @ MAX_PACKET.. => Err(SpawnError::TooLarge(length)),
            _ => Ok(Self(recipe)),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// With this status, 0 to 255.
    Exited(i32),
    /// By this signal.
    Signalled(i32),
    /// Before its turn came: its program was never executed.
    Spared,
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
    /// The end of the process it comes after.
    Turn,
    /// The program itself.
    Exec,
}

impl Stage {
    /// By their numbers.
    pub(super) const ALL: [Self; 12] = [
        Self::Clone,
        Self::Session,
        Self::Limit,
        Self::Nice,
        Self::Chroot,
        Self::Chdir,
        Self::Groups,
        Self::Setgid,
        Self::Setuid,
        Self::Descriptors,
        Self::Turn,
        Self::Exec,
    ];
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
            Self::Turn => "wait",
            Self::Exec => "exec",
        })
    }
}
