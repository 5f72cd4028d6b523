//! The host's side of the spawner: any number of tasks ask at once, one task reads the reports and
//! hands each to the task that waits for it. Nothing here queues without bound: a request waits in
//! its own task until the socket takes it, and whoever asks holds a permit.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
    sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use super::message::{DESCRIPTORS, Ended, MAX_PACKET, Report, Request, Stage};
use super::{MAX_ARGUMENTS, Program, Setup};

/// Why a process could not be started, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The system refused it.
    #[error("{path}: {stage}: {error}")]
    Refused {
        /// The program.
        path: String,
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
    /// For its readiness: what it carries are packets, sent and received by `send` and `receive`.
    socket: UnixStream,
    pid: Pid,
    next: AtomicU64,
    waiting: Mutex<Waiting>,
    abandoned: Notify,
    gone: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Waiting {
    births: HashMap<u64, oneshot::Sender<Born>>,
    ends: HashMap<u64, oneshot::Sender<Ended>>,
    /// Of processes that run, for the day the spawner is not there to end them.
    pids: HashMap<u64, i32>,
    /// Processes nobody waits for any more, for which the socket had no room at that moment.
    abandoned: Vec<u64>,
    gone: bool,
}

impl Handle {
    pub(super) fn new(socket: OwnedFd, pid: Pid) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            socket: UnixStream::from_std(socket.into())?,
            pid,
            next: AtomicU64::new(0),
            waiting: Mutex::default(),
            abandoned: Notify::new(),
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

    /// Starts a process that has `descriptors` as its 0, 1, 2 and 3 and no other. Resolves when it has
    /// executed its program. Dropped before that, the process is killed.
    ///
    /// # Errors
    /// When a step of its setup or the exec fails, or when the spawner is gone.
    pub async fn spawn(
        &self,
        program: &Program,
        setup: &Setup,
        descriptors: [BorrowedFd<'_>; DESCRIPTORS],
    ) -> Result<Process, SpawnError> {
        let shared = &self.0.shared;
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let packet = postcard::to_allocvec(&Request::Spawn {
            ticket: number,
            program,
            setup,
        })
        .map_err(|error| SpawnError::Send(io::Error::other(error)))?;
        if packet.len() > MAX_PACKET {
            return Err(SpawnError::TooLarge(packet.len()));
        }
        let (birth, mut ticket) = shared.enlist(number, self)?;
        shared
            .send(&packet, &descriptors)
            .await
            .map_err(|error| match error.raw_os_error() {
                Some(nix::libc::EPIPE | nix::libc::ECONNRESET) => SpawnError::Gone,
                Some(nix::libc::EMSGSIZE) => SpawnError::TooLarge(packet.len()),
                _ => SpawnError::Send(error),
            })?;
        match birth.await {
            Ok(Ok(pid)) => Ok(Process { pid, ticket }),
            Ok(Err((stage, errno))) => {
                ticket.settled = true;
                shared.waiting().ends.remove(&number);
                Err(SpawnError::Refused {
                    path: program.path.to_string_lossy().into_owned(),
                    stage,
                    error: io::Error::from_raw_os_error(errno),
                })
            }
            Err(_) => Err(SpawnError::Gone),
        }
    }
}

/// A process that runs, or has ended. Dropped while it runs, its group is killed.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    ticket: Ticket,
}

impl Process {
    /// Its id, and that of its session and process group. For the log: signals go by [`Self::signal`],
    /// which cannot hit another.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended, when it has. May be dropped and called again.
    ///
    /// # Errors
    /// When the spawner is gone.
    pub async fn wait(&mut self) -> Result<Ended, SpawnError> {
        if let Some(ended) = self.ticket.ended {
            return Ok(ended);
        }
        let ended = (&mut self.ticket.end).await.map_err(|_| SpawnError::Gone);
        self.ticket.settled = true;
        self.ticket.ended = ended.as_ref().ok().copied();
        ended
    }

    /// Sends a signal to its whole process group. From then on it is being ended: [`Self::wait`]
    /// resolves when all of the group have ended, or the process itself has and KILL is sent.
    ///
    /// # Errors
    /// When the spawner is gone. A process that has ended is no error.
    pub async fn signal(&self, signal: i32) -> io::Result<()> {
        self.ticket
            .handle
            .0
            .shared
            .send(&signal_packet(self.ticket.number, signal)?, &[])
            .await
    }
}

/// The claim on one process: whatever becomes of the task that holds it, the process does not outlive it.
#[derive(Debug)]
struct Ticket {
    number: u64,
    handle: Handle,
    end: oneshot::Receiver<Ended>,
    ended: Option<Ended>,
    settled: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.handle.0.shared.abandon(self.number);
        }
    }
}

