//! The host's end of the spawner's socket: requests go out as there is room, reports are handed to whoever waits for them.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot, watch};

use super::message::{MAX_REPORTS, Report, Request};
use super::process::End;
use super::registry::Registry;
use crate::packet;

/// What all handles of the spawner have in common.
#[derive(Debug)]
pub(super) struct Link {
    /// For its readiness: what it carries are packets.
    pub socket: UnixStream,
    pub registry: Registry,
    pub pid: Pid,
    pub next: AtomicU64,
    pub waiting: Mutex<Waiting>,
    pub late: Notify,
    pub gone: watch::Sender<bool>,
}

/// Who waits for what.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// What was asked for and has not ended.
    pub claims: HashMap<u64, Claim>,
    /// To end processes nobody waits for any more, and to forget jobs: the socket had no room at that moment.
    pub late: Vec<Request>,
    pub gone: bool,
}

/// A process that was asked for.
#[derive(Debug)]
pub(super) struct Claim {
    /// For the day the spawner is not there to end it.
    pub pid: Option<i32>,
    pub start: Option<oneshot::Sender<i32>>,
    pub end: oneshot::Sender<End>,
}

/// A request without what follows it, and its length.
pub(super) fn encode(request: &Request) -> ([u8; 32], usize) {
    let mut bytes = [0; 32];
    let length = postcard::to_slice(request, &mut bytes).map_or(0, |written| written.len());
    (bytes, length)
}

impl Link {
    pub fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn send(
        &self,
        parts: &[IoSlice<'_>],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let ready = || Ok(packet::send(self.socket.as_fd(), parts, descriptors)?);
        self.socket.async_io(Interest::WRITABLE, ready).await
    }

    pub async fn request(&self, request: &Request) -> io::Result<()> {
        let (request, length) = encode(request);
        self.send(&[IoSlice::new(&request[..length])], &[]).await
    }

    /// The order of packets is kept, so this ends even a process that is yet to be started.
    pub fn abandon(&self, ticket: u64) {
        let signal = nix::libc::SIGKILL;
        self.tell(Request::Signal { ticket, signal });
    }

    /// Sends a request now, or as soon as there is room for it.
    pub fn tell(&self, late: Request) {
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
    pub async fn read(self: Arc<Self>) {
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

    pub async fn send_late(self: Arc<Self>) {
        let late = std::mem::take(&mut self.waiting().late);
        for request in late {
            // An error means that the spawner is gone, which the next read tells.
            let _ = self.request(&request).await;
        }
    }

    /// All reports of one packet.
    pub fn deliver(&self, mut packet: &[u8]) {
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
