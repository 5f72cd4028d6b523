//! The reckoning of an accept queue: from what is seen before and after a run to what was taken. It
//! makes no system call.
//!
//! The length is exact and cheap, and counts connections whose client has reset, which accept still
//! returns. Identities cost a walk over all of the machine's connections (TCP), and leave those out.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Runs in a row of which nothing is known after which connections are closed.
const PATIENCE: u32 = 10;

/// The same for a job that has never been seen to accept, where the length is known.
const LITTLE_PATIENCE: u32 = 2;

/// Runs in a row of which it is not asked what they took, when a job has shown often enough that it accepts.
const TRUST: u32 = 64;

/// Runs that are made ready ahead at most: enough for the host to be late by some, few enough to be thrown away.
const READY: usize = 4;

/// After this, a connection whose run is over is tried again although others go on. Until then the
/// others may take it, or end, which tells more.
const RETRY: Duration = Duration::from_secs(1);

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
    /// Others run, and a connection waits whose run may be over: it gets another before long.
    Waiting,
    /// No job wanted them; the host has accepted and closed this many.
    Left {
        /// Fewer than were left only when somebody else accepted them at that moment, or the listener
        /// was shut down.
        closed: usize,
    },
}

/// The claim of one run on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booking(u64);

/// What is owed to the head of one queue.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Several runs at once: then the length alone would have a second run started for a connection
    /// that the first is yet to accept.
    shared: bool,
    /// The connections at the head that have had a run started for them: each with the time since when a
    /// run is over that may have been its own, as nobody can tell who took what.
    owed: VecDeque<Option<Instant>>,
    bookings: u64,
    /// The first booking since nothing was owed: the runs before it are owed for no more.
    first: u64,
    last: Snapshot,
    /// The last run took what it was started for: then identities are not asked for before the next,
    /// and a run that takes nothing after all costs its connection a second run, not its life.
    accepts: bool,
    /// The job has been seen to accept: what is unclear is then put down to clients that reset.
    proven: bool,
    /// Runs in a row of which nothing is known.
    unknown: u32,
    /// How many runs may follow each other without it being seen that they take something: none before the job has been seen to
    /// accept, and twice as many whenever it has been seen again.
    trust: u32,
    /// Runs since then.
    unseen: u32,
}

impl Account {
    /// `shared`: several runs may go on at once.
    pub fn new(shared: bool) -> Self {
        Self {
            shared,
            ..Self::default()
        }
    }

    /// What to ask for before a run.
    pub fn depth_before(&self) -> Depth {
        if self.accepts && self.owed.is_empty() && !self.shared {
            Depth::Length
        } else {
            Depth::Identities
        }
    }

    /// Nothing waits: whatever was owed has been taken.
    pub fn empty(&mut self) {
        if !self.owed.is_empty() {
            self.seen();
        }
        self.forget();
    }

    /// The job has taken something.
    fn seen(&mut self) {
        self.accepts = true;
        self.proven = true;
        self.trust = (self.trust * 2).clamp(1, TRUST);
        self.unseen = 0;
    }

    /// It is open whether it has.
    fn doubt(&mut self) {
        self.unseen += 1;
        self.accepts = self.unseen < self.trust;
    }

    /// How many of the next runs may each begin when the one before it ends, before anybody has looked.
    pub fn relays(&self) -> usize {
        match self.last.length {
            Some(length) if self.accepts && !self.shared => length.saturating_sub(1).min(READY),
            _ => 0,
        }
    }

    /// A run has ended, `well` or not, and the next one has begun; `now` is what waits. A queue that becomes shorter
    /// proves that something was taken; one that does not is doubted the more the longer that lasts.
    pub fn relay(&mut self, now: Snapshot, well: bool) {
        if !well {
            self.trust = 0;
        }
        if well && now.length < self.last.length {
            self.seen();
        } else {
            self.doubt();
        }
        self.owed.clear();
        self.last = now;
        self.owe();
    }

    fn owe(&mut self) {
        self.bookings += 1;
        if self.owed.is_empty() {
            self.first = self.bookings;
        }
        self.owed.push_back(None);
    }

    /// So many are taken: by the runs that go on, as far as can be. If it was one that is over, a
    /// connection is tried again that has a run; the other way round it would wait for ever.
    fn strike(&mut self, taken: usize) {
        for _ in 0..taken {
            let running = self.owed.iter().position(Option::is_none);
            self.owed.remove(running.unwrap_or(0));
        }
    }

    /// The queue is another: whatever was owed is gone, taken or not.
    pub fn forget(&mut self) {
        self.owed.clear();
        self.unknown = 0;
        self.last = Snapshot::default();
    }

