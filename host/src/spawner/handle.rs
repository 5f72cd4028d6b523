//! The host's side of the spawner: any number of tasks ask at once, one task reads the reports and
//! hands each to the task that waits for it. Nothing here queues without bound: a request waits in
//! its own task until the socket takes it, and whoever asks holds a permit.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use super::message::{DESCRIPTORS, MAX_PACKET, MAX_REPORTS, Report, Request, Stage};
use super::process::{End, Process};
use super::registry::Registry;
use super::{Ids, MAX_ARGUMENTS, Program, Setup};
use crate::packet;

/// Why a process could not be started, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system refused it.
    #[error("{stage}: {error}")]
    Refused {
        /// What was attempted.
        stage: Stage,
        /// Why not.
        error: io::Error,
    },
    /// The request does not fit in a packet.
    #[error("its arguments and environment take {0} bytes, {MAX_ARGUMENTS} at most")]
    TooLarge(usize),
    /// The spawner has ended; no native job can be started any more.
    #[error("the spawner has ended")]
    Gone,
    /// The request could not be sent.
    #[error("ask the spawner: {0}")]
    Send(io::Error),
    /// All jobs of this host are registered.
    #[error(
        "no job can be registered any more, since this host has confined itself to the jobs it began with: \
         start another host in its place"
    )]
    Sealed,
}

/// The spawner, for all tasks of the host.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Owner>);

/// Ends the reading task, which holds the other reference to the socket, with the last handle.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Debug)]
struct Shared {
    /// For its readiness: what it carries are packets.
    socket: UnixStream,
    registry: Registry,
    pid: Pid,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    late: Notify,
    gone: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// What was asked for and has not ended.
    claims: HashMap<u64, Claim>,
    /// To end processes nobody waits for any more, and to forget jobs: the socket had no room at that moment.
    late: Vec<Request>,
    gone: bool,
}

#[derive(Debug)]
struct Claim {
    /// For the day the spawner is not there to end it.
    pid: Option<i32>,
    start: Option<oneshot::Sender<i32>>,
    end: oneshot::Sender<End>,
}