fn signal_packet(ticket: u64, signal: i32) -> io::Result<Vec<u8>> {
    postcard::to_allocvec(&Request::<(), ()>::Signal { ticket, signal }).map_err(io::Error::other)
}

/// The process's id, or where it failed and with which errno.
type Born = Result<i32, (Stage, i32)>;

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enlist(
        &self,
        number: u64,
        handle: &Handle,
    ) -> Result<(oneshot::Receiver<Born>, Ticket), SpawnError> {
        let (born, birth) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        let mut waiting = self.waiting();
        if waiting.gone {
            return Err(SpawnError::Gone);
        }
        waiting.births.insert(number, born);
        waiting.ends.insert(number, ended);
        Ok((
            birth,
            Ticket {
                number,
                handle: handle.clone(),
                end,
                ended: None,
                settled: false,
            },
        ))
    }

    async fn send(&self, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let ready = || send(self.socket.as_fd(), packet, descriptors);
        self.socket.async_io(Interest::WRITABLE, ready).await
    }

    /// The order of packets is kept, so this ends even a process that is yet to be started.
    fn abandon(&self, number: u64) {
        let mut waiting = self.waiting();
        waiting.births.remove(&number);
        waiting.ends.remove(&number);
        let sent = signal_packet(number, nix::libc::SIGKILL)
            .and_then(|packet| send(self.socket.as_fd(), &packet, &[]));
        if sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            waiting.abandoned.push(number);
            self.abandoned.notify_one();
        }
    }

    /// Hands out reports until the spawner is gone.
    async fn read(self: Arc<Self>) {
        let why = loop {
            let report = tokio::select! {
                report = self.socket.async_io(Interest::READABLE, || receive(self.socket.as_fd())) => report,
                () = self.abandoned.notified() => {
                    // Not here: while the spawner's own reports have no room it takes no requests.
                    tokio::spawn(Arc::clone(&self).end_abandoned());
                    continue;
                }
            };
            match report {
                Ok(Some(report)) => self.deliver(&report),
                Ok(None) => break "its socket is closed".to_owned(),
                Err(error) => break error.to_string(),
            }
        };
        let reason = format!("the spawner has ended: {why}");
        tracing::error!(pid = self.pid.as_raw(), reason, "end");
        {
            let mut waiting = self.waiting();
            waiting.gone = true;
            // The leaders got KILL when their parent died. The rest of each group is ended from here:
            // nobody holds the group's id any more, but it was in use a moment ago.
            for (_, pid) in waiting.pids.drain() {
                let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
            }
            // Dropping the senders tells all who wait.
            waiting.births.clear();
            waiting.ends.clear();
        }
        self.gone.send_replace(true);
        let pid = self.pid;
        tokio::task::spawn_blocking(move || waitpid(pid, None));
    }

    async fn end_abandoned(self: Arc<Self>) {
        let abandoned = std::mem::take(&mut self.waiting().abandoned);
        for number in abandoned {
            if let Ok(packet) = signal_packet(number, nix::libc::SIGKILL) {
                // An error means that the spawner is gone, which the next read tells.
                let _ = self.send(&packet, &[]).await;
            }
        }
    }

    fn deliver(&self, report: &Report) {
        let mut waiting = self.waiting();
        match *report {
            Report::Started { ticket, pid } => {
                waiting.pids.insert(ticket, pid);
                if let Some(born) = waiting.births.remove(&ticket) {
                    let _ = born.send(Ok(pid));
                }
            }
            Report::Failed {
                ticket,
                stage,
                errno,
            } => {
                if let Some(born) = waiting.births.remove(&ticket) {
                    let _ = born.send(Err((stage, errno)));
                }
            }
            Report::Exited { ticket, ended } => {
                waiting.pids.remove(&ticket);
                if let Some(end) = waiting.ends.remove(&ticket) {
                    let _ = end.send(ended);
                }
            }
        }
    }
}

fn send(socket: BorrowedFd<'_>, packet: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from_raw_os_error(nix::libc::EMSGSIZE));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(packet)], &mut control, flags)?;
    Ok(())
}

/// `None`: the spawner is gone.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Report>> {
    let mut packet = [0; 64];
    let control = &mut RecvAncillaryBuffer::default();
    let parts = &mut [IoSliceMut::new(&mut packet)];
    let received = recvmsg(socket, parts, control, RecvFlags::DONTWAIT)?;
    match received.bytes {
        0 => Ok(None),
        length => postcard::from_bytes(&packet[..length])
            .map(Some)
            .map_err(io::Error::other),
    }
}
