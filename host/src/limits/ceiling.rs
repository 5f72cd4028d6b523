//! How many places there are of one kind, of which a reload may make more or fewer.

use std::future::{Future as _, poll_fn};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, oneshot};

/// Places that are taken as permits, and come back when these are dropped.
#[derive(Debug)]
pub struct Ceiling {
    free: Arc<Semaphore>,
    size: AtomicU32,
    /// What is above `size`, and not back yet.
    surplus: Mutex<Option<Surplus>>,
}

/// Places that go when they come back.
#[derive(Debug)]
struct Surplus {
    count: u32,
    /// Whether that is settled: they are back, or are to stay.
    settled: Arc<AtomicBool>,
    /// Dropped when they are to stay.
    _stay: oneshot::Sender<()>,
}

impl Ceiling {
    /// So many, all free.
    pub fn new(size: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(size as usize)),
            size: AtomicU32::new(size),
            surplus: Mutex::default(),
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
        let surplus = self.surplus();
        let above = surplus.as_ref().filter(|it| !it.settled.load(SeqCst));
        let all = self.size.load(Relaxed) + above.map_or(0, |it| it.count);
        all.saturating_sub(free)
    }

    /// Makes them so many. What is taken above that goes when it comes back.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn resize(&self, size: u32) {
        // What is above the last size stays, and counts for this one.
        let above = self.surplus().take();
        let above = above.filter(|it| !it.settled.swap(true, SeqCst));
        let before = self.size.swap(size, Relaxed) + above.map_or(0, |it| it.count);
        if size >= before {
            self.free.add_permits((size - before) as usize);
            return;
        }
        let count = before - size;
        let mut back = Box::pin(self.free.clone().acquire_many_owned(count));
        // From now on it waits in the same line as all others, and is there before those to come.
        match poll_fn(|cx| Poll::Ready(back.as_mut().poll(cx))).await {
            Poll::Ready(back) => forget(back),
            Poll::Pending => {
                let settled = Arc::new(AtomicBool::new(false));
                let (stay, stays) = oneshot::channel::<()>();
                *self.surplus() = Some(Surplus {
                    count,
                    settled: settled.clone(),
                    _stay: stay,
                });
                tokio::spawn(async move {
                    tokio::select! {
                        biased;
                        // Nothing is ever sent.
                        _ = stays => {}
                        back = back => if !settled.swap(true, SeqCst) {
                            forget(back);
                        },
                    }
                });
            }
        }
    }

    fn surplus(&self) -> MutexGuard<'_, Option<Surplus>> {
        self.surplus.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(surplus: Result<OwnedSemaphorePermit, AcquireError>) {
    if let Ok(surplus) = surplus {
        surplus.forget();
    }
}
