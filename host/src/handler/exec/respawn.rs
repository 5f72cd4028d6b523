//! Upstart's `respawn limit`, for failures only: a job that fails that often within the interval is
//! not started for as long again, and then tried anew. It never dies for good, and a job that serves
//! is never slowed, however often it is started.

use std::time::Duration;

use tokio::time::Instant;

use crate::plan::Respawn;

/// The failures of one job since the interval began.
#[derive(Debug, Default)]
pub(super) struct Failures {
    since: Option<Instant>,
    count: u32,
    paused_until: Option<Instant>,
}

impl Failures {
    /// Notes a failure; how long to pause when it was one too many.
    pub fn note(&mut self, respawn: Respawn, now: Instant) -> Option<Duration> {
        let limit = respawn.limit?.get();
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= respawn.interval)
        {
            self.since = Some(now);
            self.count = 0;
        }
        self.count += 1;
        if self.count < limit {
            return None;
        }
        self.since = None;
        self.paused_until = Some(now + respawn.interval);
        Some(respawn.interval)
    }

    /// Until when nothing may be started, if that is still to come.
    pub fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const TEN_IN_FIVE: Respawn = Respawn {
        limit: NonZeroU32::new(10),
        interval: Duration::from_secs(5),
    };

    #[test]
    fn ten_failures_in_five_seconds_pause_for_five_seconds_and_then_count_anew() {
        let mut failures = Failures::default();
        let now = Instant::now();
        for _ in 0..9 {
            assert_eq!(failures.note(TEN_IN_FIVE, now), None);
        }
        assert_eq!(failures.note(TEN_IN_FIVE, now), Some(TEN_IN_FIVE.interval));
        assert!(
            failures
                .paused_until(now + Duration::from_secs(4))
                .is_some()
        );
        let later = now + Duration::from_secs(5);
        assert!(failures.paused_until(later).is_none());
        assert_eq!(failures.note(TEN_IN_FIVE, later), None);
    }

    #[test]
    fn a_failure_now_and_then_never_pauses() {
        let mut failures = Failures::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            assert_eq!(failures.note(TEN_IN_FIVE, now), None);
            now += Duration::from_secs(1);
        }
    }

    #[test]
    fn without_a_limit_nothing_pauses() {
        let mut failures = Failures::default();
        let unlimited = Respawn {
            limit: None,
            interval: Duration::from_secs(5),
        };
        assert!((0..100).all(|_| failures.note(unlimited, Instant::now()).is_none()));
    }
}
