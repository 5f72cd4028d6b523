//! The threads that serve. One for each processor, each with a runtime of its own: what a connection
//! waits for and what wakes it stay on one processor. And some for guests that compute for long, whose
//! turns would delay everybody else's.

mod load;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, EnterGuard, Handle, Runtime};
use tokio::sync::watch;

use load::Load;

/// What can be taken from one thread to another between two of its turns.
pub type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Handles of the threads, shared by all that is served.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    workers: Vec<Worker>,
    /// For what takes long turns.
    long: Handle,
    /// Where the next listener goes.
    next: AtomicUsize,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    load: Arc<Load>,
}

/// How many more connections than twice another's a worker may have, whatever they do. One that cannot
/// keep up has more and more.
const MANY: usize = 256;

/// The threads themselves.
#[derive(Debug)]
pub struct Threads {
    /// Dropped when they are to end.
    serving: watch::Sender<()>,
    long: Runtime,
    /// Disconnected when all have ended.
    ended: mpsc::Receiver<Infallible>,
}

/// One of the workers: where a listener is, or a connection.
#[derive(Clone, Debug)]
pub struct Home {
    workers: Workers,
    at: usize,
}

/// A place of one connection at a worker, held while it is served.
#[derive(Debug)]
pub struct Seat(Home);

impl Workers {
    /// Starts them.
    ///
    /// # Errors
    /// When the system gives no threads, or their runtimes no descriptors.
    pub fn start() -> io::Result<(Self, Threads)> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (serving, stop) = watch::channel(());
        let (running, ended) = mpsc::channel();
        let start = |index| worker(index, stop.clone(), running.clone());
        let workers = (0..processors).map(start).collect::<io::Result<_>>()?;
        let long = Builder::new_multi_thread()
            .thread_name("long")
            // One processor is left to all others.
            .worker_threads((processors - 1).max(1))
            // Its turns are long: it looks at its clocks and sockets after each.
            .event_interval(1)
            .enable_all()
            .build()?;
        let shared = Shared {
            workers,
            long: long.handle().clone(),
            next: AtomicUsize::new(0),
        };
        let threads = Threads {
            serving,
            long,
            ended,
        };
        Ok((Self(Arc::new(shared)), threads))
    }

    /// A worker for one more listener: each in turn.
    pub fn home(&self) -> Home {
        let at = self.0.next.fetch_add(1, Relaxed) % self.0.workers.len();
        Home {
            workers: self.clone(),
            at,
        }
    }

    /// Runs `work` where this is called until it `overstays`, and from then on among its like.
    ///
    /// # Panics
    /// When `work` does.
    pub async fn run<T: Send + 'static>(
        &self,
        mut work: Work<T>,
        overstays: impl Fn() -> bool,
    ) -> T {
        let short = poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if overstays() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some(done) = short.await {
            return done;
        }
        match self.0.long.spawn(work).await {
            Ok(done) => done,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // It is never aborted: its runtime is going down, and this one with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Home {
    /// Has what is made meanwhile belong to the worker's runtime.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.worker().runtime.enter()
    }

    /// Has the worker do `work`.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.worker().runtime.spawn(work);
    }

    /// All of them.
    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    /// A place for a connection that is accepted here: here, unless this worker is busy and another
    /// has nothing to do, or clearly fewer connections. To hand one over wakes a thread and has two
    /// processors share its memory, so that it gains nothing while this one keeps up.
    pub fn seat(&self) -> Seat {
        let workers = &self.workers.0.workers;
        let here = &self.worker().load;
        let seated = here.seated.load(Relaxed);
        // Another one each time: in the long run all are looked at.
        let other = (self.at + 1 + seated % (workers.len() - 1).max(1)) % workers.len();
        let there = &workers[other].load;
        let helps = there.sleeps() && here.needs_help();
        let at = if helps || seated > 2 * there.seated.load(Relaxed) + MANY {
            other
        } else {
            self.at
        };
        workers[at].load.seated.fetch_add(1, Relaxed);
        Seat(Self {
            workers: self.workers.clone(),
            at,
        })
    }

    fn worker(&self) -> &Worker {
        &self.workers.0.workers[self.at]
    }
}

impl Seat {
    /// The worker it is at.
    pub fn home(&self) -> &Home {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.worker().load.seated.fetch_sub(1, Relaxed);
    }
}

impl Threads {
    /// Ends them with all they still do, or leaves them to the end of the process when something
    /// holds one up for longer than `patience`.
    pub fn stop(self, patience: Duration) {
        drop(self.serving);
        self.long.shutdown_timeout(patience);
        // Nothing is ever sent: this ends when the last has ended, or patience has.
        let _ = self.ended.recv_timeout(patience);
    }
}

/// Starts one worker, which ends when what `stop` watches is gone.
fn worker(
    index: usize,
    mut stop: watch::Receiver<()>,
    running: mpsc::Sender<Infallible>,
) -> io::Result<Worker> {
    let load = Arc::new(Load::new());
    let (parking, unparked) = (load.clone(), load.clone());
    let runtime = Builder::new_current_thread()
        .on_thread_park(move || parking.sleep())
        .on_thread_unpark(move || unparked.wake())
        .enable_all()
        .build()?;
    let worker = Worker {
        runtime: runtime.handle().clone(),
        load,
    };
    thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let _ = runtime.block_on(stop.changed());
            // A file system that does not answer may hold one of its threads for ever.
            runtime.shutdown_background();
            drop(running);
        })?;
    Ok(worker)
}

#[cfg(test)]
mod tests {
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
}