    /// `now` is what waits before a run. `true`: one of them is booked for it.
    pub fn book(&mut self, now: Snapshot) -> bool {
        if self.owed.is_empty() {
            self.last = now;
        } else {
            self.observe(now);
        }
        // Where the length is unknown, one run at a time is all that can be reckoned with.
        let free = self.last.length.unwrap_or(1) > self.owed.len();
        if free {
            self.owe();
        }
        free
    }

    /// The last that was made.
    pub fn booking(&self) -> Booking {
        Booking(self.bookings)
    }

    /// The run of this booking is over. Even if as many were taken as runs are over, another may have taken its own.
    pub fn over(&mut self, booking: Booking, now: Instant) {
        let running = self.owed.iter_mut().find(|over| over.is_none());
        if let Some(over) = running.filter(|_| booking.0 >= self.first) {
            *over = Some(now);
        }
    }

    /// When the first connection whose run is over may be tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        Some(*self.owed.iter().flatten().min()? + RETRY)
    }

    /// Gives back the bookings whose time to be tried again has come.
    pub fn give_back(&mut self, now: Instant) {
        self.owed
            .retain(|over| over.is_none_or(|over| now < over + RETRY));
    }

    /// Whether the length alone leaves it open what was taken.
    pub fn needs_identities(&self, now: &Snapshot) -> bool {
        let told = |(least, _)| least >= self.owed.len();
        self.last.alive.is_some() && !self.taken(now).is_some_and(told)
    }

    /// Takes note of what is seen after the last look.
    pub fn observe(&mut self, now: Snapshot) {
        if !self.owed.is_empty() {
            match self.taken(&now) {
                Some((least @ 1.., _)) => {
                    self.seen();
                    self.strike(least.min(self.owed.len()));
                    self.unknown = 0;
                }
                // Surely nothing.
                Some((0, 0)) => {
                    self.accepts = false;
                    self.trust = 0;
                    self.unknown = 0;
                }
                // Open, which is no wonder by the length alone: a job that is trusted is not doubted at once.
                None if self.last.alive.is_none() && now.length.is_some() && self.trust > 0 => {
                    self.doubt();
                    self.owed.clear();
                }
                // Perhaps nothing: closing the head could hit one that has had no run, so another is
                // started for it, as long as patience lasts.
                _ => {
                    self.accepts = false;
                    self.unknown += 1;
                    let patience = if self.proven || now.length.is_none() {
                        PATIENCE
                    } else {
                        LITTLE_PATIENCE
                    };
                    if self.unknown < patience {
                        self.owed.clear();
                    }
                }
            }
        }
        // Of more than is there, nothing can be owed to.
        let most = now.length.unwrap_or(1);
        self.strike(self.owed.len().saturating_sub(most));
        self.last = now;
    }

    /// What became of them while `others` go on.
    pub fn verdict(&mut self, others: usize, now: Instant) -> Verdict {
        // No more can wait for a run than there are runs, whatever has become of the one that is over.
        let running = self.owed.iter().filter(|over| over.is_none()).count();
        let lost = running.saturating_sub(others);
        let running = self.owed.iter_mut().filter(|over| over.is_none());
        for over in running.take(lost) {
            *over = Some(now);
        }
        if self.owed.iter().all(Option::is_none) {
            Verdict::Taken
        } else {
            Verdict::Waiting
        }
    }

    /// No run goes on: what is still owed was not wanted.
    pub fn clear(&mut self) -> usize {
        if !self.owed.is_empty() {
            self.unknown = 0;
        }
        std::mem::take(&mut self.owed).len()
    }

    /// How many were accepted since the last look: at least, and at most of those that were there then.
    /// `None`: cannot be told.
    fn taken(&self, now: &Snapshot) -> Option<(usize, usize)> {
        let (before, after) = (self.last.length?, now.length?);
        let Some((was, is)) = self.last.alive.as_ref().zip(now.alive.as_ref()) else {
            // Fewer than before: that many are gone, whoever came meanwhile. A queue loses none otherwise.
            let least = before.checked_sub(after);
            return Some((least.filter(|least| *least >= self.owed.len())?, before));
        };
        // Those whose client has reset are still in the queue, but have no identity. So whoever lost it
        // was taken or is dead, and whoever had none was taken or is dead still.
        let gone = before.saturating_sub(was.len()) + was.difference(is).count();
        let dead = after.saturating_sub(is.len());
        // All the dead may be of those that were there, or all newcomers that reset at once.
        let least = gone.saturating_sub(dead);
        // Where nobody alive waits, closing the head hits nobody: then the most does not matter.
        Some((least, if is.is_empty() { least } else { gone }))
    }
}

#[cfg(test)]
mod tests;
