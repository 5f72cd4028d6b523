//! The reckoning of an accept queue: from what is seen before and after a run to what was taken. It
//! makes no system call.
//!
//! The length is exact and cheap, and counts connections whose client has reset, which accept still
//! returns. Identities cost a walk over all of the machine's connections (TCP), and leave those out.

use std::collections::HashSet;

/// Runs in a row after which connections are closed when nothing is known but that something waits.
const PATIENCE: u32 = 10;

/// How much to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    Length,
    Identities,
}

/// What was seen of a queue that is not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// `None`: the kernel does not tell.
    pub length: Option<usize>,
    /// Those whose client is still there; `None`: not asked for, or not told.
    pub alive: Option<HashSet<u64>>,
}

impl Snapshot {
    pub fn unknown() -> Self {
        Self::default()
    }
}

/// What became of the connections that runs were started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They were accepted by a job.
    Taken,
    /// They still wait for a run that goes on.
    Waiting,
    /// No job wanted them; the host has accepted and closed this many.
    Left {
        /// Fewer than were left only when somebody else accepted them at that moment.
        closed: usize,
    },
}

/// What is owed to the head of one queue.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// So many connections at the head have had a run started for them.
    owed: usize,
    last: Snapshot,
    /// The last run took what it was started for: then identities are not asked for before the next,
    /// and a run that takes nothing after all costs its connection a second run, not its life.
    accepts: bool,
    /// Runs in a row of which nothing is known.
    unknown: u32,
}

impl Account {
    /// What to ask for before a run.
    pub fn depth_before(&self) -> Depth {
        if self.accepts && self.owed == 0 {
            Depth::Length
        } else {
            Depth::Identities
        }
    }

    /// Nothing waits: whatever was owed has been taken.
    pub fn empty(&mut self) {
        self.accepts |= self.owed > 0;
        self.owed = 0;
        self.unknown = 0;
        self.last = Snapshot::default();
    }

    /// `now` is what waits before a run. `true`: one of them is booked for it.
    pub fn book(&mut self, now: Snapshot) -> bool {
        if self.owed > 0 {
            self.observe(now);
        } else {
            self.last = now;
        }
        // Where the length is unknown, one run at a time is all that can be reckoned with.
        let free = self.last.length.unwrap_or(1) > self.owed;
        self.owed += usize::from(free);
        free
    }

    /// Whether the length alone leaves it open what was taken.
    pub fn needs_identities(&self, now: &Snapshot) -> bool {
        self.last.alive.is_some() && self.surely_taken(now).is_none_or(|taken| taken < self.owed)
    }

    /// Takes note of what is seen after the last look.
    pub fn observe(&mut self, now: Snapshot) {
        if self.owed > 0 {
            match self.surely_taken(&now) {
                Some(taken) => {
                    self.accepts = taken > 0;
                    self.owed = self.owed.saturating_sub(taken);
                    self.unknown = 0;
                }
                None if now.length.is_some() => {
                    // A job that has accepted so far is given the benefit of the doubt, once.
                    self.owed = 0;
                    self.accepts = false;
                }
                None => {
                    self.unknown += 1;
                    if self.unknown < PATIENCE {
                        self.owed = 0;
                    }
                }
            }
        }
        // Of more than is there, nothing can be owed to.
        self.owed = self.owed.min(now.length.unwrap_or(1));
        self.last = now;
    }

    pub fn verdict(&self) -> Verdict {
        if self.owed == 0 {
            Verdict::Taken
        } else {
            Verdict::Waiting
        }
    }

    /// No run goes on: what is still owed was not wanted.
    pub fn clear(&mut self) -> usize {
        if self.owed > 0 {
            self.unknown = 0;
        }
        std::mem::take(&mut self.owed)
    }

