//! Listener style: the job gets the listening socket and accepts for itself, as under Upstart. The host
//! waits for a connection, starts the job for it, and looks at the queue when the job has ended.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Exec;
use super::run::{Run, Site, Watch};
use crate::outcome::Outcome;
use crate::preopen::env::Variables;
use crate::queue::{Queue, Verdict};

impl Exec {
    /// Starts the job for the connections of one listener, up to `instances` processes at once, until `close`
    /// resolves; then starts no more and returns when the last process has ended. `stop` ends those
    /// that still run when it becomes an outcome, e.g. when the grace of a drain is over. `facts` describe
    /// the listener. Dropped, it kills what runs.
    ///
    /// A failure, for the respawn limit, is a run that could not start, and one that ended badly, or was
    /// never to be rid of its connection, without having accepted. A run that accepted is none, whatever
    /// its status: otherwise a client could pause the trigger for all others by making the job fail. Nor is one
    /// that succeeds without accepting: each such run has its connection closed, so it cannot spin.
    ///
    /// A job may shut its listener down, for all who have it. One with a port is opened again.
    ///
    /// # Errors
    /// When the listener cannot be watched, or was shut down and cannot be opened again.
    pub async fn serve(
        self: &Arc<Self>,
        listener: BorrowedFd<'_>,
        facts: Variables,
        watch: Arc<impl Watch>,
        close: impl Future<Output = ()>,
        stop: watch::Receiver<Option<Outcome>>,
    ) -> io::Result<()> {
        // Jobs share the open file description, and expect it to block; the host only polls it.
        rustix::io::ioctl_fionbio(listener, false)?;
        let mut queue = match self.instances.get() {
            1 => Queue::new(listener)?,
            _ => Queue::shared(listener)?,
        };
        let address = SocketAddr::try_from(rustix::net::getsockname(listener)?).ok();
        let mut arrivals = register(listener)?;
        let site = Arc::new(Site {
            exec: Arc::clone(self),
            listener: listener.try_clone_to_owned()?,
            facts,
            watch: Arc::clone(&watch),
            stop,
            closed: watch::Sender::new(false),
        });
        let mut runs: JoinSet<Run> = JoinSet::new();
        tokio::pin!(close);
        let mut closed = false;
        loop {
            if !closed && queue.is_shut() {
                revive(listener, address)?;
                arrivals = renew(listener, &mut queue, arrivals)?;
            }
            let room = !closed && runs.len() < self.instances.get() as usize;
            tokio::select! {
                biased;
                () = &mut close, if !closed => {
                    closed = true;
                    site.closed.send_replace(true);
                }
                Some(ended) = runs.join_next() => {
                    // A run that panicked or was cancelled dropped its process, which kills it.
                    let mut run = ended.unwrap_or_else(|error| Run {
                        id: 0,
                        booking: None,
                        outcome: Outcome::Failed(error.to_string()),
                        ran: Duration::ZERO,
                        next: None,
                    });
                    if let Some(next) = run.next.take() {
                        let booking = queue.relay(run.outcome == Outcome::Done);
                        self.note(&run, Verdict::Taken, &*watch);
                        runs.spawn(site.clone().attend(booking, next, queue.relays()));
                    } else {
                        if let Some(booking) = run.booking {
                            queue.over(booking);
                        }
                        let verdict = queue.settle(runs.len());
                        // Open again when the end is told: whoever hears of it may connect.
                        let shut = !closed && queue.is_shut();
                        let opened = shut.then(|| revive(listener, address));
                        self.note(&run, verdict, &*watch);
                        if let Some(opened) = opened {
                            opened?;
                            arrivals = renew(listener, &mut queue, arrivals)?;
                        }
                    }
                }
                ready = self.next(&arrivals, &mut queue), if room => {
                    if !ready? {
                        continue;
                    }
                    if runs.is_empty() {
                        // The last run may have changed that; while runs go on it is theirs.
                        rustix::io::ioctl_fionbio(listener, false)?;
                    }
                    runs.spawn(site.clone().run(queue.booking(), queue.relays()));
                }
                else => return Ok(()),
            }
            if closed && runs.is_empty() {
                return Ok(());
            }
        }
    }

    /// Resolves when a connection waits for which no run has been started, and the job is not paused. That
    /// connection is then booked. `false`: the listener was shut down.
    async fn next(
        &self,
        arrivals: &AsyncFd<BorrowedFd<'_>>,
        queue: &mut Queue,
    ) -> io::Result<bool> {
        loop {
            // Not `while let`: the lock would be held while this sleeps.
            let paused = self.failures().paused_until(Instant::now());
            if let Some(until) = paused {
                sleep_until(until).await;
            }
            if queue.is_shut() {
                return Ok(false);
            }
            if queue.book() {
                return Ok(true);
            }
            // Every arrival makes the listener ready anew, even when others wait there already.
            let arrival = arrivals.readable();
            let ready = match queue.retry_at() {
                Some(retry) => timeout_at(retry.into(), arrival).await.ok(),
                None => Some(arrival.await),
            };
            match ready {
                Some(ready) => ready?.clear_ready(),
                None => queue.give_back(),
            }
        }
    }

    /// Tells of a run, and pauses the job when it was one failure too many.
    fn note(&self, run: &Run, verdict: Verdict, watch: &impl Watch) {
        watch.ended(run.id, &run.outcome, verdict, run.ran);
        let failed = match (&run.outcome, verdict) {
            (Outcome::Failed(_), _) | (_, Verdict::Left { closed: 0 }) => true,
            // While others run it cannot be told who took what. What waits is tried again once a second, and
            // when the last of them is over it is told what is left.
            (_, Verdict::Taken | Verdict::Waiting) | (Outcome::Done, _) => false,
            (_, Verdict::Left { .. }) => true,
        };
        if failed && let Some(pause) = self.failures().note(self.respawn, Instant::now()) {
            watch.paused(pause);
        }
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, super::Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a listener again that was shut down. That a socket of a port can be, with the same options; a unix
/// socket cannot.
fn revive(listener: BorrowedFd<'_>, address: Option<SocketAddr>) -> io::Result<()> {
    let shut = || io::Error::other("the job shut its listener down");
    let address = address.ok_or_else(shut)?;
    // A port that the system chose (port 0) was given back, although the socket still names it, and is
    // free unless it was taken just now. One that was asked for is bound still, which is INVAL.
    match rustix::net::bind(listener, &address) {
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(_) => return Err(shut()),
    }
    // The length of the backlog is capped by the system, as for a listener without one.
    rustix::net::listen(listener, i32::MAX).map_err(|_| shut())
}

/// Begins anew with a listener that was opened again.
fn renew<'a>(
    listener: BorrowedFd<'a>,
    queue: &mut Queue,
    old: AsyncFd<BorrowedFd<'a>>,
) -> io::Result<AsyncFd<BorrowedFd<'a>>> {
    queue.forget();
    // What tokio knows of the old one is that it is closed, for ever.
    drop(old);
    register(listener)
}

/// Has the runtime watch for what can be read.
pub(super) fn register(descriptor: BorrowedFd<'_>) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
    #[allow(unsafe_code, reason = "tokio asks for I/O safety by promise")]
    // SAFETY: the borrow keeps the descriptor open and in place for as long as it is registered.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    registered.map_err(Into::into)
}
