//! Stopping: one value that everything listens to. Who is first asked to stop drains (accepts nothing, lets
//! what runs finish); asked again, or at the end of the grace period, it ends at once.

use std::time::Duration;

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

    /// Stops accepting, waits for what runs to finish until `grace` has passed or it is asked `again`,
    /// and then ends it. What has not ended `patience` later, or a second after it was asked, is left to
    /// whoever ends this process.
    pub async fn stop(
        self,
        grace: Duration,
        patience: Duration,
        mut again: impl AsyncFnMut(),
    ) -> Drained {
        let Self {
            phase,
            drain,
            mut ended,
        } = self;
        drop(drain);
        phase.send_replace(Phase::Draining);
        let patience = tokio::select! {
            _ = ended.recv() => return Drained::Finished,
            () = again() => AT_ONCE,
            () = tokio::time::sleep(grace) => patience,
        };
        phase.send_replace(Phase::Over);
        tokio::select! {
            _ = ended.recv() => {}
            () = again() => {}
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
