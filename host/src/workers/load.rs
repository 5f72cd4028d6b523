//! How much a worker has to do: how many connections it has, and whether it keeps up with them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How much a worker has to do.
#[derive(Debug)]
pub(super) struct Load {
    /// Connections that are served there.
    pub seated: AtomicUsize,
    /// When it was started.
    began: Instant,
    /// Nanoseconds from then to when it last woke up; `ASLEEP` while it has nothing to do.
    woke: AtomicU64,
    /// And to when it last asked another to help.
    asked: AtomicU64,
}

const ASLEEP: u64 = u64::MAX;

/// How long a worker is at work without a pause before others are asked to help, and how often they
/// are asked then: connections that last are soon shared out, and ones that do not stay together.
const LONG: Duration = Duration::from_millis(10);
const AGAIN: Duration = Duration::from_millis(1);

impl Load {
    pub fn new() -> Self {
        Self {
            seated: AtomicUsize::new(0),
            began: Instant::now(),
            woke: AtomicU64::new(ASLEEP),
            asked: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(ASLEEP - 1)
    }

    pub fn sleep(&self) {
        self.woke.store(ASLEEP, Relaxed);
    }

    pub fn wake(&self) {
        self.woke.store(self.now(), Relaxed);
    }

    pub fn sleeps(&self) -> bool {
        self.woke.load(Relaxed) == ASLEEP
    }

    /// Whether it has been at work for long without a pause, and has not asked for help just now.
    pub fn needs_help(&self) -> bool {
        let now = self.now();
        let since = |then: &AtomicU64| Duration::from_nanos(now.saturating_sub(then.load(Relaxed)));
        let needs = since(&self.woke) > LONG && since(&self.asked) > AGAIN;
        if needs {
            self.asked.store(now, Relaxed);
        }
        needs
    }
}
