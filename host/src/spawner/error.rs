//! Why the spawner did not do what it was asked for.

use std::io;

use super::MAX_ARGUMENTS;
use super::message::Stage;

/// Why a process could not be started, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system refused it.
    #[error("{stage}: {error}")]
    Refused {
        /// What was attempted.
        stage: Stage,
        /// Why not.
        error: io::Error,
    },
    /// The request does not fit in a packet.
    #[error("its arguments and environment take {0} bytes, {MAX_ARGUMENTS} at most")]
    TooLarge(usize),
    /// The spawner has ended; no native job can be started any more.
    #[error("the spawner has ended")]
    Gone,
    /// The request could not be sent.
    #[error("cannot ask the spawner: {0}")]
    Send(io::Error),
    /// All jobs of this host are registered.
    #[error(
        "no job can be registered any more, since this host has confined itself to the jobs it began with: \
         start another host in its place"
    )]
    Sealed,
}
