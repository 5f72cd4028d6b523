//! What has come to a trigger so far, in numbers. They count events and are read for people; what is
//! held is never counted here.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::refusal::Refusal;

/// The numbers of one trigger, since it is served.
#[derive(Debug, Default)]
pub struct Counters {
    accepted: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    pauses: AtomicU64,
}

impl Counters {
    /// One more connection was let in.
    pub fn accept(&self) {
        self.accepted.fetch_add(1, Relaxed);
    }

    /// One more was refused.
    pub fn refuse(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Relaxed);
    }

    /// Connections begin to wait in the backlog, once more.
    pub fn pause(&self) {
        self.pauses.fetch_add(1, Relaxed);
    }

    /// Connections that were let in.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Connections that were refused for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize].load(Relaxed)
    }

    /// How often connections began to wait in the backlog.
    pub fn pauses(&self) -> u64 {
        self.pauses.load(Relaxed)
    }
}
