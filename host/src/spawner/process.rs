//! A process that the host has asked for: a claim on it, which ends it when it is dropped.

use std::io;

use tokio::sync::oneshot;

use super::error::SpawnError;
use super::handle::Handle;
use super::message::{Ended, Stage};

/// How a process ended, or where it failed on its way to its program, and with which errno.
pub(super) type End = Result<Ended, (Stage, i32)>;

/// A process that is on its way to its program, runs, or has ended. Dropped before it has ended, its group is
/// killed: whatever becomes of the task that holds it, the process does not outlive it.
#[derive(Debug)]
pub struct Process {
    handle: Handle,
    ticket: u64,
    pid: Option<i32>,
    start: oneshot::Receiver<i32>,
    end: oneshot::Receiver<End>,
    known: Option<End>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The spawner does not know of it yet.
    Unsent,
    Sent,
    /// There is nothing left to end.
    Over,
}

impl Process {
    pub(super) fn new(
        handle: Handle,
        ticket: u64,
        start: oneshot::Receiver<i32>,
        end: oneshot::Receiver<End>,
    ) -> Self {
        Self {
            handle,
            ticket,
            pid: None,
            start,
            end,
            known: None,
            state: State::Unsent,
        }
    }

    /// The spawner has been asked for it.
    pub(super) fn sent(mut self) -> Self {
        self.state = State::Sent;
        self
    }

    /// Whether it has begun, which one that comes after another does in its turn. `false`: it could not be made, or
    /// was spared, as [`Self::wait`] tells.
    pub async fn started(&mut self) -> bool {
        if self.pid.is_none() {
            self.pid = (&mut self.start).await.ok();
        }
        self.pid.is_some()
    }

    /// Its id, and that of its session and process group, when it has started. For the log: signals go by
    /// [`Self::signal`], which cannot hit another.
    pub async fn pid(&mut self) -> Option<i32> {
        self.started().await.then_some(self.pid).flatten()
    }

    /// How it ended, when it has. May be dropped and called again.
    ///
    /// # Errors
    /// When a step of its setup or the exec failed, or when the spawner is gone.
    pub async fn wait(&mut self) -> Result<Ended, SpawnError> {
        let end = if let Some(end) = self.known {
            end
        } else {
            let end = (&mut self.end).await;
            self.state = State::Over;
            *self.known.insert(end.map_err(|_| SpawnError::Gone)?)
        };
        end.map_err(|(stage, errno)| SpawnError::Refused {
            stage,
            error: io::Error::from_raw_os_error(errno),
        })
    }

    /// Gives up one whose turn has not come. One whose turn has come goes on.
    pub async fn spare(&self) {
        self.handle.spare(self.ticket).await;
    }

    pub(super) fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Sends a signal to its whole process group. From then on it is being ended: [`Self::wait`]
    /// resolves when all of the group have ended, or the process itself has and KILL is sent.
    ///
    /// # Errors
    /// When the spawner is gone. A process that has ended is no error.
    pub async fn signal(&self, signal: i32) -> io::Result<()> {
        self.handle.signal(self.ticket, signal).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        match self.state {
            State::Unsent => self.handle.forget(self.ticket),
            State::Sent => self.handle.abandon(self.ticket),
            State::Over => {}
        }
    }
}
