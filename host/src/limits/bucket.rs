//! A token bucket in one number: the moment at which it is full again (the generic cell rate
//! algorithm). An empty table entry, 0, is a full bucket. It is our own and not governor's because a
//! turn that nobody used is given back, and because many of them have to fit into a table that is
//! bounded.

use std::time::{Duration, Instant};

use crate::plan;

/// How fast it fills and how much it holds, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Until there is one more.
    each: u64,
    /// Until it is full, from empty.
    depth: u64,
}

/// What buckets are measured by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Bucket {
    pub fn new(bucket: plan::Bucket) -> Self {
        let plan::Bucket { rate, burst } = bucket;
        let each = nanoseconds(rate.per / rate.count.get()).max(1);
        Self {
            each,
            depth: each.saturating_mul(burst.get().into()),
        }
    }

    /// Until there is one more.
    pub fn each(self) -> u64 {
        self.each
    }

    /// When one that is full at `full` is full after one more was taken.
    ///
    /// # Errors
    /// How long it takes until one can be.
    pub fn take(self, full: u64, now: u64) -> Result<u64, Duration> {
        let after = full.max(now).saturating_add(self.each);
        match after.saturating_sub(now.saturating_add(self.depth)) {
            0 => Ok(after),
            early => Err(Duration::from_nanos(early)),
        }
    }
}

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since its start: enough for 584 years.
    pub fn now(self) -> u64 {
        nanoseconds(self.0.elapsed())
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
