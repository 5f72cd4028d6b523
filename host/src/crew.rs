//! A crew of threads, as many as there are processors, that share out work at the start: each takes
//! the next piece when it is done with its last.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// Does the work for every item, and gives what came of it, in their order.
pub fn all<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Relaxed);
            let Some(item) = items.get(index) else {
                return done;
            };
            done.push((index, work(item)));
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut done = thread::scope(|scope| {
        // One of them is this one. When the system has no more threads, fewer do the same.
        let others: Vec<_> = (1..processors.min(items.len()))
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, worker).ok())
            .collect();
        let mut done = worker();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, done)| done).collect()
}

/// The same for work that can fail: once it has, what comes after that is not begun.
///
/// # Errors
/// The first one, in the order of the items.
pub fn until_failure<T: Sync, R: Send, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let first = AtomicUsize::new(usize::MAX);
    let numbered: Vec<_> = items.iter().enumerate().collect();
    let done = all(&numbered, |(index, item)| {
        let wanted = *index < first.load(Relaxed);
        wanted.then(|| {
            work(item).inspect_err(|_| {
                first.fetch_min(*index, Relaxed);
            })
        })
    });
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn what_comes_of_the_work_is_in_the_order_of_the_items() {
        let items: Vec<u32> = (0..100).collect();
        let doubled: Vec<u32> = items.iter().map(|item| item * 2).collect();
        assert_eq!(all(&items, |item| item * 2), doubled);
        assert!(all(&[], |item: &u32| *item).is_empty());
    }

    #[test]
    fn as_many_are_at_work_as_there_are_processors() {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let together = Barrier::new(processors);
        // Each waits for all the others.
        all(&vec![(); processors], |()| together.wait().is_leader());
    }

    #[test]
    fn the_first_failure_is_told_however_late_it_comes() {
        let later_has_failed = Barrier::new(2);
        let two = thread::available_parallelism().is_ok_and(|count| count.get() >= 2);
        let failed = until_failure(&[0, 1, 2, 3], |item| match item {
            0 => {
                if two {
                    later_has_failed.wait();
                }
                Err(0)
            }
            1 => {
                if two {
                    later_has_failed.wait();
                }
                Err(1)
            }
            _ => Ok(()),
        });
        assert_eq!(failed, Err(0));
    }

    #[test]
    fn after_a_failure_nothing_more_is_begun() {
        let begun = AtomicUsize::new(0);
        let items: Vec<u32> = (0..10_000).collect();
        let failed = until_failure(&items, |_| {
            begun.fetch_add(1, Relaxed);
            Err::<(), _>("no")
        });
        assert_eq!(failed, Err("no"));
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        assert!(begun.load(Relaxed) <= processors);
    }
}
