//! Which connections wait in a listener's accept queue. A native job that gets the listener accepts
//! for itself, so after a run the host has to find out whether it took the connection that it was
//! started for; the kernel's socket diagnosis tells, for TCP and for unix alike.

mod account;
mod diagnosis;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};

use account::{Account, Depth};
pub use account::{Booking, Verdict};
use diagnosis::Diagnosis;

/// The accept queue of one listener, and what the runs started for it owe to its head.
///
/// A run is started for one connection, the head of the queue: accept takes from the head. When no run
/// is left and the connections that runs were started for are still there, they were not wanted, and
/// the host closes exactly as many from the head.
#[derive(Debug)]
pub struct Queue {
    listener: OwnedFd,
    /// `None` where the kernel does not tell: then whether anything waits is all there is to go by.
    diagnosis: Option<Diagnosis>,
    account: Account,
}

impl Queue {
    /// Watches a listening socket for one run at a time. The listener stays in blocking mode, as jobs
    /// expect it.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn new(listener: BorrowedFd<'_>) -> io::Result<Self> {
        Self::with(listener, Account::new(false))
    }

    /// The same for several runs at once.
    ///
    /// # Errors
    /// When the descriptor cannot be duplicated.
    pub fn shared(listener: BorrowedFd<'_>) -> io::Result<Self> {
        Self::with(listener, Account::new(true))
    }

    fn with(listener: BorrowedFd<'_>, account: Account) -> io::Result<Self> {
        let listener = listener.try_clone_to_owned()?;
        let diagnosis = match Diagnosis::new(listener.as_fd()) {
            Ok(diagnosis) => Some(diagnosis),
            Err(error) => {
                let reason = format!("no socket diagnosis, only readiness is known: {error}");
                tracing::debug!(reason, "listen");
                None
            }
        };
        Ok(Self {
            listener,
            diagnosis,
            account,
        })
    }

    /// Whether a connection waits, now.
    pub fn waits(&self) -> bool {
        // An error is told by the next accept; saying "nothing" here would leave a client hanging.
        self.poll(PollFlags::IN).is_none_or(|now| !now.is_empty())
    }

    /// Whether somebody has shut the listener down: no connection comes through it any more.
    pub fn is_shut(&self) -> bool {
        // A unix listener is not told from its state: it goes on listening, and refuses everybody.
        self.poll(PollFlags::RDHUP)
            .is_some_and(|now| now.intersects(PollFlags::RDHUP | PollFlags::HUP))
    }

    fn poll(&self, wanted: PollFlags) -> Option<PollFlags> {
        let mut watched = [PollFd::new(&self.listener, wanted)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut watched, Some(&at_once)).ok()?;
        Some(watched[0].revents())
    }

    /// What waited is gone with a listener that was shut down.
    pub fn forget(&mut self) {
        self.account.forget();
    }

    /// Called before a run is started: whether there is a connection for which none has been yet. `true`
    /// books that connection for the run.
    pub fn book(&mut self) -> bool {
        if !self.waits() {
            self.account.empty();
            return false;
        }
        let depth = self.account.depth_before();
        let snapshot = self.look(depth);
        self.account.book(snapshot)
    }

    /// The claim of the run that a connection was booked for last.
    pub fn booking(&self) -> Booking {
        self.account.booking()
    }

    /// How many of the next runs may each begin when the one before it ends, before anybody has looked at the
    /// queue: as many as others wait, within bounds, when the job has shown often enough that it accepts.
    pub fn relays(&self) -> usize {
        self.account.relays()
    }

    /// Called in place of [`Self::book`] and [`Self::settle`] when a run has ended, `well` or not, and the next one
    /// began at once.
    pub fn relay(&mut self, well: bool) -> Booking {
        let snapshot = self.look(Depth::Length);
        self.account.relay(snapshot, well);
        self.booking()
    }

    /// When to call [`Self::give_back`], if a connection waits whose run may be over while others go on.
    pub fn retry_at(&self) -> Option<Instant> {
        self.account.retry_at()
    }

    /// Makes connections that have waited long enough after the end of their run free to be booked again:
    /// the runs that go on may have taken what they were started for, and do so for hours.
    pub fn give_back(&mut self) {
        self.account.give_back(Instant::now());
    }

    /// Called when the run of a booking has ended, before [`Self::settle`].
    pub fn over(&mut self, booking: Booking) {
        self.account.over(booking, Instant::now());
    }

    /// Called after a run has ended: whether something was taken since the connection was booked, as far as
    /// the runs owe anything. `others` is how many runs of this listener still go on. When it is 0 and
    /// connections that were booked are still there, they are accepted and closed.
    pub fn settle(&mut self, others: usize) -> Verdict {
        if self.is_shut() {
            self.account.forget();
            return Verdict::Left { closed: 0 };
        }
        if !self.waits() {
            self.account.empty();
            return Verdict::Taken;
        }
        let brief = self.look(Depth::Length);
        if self.account.needs_identities(&brief) {
            let deep = self.look(Depth::Identities);
            self.account.observe(deep);
        } else {
            self.account.observe(brief);
        }
        if others > 0 {
            return self.account.verdict(others, Instant::now());
        }
        match self.account.clear() {
            0 => Verdict::Taken,
            unwanted => Verdict::Left {
                closed: self.close(unwanted),
            },
        }
    }

    fn look(&mut self, depth: Depth) -> account::Snapshot {
        let seen = self.diagnosis.as_mut().map(|d| d.look(depth));
        match seen {
            Some(Ok(snapshot)) => snapshot,
            Some(Err(error)) => {
                let reason = format!("socket diagnosis failed: {error}");
                tracing::debug!(reason, "listen");
                account::Snapshot::unknown()
            }
            None => account::Snapshot::unknown(),
        }
    }

    /// Accepts and closes up to `count` connections; how many there were.
    ///
    /// A blocking accept could be held up by a process that a job left behind and that takes the
    /// connection first, so the listener is non-blocking for this moment. That flag is on the open file
    /// description, which jobs share: it is changed only while no run goes on.
    fn close(&self, count: usize) -> usize {
        if rustix::io::ioctl_fionbio(&self.listener, true).is_err() {
            return 0;
        }
        // A client that has reset is an error here or a connection like any other; it left the queue either way.
        let closed = (0..count)
            .take_while(
                |_| match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                    Ok(_closed_by_drop) => true,
                    Err(error) => error == rustix::io::Errno::CONNABORTED,
                },
            )
            .count();
        let _ = rustix::io::ioctl_fionbio(&self.listener, false);
        closed
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn without_diagnosis_a_client_that_nobody_wants_is_closed_in_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut queue = Queue {
            diagnosis: None,
            ..Queue::new(listener.as_fd()).unwrap()
        };
        let mut runs = 0;
        while queue.book() {
            runs += 1;
            let verdict = queue.settle(0);
            assert!(verdict == Verdict::Taken || verdict == Verdict::Left { closed: 1 });
        }
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(runs, 10);
    }

    #[test]
    fn a_listener_stays_in_blocking_mode() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut queue = Queue::new(listener.as_fd()).unwrap();
        assert!(queue.book());
        assert_eq!(queue.settle(0), Verdict::Left { closed: 1 });
        let flags = rustix::fs::fcntl_getfl(&listener).unwrap();
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    }

    #[test]
    fn a_second_listener_on_the_port_is_not_confused_with_this_one() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = ours.local_addr().unwrap().port();
        let Ok(other) = TcpListener::bind(("127.0.0.2", port)) else {
            return;
        };
        let _client = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
        let _others = [(); 3].map(|()| TcpStream::connect(other.local_addr().unwrap()).unwrap());
        let mut queue = Queue::new(ours.as_fd()).unwrap();
        assert!(queue.book());
        let _taken = ours.accept().unwrap();
        let _newcomer = TcpStream::connect(ours.local_addr().unwrap()).unwrap();
        assert_eq!(queue.settle(0), Verdict::Taken);
        assert!(queue.book());
        assert_eq!(queue.settle(0), Verdict::Taken, "the benefit of the doubt");
        assert!(queue.book());
        assert_eq!(queue.settle(0), Verdict::Left { closed: 1 });
    }
}