    /// How many were accepted since the last look, at least. `None`: cannot be told.
    fn surely_taken(&self, now: &Snapshot) -> Option<usize> {
        let (before, after) = (self.last.length?, now.length?);
        let Some((was, is)) = self.last.alive.as_ref().zip(now.alive.as_ref()) else {
            // Fewer than before: that many are gone, whoever came meanwhile. A queue loses none otherwise.
            return before
                .checked_sub(after)
                .filter(|taken| *taken >= self.owed);
        };
        let missing = was.difference(is).count();
        // Those whose client has reset are still in the queue but have no identity.
        let (dead_before, dead_after) = (
            before.saturating_sub(was.len()),
            after.saturating_sub(is.len()),
        );
        let taken = (dead_before + missing).saturating_sub(dead_after);
        // All known ones are gone, none was surely taken, and others have come: either they reset, or they
        // were taken and newcomers reset. Closing the head could hit a newcomer, so they count as taken.
        if taken == 0 && missing > 0 && missing == was.len() && !is.is_empty() {
            return Some(self.owed);
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(length: usize, alive: &[u64]) -> Snapshot {
        Snapshot {
            length: Some(length),
            alive: Some(alive.iter().copied().collect()),
        }
    }

    fn brief(length: usize) -> Snapshot {
        Snapshot {
            length: Some(length),
            alive: None,
        }
    }

    /// What is left owed after one run that began with `before` and ended with `after`.
    fn left(before: Snapshot, after: Snapshot) -> usize {
        let mut account = Account::default();
        assert!(account.book(before));
        account.observe(after);
        account.clear()
    }

    #[test]
    fn a_run_that_takes_nothing_owes_its_head() {
        assert_eq!(left(seen(1, &[1]), seen(1, &[1])), 1);
        assert_eq!(left(seen(3, &[1, 2, 3]), seen(3, &[1, 2, 3])), 1);
    }

    #[test]
    fn newcomers_do_not_hide_that_nothing_was_taken() {
        assert_eq!(left(seen(1, &[1]), seen(3, &[1, 2, 3])), 1);
    }

    #[test]
    fn newcomers_do_not_hide_that_one_was_taken() {
        assert_eq!(left(seen(1, &[1]), seen(1, &[2])), 0);
        assert_eq!(left(seen(2, &[1, 2]), seen(4, &[2, 3, 4, 5])), 0);
    }

    #[test]
    fn a_client_that_resets_in_the_queue_was_not_taken() {
        assert_eq!(left(seen(1, &[1]), seen(1, &[])), 1);
        assert_eq!(left(seen(2, &[1, 2]), seen(2, &[2])), 1);
        assert_eq!(left(seen(2, &[2]), seen(2, &[2])), 1);
    }

    #[test]
    fn a_client_that_reset_before_the_run_and_was_taken_is_not_owed() {
        assert_eq!(left(seen(2, &[2]), seen(1, &[2])), 0);
    }

    #[test]
    fn a_newcomer_is_never_closed_for_one_that_vanished() {
        assert_eq!(left(seen(1, &[1]), seen(2, &[2])), 0);
    }

    #[test]
    fn a_shorter_queue_is_proof_without_identities() {
        assert_eq!(left(brief(2), brief(1)), 0);
    }

    #[test]
    fn a_job_that_accepted_is_doubted_once_only() {
        let mut account = Account::default();
        assert!(account.book(seen(1, &[1])));
        account.observe(seen(1, &[2]));
        assert_eq!(account.clear(), 0);
        assert_eq!(account.depth_before(), Depth::Length);
        assert!(account.book(brief(1)));
        assert!(!account.needs_identities(&brief(1)));
        account.observe(brief(1));
        assert_eq!(account.clear(), 0);
        assert_eq!(account.depth_before(), Depth::Identities);
        assert!(account.book(seen(1, &[2])));
        account.observe(seen(1, &[2]));
        assert_eq!(account.clear(), 1);
    }

    #[test]
    fn no_more_runs_are_booked_than_connections_wait() {
        let mut account = Account::default();
        assert!(account.book(seen(2, &[1, 2])));
        assert!(account.book(seen(2, &[1, 2])));
        assert!(!account.book(seen(2, &[1, 2])));
        assert!(account.book(seen(2, &[2, 3])));
    }

    #[test]
    fn where_nothing_is_known_patience_ends() {
        let mut account = Account::default();
        let mut closed = 0;
        for _ in 0..PATIENCE {
            assert!(account.book(Snapshot::unknown()));
            account.observe(Snapshot::unknown());
            closed += account.clear();
        }
        assert_eq!(closed, 1);
    }
}
