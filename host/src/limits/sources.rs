//! How many connections each source holds. A source without any has no entry, so the table never
//! holds more entries than there are connections, however many addresses come by.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::source::Key;

#[derive(Debug, Default)]
pub(super) struct Sources {
    held: Mutex<HashMap<Key, u32>>,
}

/// One connection of a source, held while it lasts.
#[derive(Debug)]
pub(super) struct SourcePermit {
    source: Key,
    sources: Arc<Sources>,
}

impl Sources {
    /// One more, up to `most` of a source; `None` when it holds as many.
    pub fn take(this: &Arc<Self>, source: Key, most: NonZeroU32) -> Option<SourcePermit> {
        let mut held = this.held();
        let count = held.entry(source).or_insert(0);
        if *count >= most.get() {
            return None;
        }
        *count += 1;
        Some(SourcePermit {
            source,
            sources: this.clone(),
        })
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Key, u32>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sources hold a connection.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.held().len()
    }
}

impl Drop for SourcePermit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.sources.held().entry(self.source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
