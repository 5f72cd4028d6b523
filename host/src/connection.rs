//! An accepted socket with all that belongs to it: who is at the other end, its id, the permits it
//! holds and the count of what went over it. A connection is a value: dropping it closes the socket
//! and gives the permits back.

mod ends;
mod stream;

use std::sync::Arc;
use std::time::Instant;

use crate::limits::Permits;
use crate::meter::Meter;
pub use ends::{Local, Peer};
pub use stream::{Ear, Readable, Shutdown, Stream};

/// One accepted connection.
#[derive(Debug)]
pub struct Connection {
    /// Counts up from 1 over the life of the host.
    pub id: u64,
    /// When it was accepted.
    pub since: Instant,
    /// Who is at the other end.
    pub peer: Peer,
    /// Where it arrived, shared by all connections of one listener.
    pub local: Arc<Local>,
    /// The socket itself.
    pub stream: Stream,
    /// What went over it so far; it outlives the connection for the log line.
    pub meter: Arc<Meter>,
    /// Held until the connection is dropped.
    pub permits: Permits,
}
