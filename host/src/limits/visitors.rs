//! The rate of each source, in a table whose size never changes: 65,536 sources in 1.1 MB, whatever
//! comes by. A source is found in one of 8 places; when all are taken, it takes over that of the
//! source which has come least, so a flood of addresses pushes out its like, and neither those that
//! come again and again nor anybody who is new. Who is pushed out is forgotten: the table may let in
//! more than a perfect one would, and never refuses anybody that one would let in.

use std::array;
use std::hash::{BuildHasher as _, RandomState};
use std::iter;
use std::sync::{Mutex, PoisonError};

use super::bucket::{Bucket, Clock};
use super::source::Key;
use crate::plan;

const SETS: usize = 1 << 13;
const WAYS: usize = 8;

#[derive(Debug)]
pub(super) struct Visitors {
    bucket: Bucket,
    clock: Clock,
    /// Its key is a secret of this table: nobody can choose addresses that meet in one set.
    hasher: RandomState,
    sets: Box<[Mutex<[Visitor; WAYS]>]>,
}

/// A source, by its hash: two of 65,536 share one in one of 2^33 tables.
#[derive(Clone, Copy, Debug, Default)]
struct Visitor {
    hash: u64,
    /// When its bucket is full again. Past that it is as good as new, and its place is free.
    full: u64,
}

impl Visitors {
    pub fn new(bucket: plan::Bucket) -> Self {
        let set = || Mutex::new(array::from_fn(|_| Visitor::default()));
        Self {
            bucket: Bucket::new(bucket),
            clock: Clock::start(),
            hasher: RandomState::new(),
            sets: iter::repeat_with(set).take(SETS).collect(),
        }
    }

    /// Whether they are of such a bucket.
    pub fn are_of(&self, bucket: plan::Bucket) -> bool {
        self.bucket == Bucket::new(bucket)
    }

    /// Whether one more connection of `source` is within its rate.
    pub fn take(&self, source: Key) -> bool {
        self.take_at(source, self.clock.now())
    }

    pub(super) fn take_at(&self, source: Key, now: u64) -> bool {
        let hash = self.hasher.hash_one(source);
        let set = usize::try_from(hash % SETS as u64).unwrap_or_default();
        let mut set = self.sets[set]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = set.iter().position(|it| it.hash == hash);
        let at = known.unwrap_or_else(|| {
            let least = (0..WAYS).min_by_key(|at| set[*at].full);
            least.unwrap_or_default()
        });
        let full = known.map_or(0, |at| set[at].full);
        match self.bucket.take(full, now) {
            Ok(full) => {
                set[at] = Visitor { hash, full };
                true
            }
            Err(_) => false,
        }
    }

    /// Bytes it takes.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        size_of_val(&*self.sets)
    }
}
