//! What becomes of a process between clone and exec, in memory that it shares with the spawner: whether its turn has
//! come, and where it failed.

use std::rc::Rc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rustix::io::Errno;

use super::message::Stage;

/// What becomes of a process on its way to its program, for the process and for the spawner to know.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate(Rc<Told>);

#[derive(Debug, Default)]
struct Told {
    turn: AtomicU8,
    failure: AtomicU64,
}

/// Whether one that comes after another gets to its program. Both the process and the spawner see when the time for
/// that has come; who sees it first decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Turn {
    /// It is on its way.
    Come,
    /// It waits.
    Awaited,
    /// It will never come.
    Spared,
}

impl Fate {
    /// That of a process whose turn has come, or is awaited.
    pub fn new(turn: Turn) -> Self {
        let fate = Self::default();
        fate.0.turn.store(turn as u8, Ordering::Release);
        fate
    }

    /// What has been decided so far.
    pub fn turn(&self) -> Turn {
        match self.0.turn.load(Ordering::Acquire) {
            0 => Turn::Come,
            1 => Turn::Awaited,
            _ => Turn::Spared,
        }
    }

    /// Decides, unless that has been done. Returns what was decided.
    pub fn decide(&self, come: bool) -> Turn {
        let (awaited, decided) = (Turn::Awaited, if come { Turn::Come } else { Turn::Spared });
        let (set, read) = (Ordering::AcqRel, Ordering::Acquire);
        let _ = (self.0.turn).compare_exchange(awaited as u8, decided as u8, set, read);
        self.turn()
    }

    /// Where it failed; `None` when it got there.
    pub fn failure(&self) -> Option<(Stage, i32)> {
        let [.., stage, a, b, c, d] = self.0.failure.load(Ordering::Acquire).to_be_bytes();
        let stage = Stage::ALL.get(usize::from(stage).checked_sub(1)?)?;
        Some((*stage, i32::from_be_bytes([a, b, c, d])))
    }

    /// It failed: told by the process itself.
    pub fn fail(&self, stage: Stage, error: Errno) {
        let errno = u64::from(error.raw_os_error().unsigned_abs());
        (self.0.failure).store((stage as u64 + 1) << 32 | errno, Ordering::Release);
    }
}
