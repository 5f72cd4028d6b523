//! Stories of the workers by themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::*;

const PATIENCE: Duration = Duration::from_mins(1);

/// The name of the thread that `work` ends on, when it is run from a worker.
fn name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Runs `work` at the first worker, and gives what it gives.
fn at_first<T: Send + 'static>(
    workers: &Workers,
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    let (done, result) = mpsc::channel();
    workers.home().spawn(async move {
        done.send(work.await).unwrap();
    });
    result.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn what_overstays_goes_on_among_its_like_and_ends_with_its_result() {
    let (workers, threads) = Workers::start().unwrap();
    let all = workers.clone();
    let (begun, stays, moved) = at_first(&workers, async move {
        let long = Arc::new(AtomicBool::new(false));
        let overstays = long.clone();
        let work = async move {
            let begun = name();
            yield_now().await;
            let stays = name();
            long.store(true, Relaxed);
            yield_now().await;
            (begun, stays, name())
        };
        all.run(Box::pin(work), move || overstays.load(Relaxed))
            .await
    });
    assert!(begun.starts_with("worker-"), "{begun}");
    assert_eq!(begun, stays);
    assert_eq!(moved, "long");
    threads.stop(PATIENCE);
}

#[test]
fn what_ends_in_its_last_turn_is_not_moved_however_long_that_was() {
    let (workers, threads) = Workers::start().unwrap();
    let all = workers.clone();
    let ended = at_first(&workers, async move {
        all.run(Box::pin(async { name() }), || true).await
    });
    assert!(ended.starts_with("worker-"), "{ended}");
    threads.stop(PATIENCE);
}

#[test]
fn a_worker_goes_on_while_what_it_was_rid_of_does_not_end() {
    let (workers, threads) = Workers::start().unwrap();
    let home = workers.home();
    let (release, held) = mpsc::channel::<()>();
    let (told, begun) = mpsc::channel();
    let (all, first) = (workers.clone(), home.clone());
    home.spawn(async move {
        let work = async move {
            yield_now().await;
            // Not to be done anywhere, as a guest that computes does not.
            held.recv_timeout(PATIENCE).unwrap();
            name()
        };
        told.send(all.run(Box::pin(work), || true).await).unwrap();
    });
    let (alive, newcomer) = mpsc::channel();
    first.spawn(async move { alive.send(name()).unwrap() });
    let newcomer = newcomer.recv_timeout(PATIENCE).unwrap();
    assert!(newcomer.starts_with("worker-"), "{newcomer}");
    release.send(()).unwrap();
    assert_eq!(begun.recv_timeout(PATIENCE).unwrap(), "long");
    threads.stop(PATIENCE);
}

#[test]
fn a_panic_of_what_was_moved_comes_through() {
    let (workers, threads) = Workers::start().unwrap();
    let all = workers.clone();
    let (done, result) = mpsc::channel();
    let caller = thread::spawn(move || {
        let runtime = Builder::new_current_thread().build().unwrap();
        let work: Work<()> = Box::pin(async {
            yield_now().await;
            panic!("of {}", name());
        });
        let run = || runtime.block_on(all.run(work, || true));
        let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
        done.send(panic.downcast_ref::<String>().cloned()).unwrap();
    });
    assert_eq!(result.recv_timeout(PATIENCE).unwrap().unwrap(), "of long");
    caller.join().unwrap();
    threads.stop(PATIENCE);
}

#[test]
fn a_place_at_a_worker_is_counted_until_it_is_dropped() {
    let (workers, threads) = Workers::start().unwrap();
    let home = workers.home();
    let seated = || -> Vec<usize> {
        let loads = workers.0.workers.iter();
        loads
            .map(|worker| worker.load.seated.load(Relaxed))
            .collect()
    };
    let seats: Vec<_> = (0..1000).map(|_| home.seat()).collect();
    assert_eq!(seated().iter().sum::<usize>(), 1000);
    if seated().len() > 1 {
        let (least, most) = (seated().into_iter().min(), seated().into_iter().max());
        assert!(
            most <= least.map(|least| 2 * least + MANY + 1),
            "{:?}",
            seated()
        );
    }
    for seat in &seats {
        assert!(seat.home().at < seated().len());
    }
    drop(seats);
    assert!(seated().iter().all(|seated| *seated == 0));
    threads.stop(PATIENCE);
}

#[test]
fn listeners_go_to_each_worker_in_turn() {
    let (workers, threads) = Workers::start().unwrap();
    let count = workers.0.workers.len();
    let at: Vec<_> = (0..2 * count).map(|_| workers.home().at).collect();
    let all: Vec<_> = (0..count).chain(0..count).collect();
    assert_eq!(at, all);
    threads.stop(PATIENCE);
}

#[test]
fn threads_that_are_stopped_drop_what_they_still_do() {
    let (workers, threads) = Workers::start().unwrap();
    let (held, dropped) = oneshot::channel::<()>();
    let (begun, has_begun) = mpsc::channel();
    workers.home().spawn(async move {
        let _held = held;
        begun.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    has_begun.recv_timeout(PATIENCE).unwrap();
    threads.stop(PATIENCE);
    assert!(dropped.blocking_recv().is_err());
}
