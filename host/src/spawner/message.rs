//! What host and spawner say to each other, in postcard. Both ends are the same binary, so the
//! encoding needs no version.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::MAX_ARGUMENTS;

/// Larger than any job that is registered: the setup adds a few paths and ids to the arguments.
pub(super) const MAX_PACKET: usize = MAX_ARGUMENTS + 32 * 1024;

/// Standard input, output and error, and descriptor 3.
pub(super) use crate::packet::DESCRIPTORS;

/// From the host while it registers its jobs, one a packet on a socket of their own; each is answered by a [`Verdict`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// A job, whose program and setup follow. A strict one comes with a Landlock ruleset.
    Register { job: u64, strict: bool },
    /// Nothing more comes. Who to be (`Option<Ids>`) follows.
    Seal,
}

/// Whether an order was carried out.
pub(super) type Verdict = Result<(), (Stage, i32)>;

/// From the host, one a packet.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// A process of a registered job. Comes with `DESCRIPTORS` descriptors, and is followed by variables, each
    /// `NAME=value` with a 0 byte at its end, that this process gets beside those of its program. They are of
    /// [`VARIABLES`], or the request is refused.
    ///
    /// One that comes `after` another is made ready, and gets to its program when the other has ended and a
    /// connection waits at descriptor 3.
    Spawn {
        ticket: u64,
        job: u64,
        after: Option<u64>,
    },
    /// No process of this job is asked for any more.
    Forget { job: u64 },
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

/// What a process may be told at its start: the facts of its connection. Whoever has taken over the host finds no
/// `LD_PRELOAD` here.
pub(super) const VARIABLES: [&[u8]; 9] = [
    b"UPSTART_EVENTS",
    b"UPSTART_JOB",
    b"UPSTART_INSTANCE",
    b"PROTO",
    b"PORT",
    b"ADDR",
    b"SOCKET_PATH",
    b"REMOTE_ADDR",
    b"REMOTE_PORT",
];

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
    /// The job itself: it is not registered, or is told what it may not be told.
    Job,
    /// The spawner itself: it cannot become who it is to be.
    Seal,
    /// No process could be made.
    Clone,
    /// The new session.
    Session,
    /// To end with the spawner.
    Parent,
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
    /// The private network of a strict job.
    Namespace,
    /// Its rights.
    Capabilities,
    /// What it may touch.
    Landlock,
    /// The system calls it may make.
    Seccomp,
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
    pub(super) const ALL: [Self; 19] = [
        Self::Job,
        Self::Seal,
        Self::Clone,
        Self::Session,
        Self::Parent,
        Self::Limit,
        Self::Nice,
        Self::Chroot,
        Self::Chdir,
        Self::Groups,
        Self::Namespace,
        Self::Capabilities,
        Self::Landlock,
        Self::Seccomp,
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
            Self::Job => "use a job that is not registered, or a variable that jobs are not told",
            Self::Seal => "drop privileges",
            Self::Clone => "clone",
            Self::Session => "setsid",
            Self::Parent => "end with the spawner",
            Self::Limit => "setrlimit",
            Self::Nice => "nice",
            Self::Chroot => "chroot",
            Self::Chdir => "chdir",
            Self::Groups => "setgroups",
            Self::Namespace => "namespace",
            Self::Capabilities => "capset",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Setgid => "setgid",
            Self::Setuid => "setuid",
            Self::Descriptors => "put descriptors in place",
            Self::Turn => "wait for its turn",
            Self::Exec => "exec",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads one from any bytes; what it has read is what writing it makes, or shorter.
    fn read<T: Serialize + for<'a> Deserialize<'a>>(packet: &[u8]) -> Result<(), TestCaseError> {
        if let Ok((message, rest)) = postcard::take_from_bytes::<T>(packet) {
            let written = postcard::to_allocvec(&message).unwrap();
            prop_assert!(written.len() <= packet.len() - rest.len());
            prop_assert!(postcard::from_bytes::<T>(&written).is_ok());
        }
        Ok(())
    }

    proptest! {
        /// A host that was taken over sends what it likes.
        #[test]
        fn any_packet_is_a_message_or_none(kind in 0..9_u8, rest: Vec<u8>) {
            let packet = [&[kind][..], &rest].concat();
            read::<Order>(&packet)?;
            read::<Request>(&packet)?;
            read::<Report>(&packet)?;
            read::<Verdict>(&packet)?;
        }
    }
}
