//! The runs of a job on its listener, one process each, and those that are made ready to follow.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Exec;
use super::output::pipe;
use crate::outcome::Outcome;
use crate::output::Channel;
use crate::preopen::env::Variables;
use crate::queue::{Booking, Verdict};
use crate::spawner::Process;

/// What is told of the runs on a listener while they are served.
pub trait Watch: Send + Sync + 'static {
    /// The id of the run that is about to start.
    fn next_id(&self) -> u64;
    /// Its process runs.
    fn started(&self, id: u64, pid: i32);
    /// It has ended, `ran` after it was asked for, or could not start (`Outcome::Failed`). `verdict`
    /// tells whether it took the connection it was started for.
    fn ended(&self, id: u64, outcome: &Outcome, verdict: Verdict, ran: Duration);
    /// It has failed too often; nothing is started for this long.
    fn paused(&self, pause: Duration);
}

/// A run that is over.
pub(super) struct Run {
    pub id: u64,
    /// `None` for one that was lost.
    pub booking: Option<Booking>,
    pub outcome: Outcome,
    pub ran: Duration,
    /// The one that came after it and has begun.
    pub next: Option<Begun>,
}

/// A process for a run, with what it says. It goes on, or waits for its turn.
pub(super) struct Ready {
    process: Process,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// A run that goes on, and those that come after it.
pub(super) struct Begun {
    at: Instant,
    run: Ready,
    then: VecDeque<Ready>,
}

/// What all runs on one listener have in common.
pub(super) struct Site<W> {
    pub exec: Arc<Exec>,
    pub listener: OwnedFd,
    pub facts: Variables,
    pub watch: Arc<W>,
    pub stop: watch::Receiver<Option<Outcome>>,
    pub closed: watch::Sender<bool>,
}

impl<W: Watch> Site<W> {
    /// Starts a process and sees it to its end.
    pub async fn run(self: Arc<Self>, booking: Booking, relays: usize) -> Run {
        let at = Instant::now();
        match self.start(None).await {
            Ok(run) => {
                let then = VecDeque::new();
                self.attend(booking, Begun { at, run, then }, relays).await
            }
            Err(why) => Run {
                id: self.watch.next_id(),
                booking: Some(booking),
                outcome: Outcome::Failed(why),
                ran: at.elapsed(),
                next: None,
            },
        }
    }

    /// Sees a run to its end. The next ones, as many as it `relays`, are made ready meanwhile, and each begins when the
    /// one before it has ended and a connection waits: nothing of the host is in the way between the two.
    pub async fn attend(self: Arc<Self>, booking: Booking, run: Begun, relays: usize) -> Run {
        let Begun { at, run, mut then } = run;
        let Ready {
            mut process,
            stdout,
            stderr,
        } = run;
        let id = self.watch.next_id();
        while then.len() < relays && !*self.closed.borrow() {
            let before = then.back().map_or(&process, |last| &last.process);
            // What is wrong is told when it is tried again.
            match self.start(Some(before)).await {
                Ok(ready) => then.push_back(ready),
                Err(_) => break,
            }
        }
        let spared = async {
            let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
            spare(&then).await;
            std::future::pending().await
        };
        let attended = async {
            if let Some(pid) = process.pid().await {
                self.watch.started(id, pid);
            }
            let output = |channel, pipe| self.exec.output(id, channel, pipe);
            let outputs = vec![
                output(Channel::Stdout, stdout),
                output(Channel::Stderr, stderr),
            ];
            self.exec.attend(process, outputs, self.stopped()).await
        };
        let outcome = tokio::select! {
            outcome = attended => outcome,
            outcome = spared => outcome,
        };
        if outcome != Outcome::Done {
            // What is wrong with one is likely to be wrong with the next.
            spare(&then).await;
        }
        let next = match then.pop_front() {
            Some(mut run) => run.process.started().await.then_some(run),
            None => None,
        };
        Run {
            id,
            booking: Some(booking),
            outcome,
            ran: at.elapsed(),
            next: next.map(|run| Begun {
                at: Instant::now(),
                run,
                then,
            }),
        }
    }

    async fn start(&self, before: Option<&Process>) -> Result<Ready, String> {
        let ((stdout, output), (stderr, errors)) = (pipe()?, pipe()?);
        let descriptors = [
            self.exec.null.as_fd(),
            output.as_fd(),
            errors.as_fd(),
            self.listener.as_fd(),
        ];
        let process = self.exec.start(&self.facts, descriptors, before).await?;
        Ok(Ready {
            process,
            stdout,
            stderr,
        })
    }

    /// Resolves when a run has to end though it would go on.
    async fn stopped(&self) -> Outcome {
        let mut stop = self.stop.clone();
        let stopped = async {
            match stop
                .wait_for(Option::is_some)
                .await
                .map(|outcome| outcome.clone())
            {
                Ok(Some(outcome)) => outcome,
                // Nobody is left who could stop it.
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            outcome = stopped => outcome,
            outcome = self.exec.deadline() => outcome,
        }
    }
}

/// Gives up those whose turn has not come.
async fn spare(then: &VecDeque<Ready>) {
    for ready in then {
        ready.process.spare().await;
    }
}
