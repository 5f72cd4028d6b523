//! A listening socket on its way from one service to the next: a reload changes who serves at an address
//! and never closes what listens there.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::connection::Local;
use crate::listener::{Bound, Shared};
use crate::log;
use crate::plan::SocketOptions;

/// How long to wait before a listener that a job has shut down is bound anew, at first and when
/// that keeps failing.
const REBIND: Duration = Duration::from_secs(1);
const REBIND_AT_MOST: Duration = Duration::from_mins(1);

/// An address of a trigger with what listens there.
#[derive(Debug)]
pub struct Post {
    /// Where it is.
    pub local: Arc<Local>,
    options: SocketOptions,
    /// `None`: whoever serves there has it, or its job has shut it down and it has to be bound anew.
    bound: Option<Bound>,
    /// The socket, while whoever serves there has it.
    taken: Weak<OwnedFd>,
    /// Whether processes still have the listener that were started before.
    busy: Option<Busy>,
}

/// Disconnected when the processes have ended that were given a listener.
pub(super) type Busy = oneshot::Receiver<Infallible>;

/// What the host holds of a listener that is served.
#[derive(Debug)]
pub struct Served(mpsc::Sender<Ask>);

/// The other end of that, held by whoever serves there until no process of theirs has the listener any more.
#[derive(Debug)]
pub(super) struct Relief {
    asked: mpsc::Receiver<Ask>,
    /// Whether processes are given the listener.
    gives: bool,
    /// The first is closed with this, which a host that takes the place of this one sees at the second.
    busy: Option<(OwnedFd, OwnedFd)>,
}

#[derive(Debug)]
enum Ask {
    /// For the post: nobody is served there any more.
    Withdraw(oneshot::Sender<Post>),
    /// For the socket: it is served as before.
    Share(oneshot::Sender<Option<Shared>>),
}

/// Both ends, for a service that `gives` the listener to processes or does not.
pub(super) fn served(gives: bool) -> (Served, Relief) {
    let (ask, asked) = mpsc::channel(1);
    let busy = None;
    (Served(ask), Relief { asked, gives, busy })
}

impl Served {
    /// Has whoever serves there stop, and gives what listens. A job that has the listener keeps it until
    /// its processes have ended. `None`: the host is stopping.
    pub async fn withdraw(self) -> Option<Post> {
        let (reply, post) = oneshot::channel();
        self.0.send(Ask::Withdraw(reply)).await.ok()?;
        post.await.ok()
    }

    /// The socket, which is served all the same. `None`: there is none at the moment.
    pub async fn share(&self) -> Option<Shared> {
        let (reply, socket) = oneshot::channel();
        self.0.send(Ask::Share(reply)).await.ok()?;
        socket.await.ok().flatten()
    }
}

impl Relief {
    /// Resolves when the post is asked for, whose socket is `shared`.
    pub async fn asked(&mut self, shared: Weak<OwnedFd>) -> oneshot::Sender<Post> {
        loop {
            match self.asked.recv().await {
                Some(Ask::Withdraw(reply)) => return reply,
                Some(Ask::Share(reply)) => {
                    let shared = shared.upgrade().map(|socket| self.share(socket));
                    let _ = reply.send(shared);
                }
                // The host holds it no more, and asks nothing.
                None => std::future::pending().await,
            }
        }
    }

    fn share(&mut self, socket: Arc<OwnedFd>) -> Shared {
        // The same for all who ask, one after the other.
        if self.gives && self.busy.is_none() {
            let pair = UnixStream::pair().ok();
            self.busy = pair.map(|(kept, told)| (kept.into(), told.into()));
        }
        let told = self.busy.as_ref().map(|(_, told)| told.try_clone());
        let busy = told.and_then(Result::ok);
        Shared { socket, busy }
    }
}

/// Resolves when the other end of this is closed, however that comes.
fn until_closed(end: OwnedFd) -> Busy {
    let (over, busy) = oneshot::channel();
    tokio::spawn(async move {
        let end = UnixStream::from(end);
        if end.set_nonblocking(true).is_ok()
            && let Ok(end) = tokio::net::UnixStream::from_std(end)
        {
            // Nothing is ever sent.
            let _ = end.readable().await;
        }
        drop(over);
    });
    busy
}

impl Post {
    /// One that nobody of this host has served at.
    pub fn new(mut bound: Bound, options: SocketOptions) -> Self {
        Self {
            local: bound.local.clone(),
            options,
            busy: bound.busy().map(until_closed),
            bound: Some(bound),
            taken: Weak::new(),
        }
    }

    /// Sets what the trigger now says of its socket.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn adapt(&mut self, options: &SocketOptions) -> anyhow::Result<()> {
        let before = std::mem::replace(&mut self.options, options.clone());
        match &self.bound {
            Some(bound) if before != *options => bound.adapt(options),
            _ => Ok(()),
        }
    }

    /// What listens there, if anything does.
    pub fn into_bound(self) -> Option<Bound> {
        self.bound
    }

    /// Waits until the processes have ended that have the listener, and binds it anew where they have shut
    /// it down.
    pub(super) async fn take(&mut self, trigger: &str) -> Bound {
        if let Some(busy) = &mut self.busy {
            // Nothing is ever sent.
            let _ = busy.await;
            self.busy = None;
            self.bound = self.bound.take().filter(|bound| !bound.is_shut());
        }
        let mut pause = REBIND;
        loop {
            if let Some(bound) = self.bound.take() {
                self.taken = Arc::downgrade(&bound.socket());
                return bound;
            }
            tokio::time::sleep(pause).await;
            let address = &self.local;
            match Bound::again(address, &self.options) {
                Ok(bound) => {
                    info!(%trigger, %address, "listen");
                    self.bound = Some(bound);
                }
                Err(error) => {
                    pause = (pause * 2).min(REBIND_AT_MOST);
                    let (reason, ms) = (format!("{error:#}"), log::millis(pause));
                    warn!(%trigger, %address, reason, ms, "pause");
                }
            }
        }
    }

    /// Gives back what was taken.
    pub(super) fn put(&mut self, bound: Bound) {
        self.bound = Some(bound);
    }

    /// The same, with processes that have the listener until `busy` is disconnected.
    pub(super) fn busy_until(self, busy: Busy) -> Self {
        let busy = Some(busy);
        Self { busy, ..self }
    }

    /// The same, whose listener was shut down.
    pub(super) fn shut(self) -> Self {
        let bound = None;
        Self { bound, ..self }
    }

    /// The socket, whoever has it.
    pub(super) fn shared(&self) -> Weak<OwnedFd> {
        match &self.bound {
            Some(bound) => Arc::downgrade(&bound.socket()),
            None => self.taken.clone(),
        }
    }
}
