//! The host's side of the spawner: any number of tasks ask at once, one task reads the reports and
//! hands each to the task that waits for it. Nothing here queues without bound: a request waits in
//! its own task until the socket takes it, and whoever asks holds a permit.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use super::error::SpawnError;
use super::link::{Claim, Link, encode};
use super::message::{DESCRIPTORS, MAX_PACKET, Request};
use super::process::Process;
use super::registry::Registry;
use super::{Ids, Program, Setup};

/// The spawner, for all tasks of the host.
#[derive(Clone, Debug)]
pub struct Handle(Arc<Owner>);

/// Ends the reading task, which holds the other reference to the socket, with the last handle.
#[derive(Debug)]
struct Owner {
    link: Arc<Link>,
    reader: JoinHandle<()>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Handle {
    pub(super) fn new(socket: OwnedFd, registry: Registry, pid: Pid) -> io::Result<Self> {
        let link = Arc::new(Link {
            socket: UnixStream::from_std(socket.into())?,
            registry,
            pid,
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
            late: Notify::new(),
            gone: watch::Sender::new(false),
        });
        let reader = tokio::spawn(Arc::clone(&link).read());
        Ok(Self(Arc::new(Owner { link, reader })))
    }

    /// The spawner's own process id.
    pub fn pid(&self) -> i32 {
        self.0.link.pid.as_raw()
    }

    /// Resolves when the spawner has ended, which it never does by itself.
    pub async fn gone(&self) {
        let mut gone = self.0.link.gone.subscribe();
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
        let link = &self.0.link;
        let job = link.next.fetch_add(1, Ordering::Relaxed);
        link.registry.register(job, program, setup, rules)?;
        Ok(Recipe {
            handle: self.clone(),
            job,
        })
    }

    /// Whether [`Self::register`] takes a job. Once it does not, it never does again.
    pub fn takes_jobs(&self) -> bool {
        self.0.link.registry.is_open()
    }

    /// Has the spawner take no job any more, whoever asks. If it is to become `ids`, as the host has, it does so unless a
    /// job needs more rights.
    ///
    /// # Errors
    /// When it cannot become them, or is gone.
    pub fn seal(&self, ids: Option<&Ids>) -> Result<(), SpawnError> {
        self.0.link.registry.close(ids)
    }

    /// Whether its processes may be anybody: it was started by root.
    pub fn is_root(&self) -> bool {
        self.0.link.registry.root
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
        let link = &self.0.link;
        let ticket = link.next.fetch_add(1, Ordering::Relaxed);
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
            let mut waiting = link.waiting();
            if waiting.gone {
                return Err(SpawnError::Gone);
            }
            waiting.claims.insert(ticket, claim);
        }
        // From here on a drop takes it back.
        let process = Process::new(self.clone(), ticket, start, end);
        link.send(&parts, &descriptors)
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
        let _ = self.0.link.request(&Request::Spare { ticket }).await;
    }

    pub(super) async fn signal(&self, ticket: u64, signal: i32) -> io::Result<()> {
        self.0
            .link
            .request(&Request::Signal { ticket, signal })
            .await
    }

    pub(super) fn forget(&self, ticket: u64) {
        self.0.link.waiting().claims.remove(&ticket);
    }

    pub(super) fn abandon(&self, ticket: u64) {
        self.0.link.abandon(ticket);
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
        self.handle.0.link.tell(Request::Forget { job });
    }
}
