//! A plain executable as the handler: `load` refuses what cannot work, `run` serves one accepted
//! connection with one process (inetd's nowait), `serve` gives a job its listener (Upstart's way).
//! Processes come from the spawner; what this room adds is what a job finds, and how it ends.

mod jobs;
mod load;
mod output;
mod program;
mod respawn;
mod run;
mod sandbox;
mod serve;
mod setup;

use std::ffi::CString;
use std::num::NonZeroU32;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use crate::connection::Local;
use crate::outcome::Outcome;
use crate::output::{Channel, Lines};
use crate::plan::Respawn;
use crate::preopen::{self, Style};
use crate::spawner::{self, Ended, Process, Recipe, SpawnError};
pub use jobs::Jobs;
pub use load::LoadError;
use output::Output;
use respawn::Failures;
pub use run::Watch;

/// A native job that is ready: every name is looked up, the program found.
#[derive(Debug)]
pub struct Exec {
    name: Arc<str>,
    path: CString,
    /// All that its processes have in common.
    recipe: Recipe,
    instances: NonZeroU32,
    respawn: Respawn,
    failures: Mutex<Failures>,
    deadline: Option<Duration>,
    first_byte: Option<Duration>,
    kill_signal: Signal,
    kill_timeout: Duration,
    null: OwnedFd,
    spawner: spawner::Handle,
}

impl Exec {
    /// What its processes are told when their connections arrive at `local`, beside the variables
    /// of its trigger and its descriptors.
    pub fn facts(&self, local: &Local) -> preopen::env::Facts {
        preopen::env::Facts::new(&self.name, &[], Style::Stdio, local)
    }

    /// How long one process may take.
    pub fn time_limit(&self) -> Option<Duration> {
        self.deadline
    }

    /// How long a client may take to begin.
    pub fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    /// Serves one connection with one process: its stdin, stdout and descriptor 3. `facts` are what the host
    /// knows of the connection. When `stop` resolves first, the process group is ended, and that is the outcome.
    pub async fn run(
        &self,
        connection: OwnedFd,
        facts: &[(String, String)],
        id: u64,
        stop: impl Future<Output = Outcome>,
    ) -> Outcome {
        // An accepted socket has an open file description of its own: nobody else is surprised.
        if let Err(error) = rustix::io::ioctl_fionbio(&connection, false) {
            return Outcome::Failed(format!("cannot set the connection to blocking: {error}"));
        }
        let started = async {
            let (errors, stderr) = output::pipe()?;
            let socket = connection.as_fd();
            let process = self
                .start(facts, [socket, socket, stderr.as_fd(), socket], None)
                .await?;
            Ok::<_, String>((process, errors))
        };
        let started = started.await;
        // The job has it now; held here, the client would not see the end of its output.
        drop(connection);
        match started {
            Ok((process, errors)) => {
                let errors = self.output(id, Channel::Stderr, errors);
                self.attend(process, vec![errors], stop).await
            }
            Err(why) => Outcome::Failed(why),
        }
    }

    /// What comes through `pipe` becomes log lines of the run `id`.
    fn output(&self, id: u64, channel: Channel, pipe: OwnedFd) -> Output {
        Output::new(Lines::new(self.name.clone(), id, channel), pipe)
    }

    /// `facts` are what differs between its processes; one that comes after another is only made ready.
    async fn start(
        &self,
        facts: &[(String, String)],
        descriptors: [BorrowedFd<'_>; 4],
        before: Option<&Process>,
    ) -> Result<Process, String> {
        let variables = block(facts).map_err(|error| error.to_string())?;
        let (spawner, recipe) = (&self.spawner, &self.recipe);
        let started = match before {
            None => spawner.spawn(recipe, &variables, descriptors).await,
            Some(before) => {
                let process = spawner.spawn_after(before, recipe, &variables, descriptors);
                process.await
            }
        };
        started.map_err(|error| self.refusal(&error))
    }

    fn refusal(&self, error: &SpawnError) -> String {
        format!("cannot start {}: {error}", self.path.to_string_lossy())
    }

    /// Logs what a process writes, until it has ended by itself or by `stop`.
    async fn attend(
        &self,
        mut process: Process,
        mut outputs: Vec<Output>,
        stop: impl Future<Output = Outcome>,
    ) -> Outcome {
        let outcome = {
            let logged = output::log_all(&mut outputs);
            let ended = self.until_ended(&mut process, stop);
            tokio::pin!(ended);
            tokio::select! {
                outcome = &mut ended => outcome,
                // All outputs are closed, which is not an end yet.
                () = logged => ended.await,
            }
        };
        // What it wrote last. What it left behind may hold the pipe open, and is not waited for.
        for output in outputs {
            output.log_rest();
        }
        outcome
    }

    async fn until_ended(
        &self,
        process: &mut Process,
        stop: impl Future<Output = Outcome>,
    ) -> Outcome {
        tokio::select! {
            ended = process.wait() => self.outcome(ended),
            outcome = stop => {
                self.end(process).await;
                outcome
            }
        }
    }

    /// `kill_signal` to the process group, KILL after `kill_timeout`; returns when it is reaped.
    async fn end(&self, process: &mut Process) {
        // An error means that the spawner is gone and the process with it, which `wait` tells.
        let _ = process.signal(self.kill_signal as i32).await;
        if timeout(self.kill_timeout, process.wait()).await.is_err() {
            let _ = process.signal(Signal::SIGKILL as i32).await;
            let _ = process.wait().await;
        }
    }

    /// The job's own deadline; never, when it has none.
    async fn deadline(&self) -> Outcome {
        match self.deadline {
            Some(deadline) => sleep(deadline).await,
            None => std::future::pending().await,
        }
        Outcome::Deadline
    }

    fn outcome(&self, ended: Result<Ended, SpawnError>) -> Outcome {
        match ended {
            // One that was spared is no run, and nobody asks for its outcome.
            Ok(Ended::Exited(0) | Ended::Spared) => Outcome::Done,
            Ok(Ended::Exited(status)) => Outcome::Exit(status),
            Ok(Ended::Signalled(signal)) => Outcome::Signal(signal),
            Err(error @ SpawnError::Gone) => {
                let program = self.path.to_string_lossy();
                Outcome::Failed(format!("lost the process of {program}: {error}"))
            }
            Err(error) => Outcome::Failed(self.refusal(&error)),
        }
    }
}

/// Variables as `NAME=value`, each with a final 0.
fn block(variables: &[(String, String)]) -> Result<Vec<u8>, LoadError> {
    let mut block = Vec::with_capacity(256);
    for (key, value) in variables {
        if key.contains('\0') || value.contains('\0') {
            return Err(LoadError::Nul(value.clone()));
        }
        for part in [key.as_str(), "=", value, "\0"] {
            block.extend_from_slice(part.as_bytes());
        }
    }
    Ok(block)
}
