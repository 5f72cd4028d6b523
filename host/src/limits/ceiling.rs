//! How many places there are of one kind, of which a reload may make more or fewer.

use std::future::{Future as _, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::Poll;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Places that are taken as permits, and come back when these are dropped.
#[derive(Debug)]
pub struct Ceiling {
    free: Arc<Semaphore>,
    size: AtomicU32,
    /// Above `size`, and not back yet.
    surplus: Arc<AtomicU32>,
}

impl Ceiling {
    /// So many, all free.
    pub fn new(size: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(size as usize)),
            size: AtomicU32::new(size),
            surplus: Arc::default(),
        }
    }

    /// Waits until so many are free, and takes them. Who comes first is served first.
    pub async fn take(&self, count: u32) -> OwnedSemaphorePermit {
        let permit = self.free.clone().acquire_many_owned(count).await;
        permit.expect("this semaphore is never closed")
    }

    /// Takes so many if they are free.
    pub fn take_at_once(&self, count: u32) -> Option<OwnedSemaphorePermit> {
        self.free.clone().try_acquire_many_owned(count).ok()
    }

    /// How many are taken.
    pub fn held(&self) -> u32 {
        let free = u32::try_from(self.free.available_permits()).unwrap_or(u32::MAX);
        let all = self.size.load(Relaxed) + self.surplus.load(Relaxed);
        all.saturating_sub(free)
    }

    /// Makes them so many. What is taken above that goes when it comes back.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn resize(&self, size: u32) {
        let before = self.size.swap(size, Relaxed);
        if size >= before {
            self.free.add_permits((size - before) as usize);
            return;
        }
        let mut surplus = Box::pin(self.free.clone().acquire_many_owned(before - size));
        // From now on it waits in the same line as all others, and is there before those to come.
        match poll_fn(|cx| Poll::Ready(surplus.as_mut().poll(cx))).await {
            Poll::Ready(surplus) => forget(surplus),
            Poll::Pending => {
                let count = before - size;
                self.surplus.fetch_add(count, Relaxed);
                let left = self.surplus.clone();
                tokio::spawn(async move {
                    forget(surplus.await);
                    left.fetch_sub(count, Relaxed);
                });
            }
        }
    }
}

fn forget(surplus: Result<OwnedSemaphorePermit, AcquireError>) {
    if let Ok(surplus) = surplus {
        surplus.forget();
    }
}
