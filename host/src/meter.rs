//! What one connection has used: bytes each way, when the last of them moved, and time on the
//! processor. One value shared by the instance that uses, the watch that limits and the log line
//! that tells; all of it is counted where it happens and nowhere else.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Counters of one connection. Times are kept in nanoseconds since `since`.
#[derive(Debug)]
pub struct Meter {
    since: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    moved: AtomicU64,
    /// Time on the processor before the current turn.
    spent: AtomicU64,
    /// When the current turn began, plus one; 0 between turns.
    turn: AtomicU64,
    /// Whether a turn has kept others waiting.
    overstayed: AtomicBool,
    /// The turn that was looked at last, and what its thread had used of its processor then.
    ticked: AtomicU64,
    used: AtomicU64,
}

impl Meter {
    /// All zero, the clock starting at `since`.
    pub fn new(since: Instant) -> Self {
        Self {
            since,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            overstayed: AtomicBool::new(false),
            ticked: AtomicU64::new(0),
            used: AtomicU64::new(0),
        }
    }

    /// When counting began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// `count` bytes came from the client.
    pub fn received(&self, count: usize) {
        self.count(&self.received, count);
    }

    /// `count` bytes went to the client.
    pub fn sent(&self, count: usize) {
        self.count(&self.sent, count);
    }

    /// Who looks for bytes and finds none has not moved any.
    fn count(&self, way: &AtomicU64, count: usize) {
        if count > 0 {
            way.fetch_add(count as u64, Relaxed);
            // A turn is short, and its beginning is known without asking the clock again.
            let now = self
                .turn
                .load(Relaxed)
                .checked_sub(1)
                .unwrap_or_else(|| self.now());
            self.moved.store(now, Relaxed);
        }
    }

    /// Bytes from the client.
    pub fn rx(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Bytes to the client.
    pub fn tx(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// When the last byte moved; at the beginning, when counting began.
    pub fn last_moved(&self) -> Instant {
        self.since + Duration::from_nanos(self.moved.load(Relaxed))
    }

    /// Time on the processor so far, the current turn included.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Relaxed)) + self.turn()
    }

    /// Runs `work`, counting the time of its turns as time on the processor: what it waits for is
    /// not counted. Pinned by the caller: it would be kept twice here.
    pub async fn run<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        poll_fn(|cx| {
            let began = self.now();
            self.turn.store(began + 1, Relaxed);
            let polled = work.as_mut().poll(cx);
            self.turn.store(0, Relaxed);
            self.spent
                .fetch_add(self.now().saturating_sub(began), Relaxed);
            polled
        })
        .await
    }

    /// How long the current turn has lasted; zero between turns.
    pub fn turn(&self) -> Duration {
        match self.turn.load(Relaxed) {
            0 => Duration::ZERO,
            began => Duration::from_nanos(self.now().saturating_sub(began - 1)),
        }
    }

    /// To be called at each tick that finds a guest running: tells whether its turns are so long that
    /// others have to wait. One is when it saw the last tick, too, and has used the processor for `least`
    /// since; what the system let others do meanwhile does not count. Once is enough.
    pub fn overstays(&self, least: Duration) -> bool {
        let turn = self.turn.load(Relaxed);
        // Without the clock no turn is long; every Linux has it.
        let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let used = u64::try_from(used.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX);
        let same = self.ticked.swap(turn, Relaxed) == turn;
        let since = used.saturating_sub(self.used.swap(used, Relaxed));
        let long = same && Duration::from_nanos(since) >= least;
        self.overstayed.fetch_or(long, Relaxed) || long
    }

    /// Whether any turn has.
    pub fn has_overstayed(&self) -> bool {
        self.overstayed.load(Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}
