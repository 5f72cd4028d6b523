//! Stopping: signals become one value that everything listens to. The first asks to drain (accept
//! nothing, let what runs finish), the second, or the end of the grace period, to end at once.

use std::io;
use std::time::Duration;

use tokio::signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

/// How long ending at once may take: guests end within a tick, and what a process does not do in
/// this time it may not want to do at all.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How far the host has come with stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    Draining,
    Over,
}

/// What every listener and connection holds: how it learns of the end, and by which the host learns
/// that it has ended.
#[derive(Clone, Debug)]
pub struct Drain {
    phase: watch::Receiver<Phase>,
    _running: mpsc::Sender<()>,
}

/// The host's end of it.
#[derive(Debug)]
pub struct Shutdown {
    phase: watch::Sender<Phase>,
    drain: Drain,
    ended: mpsc::Receiver<()>,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// All that ran has finished.
    Finished,
    /// The grace period ran out, or a second signal came: what still ran was ended.
    Cut,
}

impl Drain {
    /// Resolves when nothing more is to be accepted.
    pub async fn begun(&self) {
        self.reaches(Phase::Draining).await;
    }

    /// Resolves when what still runs has to end.
    pub async fn over(&self) {
        self.reaches(Phase::Over).await;
    }

    async fn reaches(&self, phase: Phase) {
        let mut watched = self.phase.clone();
        // The sender is gone only when the host is, and then it is over, too.
        let _ = watched.wait_for(|now| *now >= phase).await;
    }
}

impl Shutdown {
    /// Nothing has stopped yet.
    pub fn new() -> Self {
        let (phase, watched) = watch::channel(Phase::Serving);
        let (running, ended) = mpsc::channel(1);
        Self {
            phase,
            drain: Drain {
                phase: watched,
                _running: running,
            },
            ended,
        }
    }

    /// What listeners and connections hold.
    pub fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// Stops accepting, waits for what runs to finish until `grace` has passed or a signal comes
    /// again, and then ends it. What has not ended `patience` later, or a second after a signal,
    /// is left to whoever ends this process.
    pub async fn stop(self, grace: Duration, patience: Duration, signals: &mut Signals) -> Drained {
        let Self {
            phase,
            drain,
            mut ended,
        } = self;
        drop(drain);
        phase.send_replace(Phase::Draining);
        let patience = tokio::select! {
            _ = ended.recv() => return Drained::Finished,
            () = signals.stop() => AT_ONCE,
            () = tokio::time::sleep(grace) => patience,
        };
        phase.send_replace(Phase::Over);
        tokio::select! {
            _ = ended.recv() => {}
            () = signals.stop() => {}
            () = tokio::time::sleep(patience) => {}
        }
        Drained::Cut
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// What the host is asked by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// To stop; the name of the signal.
    Stop(&'static str),
    /// To read its trigger file again.
    Reload,
}

/// SIGTERM, SIGINT and SIGHUP.
#[derive(Debug)]
pub struct Signals {
    terminate: signal::unix::Signal,
    interrupt: signal::unix::Signal,
    hangup: signal::unix::Signal,
}

impl Signals {
    /// Takes them over from the system's default, which is to die.
    ///
    /// # Errors
    /// When the runtime cannot.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves with the next one.
    pub async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Signal::Stop("SIGINT"),
            _ = self.hangup.recv() => Signal::Reload,
        }
    }

    /// Resolves at the next one that asks to stop.
    async fn stop(&mut self) {
        while self.next().await == Signal::Reload {}
    }
}
