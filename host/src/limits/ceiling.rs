//! How many places there are of one kind, of which a reload may make more or fewer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places that are taken as permits, and come back when these are dropped.
#[derive(Debug)]
pub struct Ceiling {
    free: Arc<Semaphore>,
    size: AtomicU32,
}

impl Ceiling {
    /// So many, all free.
    pub fn new(size: u32) -> Self {
        Self {
            free: Arc::new(Semaphore::new(size as usize)),
            size: AtomicU32::new(size),
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
        self.size.load(Relaxed).saturating_sub(free)
    }

    /// Makes them so many. What is taken above that goes when it comes back.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn resize(&self, size: u32) {
        let before = self.size.swap(size, Relaxed);
        if size >= before {
            self.free.add_permits((size - before) as usize);
            return;
        }
        let surplus = before - size;
        let gone = u32::try_from(self.free.forget_permits(surplus as usize)).unwrap_or(surplus);
        if gone < surplus {
            // Waits in the same line as all others, and is there before those to come.
            let taken = self.free.clone().acquire_many_owned(surplus - gone);
            tokio::spawn(async move {
                if let Ok(taken) = taken.await {
                    taken.forget();
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn fewer_places_are_fewer_when_those_above_come_back() {
        let ceiling = Ceiling::new(3);
        let held: Vec<_> = [(); 3].map(|()| ceiling.take_at_once(1).unwrap()).into();
        ceiling.resize(1);
        tokio::task::yield_now().await;
        assert_eq!(ceiling.held(), 1);
        let mut held = held.into_iter();
        drop((held.next(), held.next()));
        tokio::task::yield_now().await;
        assert!(ceiling.take_at_once(1).is_none());
        drop(held);
        assert!(ceiling.take_at_once(1).is_some());
        assert_eq!(ceiling.held(), 0);
    }

    #[tokio::test]
    async fn more_places_can_be_taken_at_once() {
        let ceiling = Ceiling::new(1);
        let _first = ceiling.take(1).await;
        assert!(ceiling.take_at_once(1).is_none());
        ceiling.resize(2);
        let _second = ceiling.take_at_once(1).unwrap();
        assert_eq!(ceiling.held(), 2);
    }
}