impl Handle {
    pub(super) fn new(socket: OwnedFd, registry: Registry, pid: Pid) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket: UnixStream::from_std(socket.into())?,
            registry,
            pid,
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
            late: Notify::new(),
            gone: watch::Sender::new(false),
        });
        let reader = tokio::spawn(Arc::clone(&shared).read());
        Ok(Self(Arc::new(Owner { shared, reader })))
    }

    /// The spawner's own process id.
    pub fn pid(&self) -> i32 {
        self.0.shared.pid.as_raw()
    }

    /// Resolves when the spawner has ended, which it never does by itself.
    pub async fn gone(&self) {
        let mut gone = self.0.shared.gone.subscribe();
        // The sender lives as long as `self`.
        let _ = gone.wait_for(|gone| *gone).await;
    }

    /// Registers a job, in a sandbox of these Landlock rules if there are any: its processes can be asked for as long as what this returns is there. Blocks for the answer.
    ///
    /// # Errors
    /// When it can never fit in a packet, when no job is taken any more, or when the spawner is gone.
    pub fn register(
        &self,
        program: &Program,
        setup: &Setup,
        rules: Option<BorrowedFd<'_>>,
    ) -> Result<Recipe, SpawnError> {
        let shared = &self.0.shared;
        let job = shared.next.fetch_add(1, Ordering::Relaxed);
        shared.registry.register(job, program, setup, rules)?;
        Ok(Recipe {
            handle: self.clone(),
            job,
        })
    }

    /// Whether [`Self::register`] takes a job. Once it does not, it never does again.
    pub fn takes_jobs(&self) -> bool {
        self.0.shared.registry.is_open()
    }

    /// Has the spawner take no job any more, whoever asks. If it is to become `ids`, as the host has, it does so unless a
    /// job needs more rights, or one of these unix paths is to be removed at the end, which the host then cannot do.
    ///
    /// # Errors
    /// When it cannot become them, or is gone.
    pub fn seal(&self, ids: Option<&Ids>, paths: &[PathBuf]) -> Result<(), SpawnError> {
        self.0.shared.registry.close(ids, paths)
    }

    /// Whether its processes may be anybody: it was started by root.
    pub fn is_root(&self) -> bool {
        self.0.shared.registry.root
    }

    /// Leaves the unix paths of [`Self::seal`] where they are: another host listens there.
    pub fn leave_paths(&self) {
        self.0.shared.tell(Request::LeavePaths);
    }

    /// Asks for a process that has `descriptors` as its 0, 1, 2 and 3 and no other, and `variables`, each
    /// `NAME=value` with a 0 byte at its end, beside those of the recipe. It is on its way when this resolves;
    /// whether it got to its program is told by [`Process::wait`].
    ///
    /// # Errors
    /// When the request does not fit in a packet, or the spawner is gone.
    pub async fn spawn(
        &self,
        recipe: &Recipe,
        variables: &[u8],
        descriptors: [BorrowedFd<'_>; DESCRIPTORS],
    ) -> Result<Process, SpawnError> {
        self.ask(recipe, variables, descriptors, None).await
    }

    /// The same for one that is made ready now and gets to its program, at once and without anybody being asked, when
    /// `before` has ended and a connection waits at the listener that is its 3. Otherwise it is spared; also when `before`
    /// is signalled, and when the spawner is the first to see that it ended badly.
    ///
    /// # Errors
    /// Likewise.
    pub async fn spawn_after(
        &self,
        before: &Process,
        recipe: &Recipe,
        variables: &[u8],
        descriptors: [BorrowedFd<'_>; DESCRIPTORS],
    ) -> Result<Process, SpawnError> {
        let after = Some(before.ticket());
        self.ask(recipe, variables, descriptors, after).await
    }

    async fn ask(
        &self,
        recipe: &Recipe,
        variables: &[u8],
        descriptors: [BorrowedFd<'_>; DESCRIPTORS],
        after: Option<u64>,
    ) -> Result<Process, SpawnError> {
        let shared = &self.0.shared;
        let ticket = shared.next.fetch_add(1, Ordering::Relaxed);
        let job = recipe.job;
        let (request, length) = encode(&Request::Spawn { ticket, job, after });
        let size = length + variables.len();
        if size > MAX_PACKET {
            return Err(SpawnError::TooLarge(size));
        }
        let parts = [&request[..length], variables].map(IoSlice::new);
        let (begun, start) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let claim = Claim {
            pid: None,
            start: Some(begun),
            end: ended,
        };
        {
            let mut waiting = shared.waiting();
            if waiting.gone {
                return Err(SpawnError::Gone);
            }
            waiting.claims.insert(ticket, claim);
        }
        // From here on a drop takes it back.
        let process = Process::new(self.clone(), ticket, start, end);
        shared
            .send(&parts, &descriptors)
            .await
            .map_err(|error| match error.raw_os_error() {
                Some(nix::libc::EPIPE | nix::libc::ECONNRESET) => SpawnError::Gone,
                Some(nix::libc::EMSGSIZE) => SpawnError::TooLarge(size),
                _ => SpawnError::Send(error),
            })?;
        Ok(process.sent())
    }

    pub(super) async fn spare(&self, ticket: u64) {
        // An error means that the spawner is gone, and all processes with it.
        let _ = self.0.shared.request(&Request::Spare { ticket }).await;
    }

    pub(super) async fn signal(&self, ticket: u64, signal: i32) -> io::Result<()> {
        self.0
            .shared
            .request(&Request::Signal { ticket, signal })
            .await
    }

    pub(super) fn forget(&self, ticket: u64) {
        self.0.shared.waiting().claims.remove(&ticket);
    }

    pub(super) fn abandon(&self, ticket: u64) {
        self.0.shared.abandon(ticket);
    }
}

/// A job that is registered, for however many processes are started from it.
#[derive(Debug)]
pub struct Recipe {
    handle: Handle,
    job: u64,
}

impl Drop for Recipe {
    fn drop(&mut self) {
        let job = self.job;
        self.handle.0.shared.tell(Request::Forget { job });
    }
}

/// A request without what follows it, and its length.
fn encode(request: &Request) -> ([u8; 32], usize) {
    let mut bytes = [0; 32];
    let length = postcard::to_slice(request, &mut bytes).map_or(0, |written| written.len());
    (bytes, length)
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, parts: &[IoSlice<'_>], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let ready = || Ok(packet::send(self.socket.as_fd(), parts, descriptors)?);
        self.socket.async_io(Interest::WRITABLE, ready).await
    }

    async fn request(&self, request: &Request) -> io::Result<()> {
        let (request, length) = encode(request);
        self.send(&[IoSlice::new(&request[..length])], &[]).await
    }

    /// The order of packets is kept, so this ends even a process that is yet to be started.
    fn abandon(&self, ticket: u64) {
        let signal = nix::libc::SIGKILL;
        self.tell(Request::Signal { ticket, signal });
    }

    /// Sends a request now, or as soon as there is room for it.
    fn tell(&self, late: Request) {
        let (request, length) = encode(&late);
        let mut waiting = self.waiting();
        let sent = packet::send(
            self.socket.as_fd(),
            &[IoSlice::new(&request[..length])],
            &[],
        );
        if sent == Err(rustix::io::Errno::AGAIN) {
            waiting.late.push(late);
            self.late.notify_one();
        }
    }

    /// Hands out reports until the spawner is gone.
    async fn read(self: Arc<Self>) {
        let mut packet = [0; MAX_REPORTS];
        let why = loop {
            let receive = || Ok(packet::receive(self.socket.as_fd(), &mut packet)?.0);
            let length = tokio::select! {
                length = self.socket.async_io(Interest::READABLE, receive) => length,
                () = self.late.notified() => {
                    // Not here: while the spawner's own reports have no room it takes no requests.
                    tokio::spawn(Arc::clone(&self).send_late());
                    continue;
                }
            };
            match length {
                Ok(0) => break "its socket is closed".to_owned(),
                Ok(length) => self.deliver(&packet[..length]),
                Err(error) => break error.to_string(),
            }
        };
        let reason = format!("the spawner has ended: {why}");
        tracing::error!(pid = self.pid.as_raw(), reason, "end");
        {
            let mut waiting = self.waiting();
            waiting.gone = true;
            // The leaders got KILL when their parent died. The rest of each group is ended from here:
            // nobody holds the group's id any more, but it was in use a moment ago. Dropping the senders
            // tells all who wait.
            for (_, claim) in waiting.claims.drain() {
                if let Some(pid) = claim.pid {
                    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
        }
        self.gone.send_replace(true);
        let pid = self.pid;
        tokio::task::spawn_blocking(move || waitpid(pid, None));
    }

    async fn send_late(self: Arc<Self>) {
        let late = std::mem::take(&mut self.waiting().late);
        for request in late {
            // An error means that the spawner is gone, which the next read tells.
            let _ = self.request(&request).await;
        }
    }

    /// All reports of one packet.
    fn deliver(&self, mut packet: &[u8]) {
        let mut waiting = self.waiting();
        while let Ok((report, rest)) = postcard::take_from_bytes(packet) {
            packet = rest;
            let (ticket, end) = match report {
                Report::Started { ticket, pid } => {
                    if let Some(claim) = waiting.claims.get_mut(&ticket) {
                        claim.pid = Some(pid);
                        let _ = claim.start.take().map(|start| start.send(pid));
                    }
                    continue;
                }
                Report::Failed {
                    ticket,
                    stage,
                    errno,
                } => (ticket, Err((stage, errno))),
                Report::Ended { ticket, ended } => (ticket, Ok(ended)),
            };
            if let Some(claim) = waiting.claims.remove(&ticket) {
                let _ = claim.end.send(end);
            }
        }
    }
}
