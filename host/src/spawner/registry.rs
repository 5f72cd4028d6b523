//! The host's end of registration: the jobs of a plan are told to the spawner before any client is served, on a socket
//! of their own. Whoever takes over a host that has closed it can start those jobs and no other program.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::error::SpawnError;
use super::message::{MAX_PACKET, Order, Verdict};
use super::{Ids, Program, Setup};
use crate::packet;

/// Where jobs are registered, until it is closed.
#[derive(Debug)]
pub(super) struct Registry {
    socket: Mutex<Option<OwnedFd>>,
    /// Whether the spawner was started by root.
    pub root: bool,
}

impl Registry {
    pub fn new(socket: OwnedFd, root: bool) -> Self {
        let socket = Mutex::new(Some(socket));
        Self { socket, root }
    }

    fn socket(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.socket.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_open(&self) -> bool {
        self.socket().is_some()
    }

    /// Has the spawner take no job any more, and become `ids`, unless a job needs more rights.
    pub fn close(&self, ids: Option<&Ids>) -> Result<(), SpawnError> {
        match self.order(&(Order::Seal, ids), &[]) {
            // It is closed already.
            Ok(()) | Err(SpawnError::Sealed) => {}
            Err(error) => return Err(error),
        }
        self.socket().take();
        Ok(())
    }

    /// Registers a job, in a sandbox of these Landlock rules if there are any, and waits until that is done.
    pub fn register(
        &self,
        job: u64,
        program: &Program,
        setup: &Setup,
        rules: Option<BorrowedFd<'_>>,
    ) -> Result<(), SpawnError> {
        let strict = rules.is_some();
        let order = (Order::Register { job, strict }, program, setup);
        self.order(&order, rules.as_slice())
    }

    fn order(
        &self,
        order: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SpawnError> {
        let order = postcard::to_allocvec(order)
            .map_err(|error| SpawnError::Send(std::io::Error::other(error)))?;
        if order.len() > MAX_PACKET {
            return Err(SpawnError::TooLarge(order.len()));
        }
        let socket = self.socket();
        let socket = socket.as_ref().ok_or(SpawnError::Sealed)?;
        let failed = |error| match error {
            Errno::PIPE | Errno::CONNRESET => SpawnError::Gone,
            Errno::MSGSIZE => SpawnError::TooLarge(order.len()),
            error => SpawnError::Send(error.into()),
        };
        let parts = [IoSlice::new(&order)];
        let send = || packet::send(socket.as_fd(), &parts, descriptors);
        when(socket, PollFlags::OUT, send).map_err(failed)?;
        let mut answer = [0; 32];
        let receive = || packet::receive(socket.as_fd(), &mut answer);
        let (length, _) = when(socket, PollFlags::IN, receive).map_err(failed)?;
        // An end of file is no verdict either.
        let verdict = postcard::from_bytes::<Verdict>(&answer[..length]);
        let verdict = verdict.map_err(|_| SpawnError::Gone)?;
        verdict.map_err(|(stage, errno)| SpawnError::Refused {
            stage,
            error: std::io::Error::from_raw_os_error(errno),
        })
    }
}

/// Does it as soon as the socket is ready for it.
fn when<T>(
    socket: &OwnedFd,
    ready: PollFlags,
    mut action: impl FnMut() -> Result<T, Errno>,
) -> Result<T, Errno> {
    loop {
        match action() {
            Err(Errno::AGAIN) => {}
            Err(Errno::INTR) => continue,
            done => return done,
        }
        match poll(&mut [PollFd::new(socket, ready)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}
