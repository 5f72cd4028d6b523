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

use tokio::runtime::{Builder, Handle, Runtime};
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
mod tests;
