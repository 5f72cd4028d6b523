//! The rate of a trigger. A turn is taken before a connection is accepted, and is given back when
//! that comes to nothing: what was refused for another reason has not used up the rate of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;

use super::bucket::{Bucket, Clock};
use crate::plan;

#[derive(Debug)]
pub(super) struct Turns {
    bucket: Bucket,
    clock: Clock,
    /// When it is full again.
    full: AtomicU64,
    returned: Notify,
}

/// One connection that the rate has room for; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<Turns>>);

impl Turns {
    pub fn new(bucket: plan::Bucket) -> Self {
        Self {
            bucket: Bucket::new(bucket),
            clock: Clock::start(),
            full: AtomicU64::new(0),
            returned: Notify::new(),
        }
    }

    /// Whether they are of such a bucket.
    pub fn are_of(&self, bucket: plan::Bucket) -> bool {
        self.bucket == Bucket::new(bucket)
    }

    /// Takes one.
    ///
    /// # Errors
    /// How long it takes until there is one.
    pub fn take(this: &Arc<Self>) -> Result<Turn, Duration> {
        let now = this.clock.now();
        let mut full = this.full.load(Relaxed);
        loop {
            let after = this.bucket.take(full, now)?;
            match this
                .full
                .compare_exchange_weak(full, after, Relaxed, Relaxed)
            {
                Ok(_) => return Ok(Turn(Some(this.clone()))),
                Err(changed) => full = changed,
            }
        }
    }

    /// Waits for the next one.
    pub async fn next(this: &Arc<Self>) -> Turn {
        loop {
            // Made before it is tried: from now on none that is returned is missed.
            let returned = this.returned.notified();
            match Self::take(this) {
                Ok(turn) => return turn,
                Err(early) => tokio::select! {
                    () = tokio::time::sleep(early) => {}
                    () = returned => {}
                },
            }
        }
    }
}

impl Turn {
    /// Uses it up.
    pub fn spend(mut self) {
        self.0 = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            // It has been added before.
            turns.full.fetch_sub(turns.bucket.each(), Relaxed);
            turns.returned.notify_waiters();
        }
    }
}
