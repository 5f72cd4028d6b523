//! A plain executable as the handler: `load` refuses what cannot work, `run` serves one accepted
//! connection with one process (inetd's nowait), `serve` gives a job its listener (Upstart's way).
//! Processes come from the spawner; what this room adds is what a job finds, and how it ends.

mod output;
mod program;
mod respawn;
mod run;
mod sandbox;
mod serve;
mod setup;

use std::ffi::CString;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{sleep, timeout};

use crate::connection::Local;
use crate::identity::LookupError;
use crate::outcome::Outcome;
use crate::output::{Channel, Lines};
use crate::plan::{NativeJob, NativeStyle, Respawn};
use crate::preopen::env::Variables;
use crate::preopen::{self, Style};
use crate::spawner::{self, Ended, Process, Program, Recipe, SpawnError, Stage};

use output::Output;
use respawn::Failures;
pub use run::Watch;

/// Why a job cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No such user or group.
    #[error(transparent)]
    Identity(#[from] LookupError),
    /// A user by number whose group nobody knows.
    #[error("user {0} is in no user database, so its group is unknown: give setgid")]
    NoPrimaryGroup(u32),
    /// Only root can do what is asked.
    #[error("{what}: only root can do that, and the host runs as user {user}")]
    NotRoot {
        /// The key and its value.
        what: String,
        /// The host's effective user.
        user: u32,
    },
    /// A program, a folder or a root that is not as it has to be.
    #[error("{what} {path}: {why}")]
    Path {
        /// Which key.
        what: &'static str,
        /// As it is in the host.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A program without a `/` that is in no folder of PATH.
    #[error("{program}: not found in PATH ({path})")]
    NotInPath {
        /// The program.
        program: String,
        /// The folders that were searched.
        path: String,
    },
    /// No program at all.
    #[error("there is no program to start")]
    NoProgram,
    /// A 0 byte in an argument, a variable or a path.
    #[error("{0:?} contains a 0 byte")]
    Nul(String),
    /// More than a start can carry.
    #[error("its arguments and environment take {0} bytes, {max} at most", max = spawner::MAX_ARGUMENTS - RESERVE)]
    TooLarge(usize),
    /// The kernel has no sandbox like this.
    #[error("sandbox = \"strict\": {0}")]
    Sandbox(String),
    /// The kernel gives no network of its own.
    #[error(
        "sandbox = \"strict\": no private network: {0}; it takes unprivileged user namespaces \
         (user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns), or a host that is started by root"
    )]
    Network(std::io::Error),
    /// The spawner does not take it.
    #[error(transparent)]
    Spawner(#[from] SpawnError),
    /// A resource that this system does not limit.
    #[error("limit: this system does not limit {0}")]
    Limit(String),
}

/// Bytes kept for what the host adds to the environment at a start.
const RESERVE: usize = 4096;

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
    /// Looks up every name and checks every path, so that a job that cannot start is refused here and
    /// not at its first connection.
    ///
    /// # Errors
    /// What the trigger file's author has to mend.
    pub fn load(job: &NativeJob, name: &str, spawner: &spawner::Handle) -> Result<Self, LoadError> {
        let mut env: Variables = ["PATH", "TERM"]
            .into_iter()
            .filter(|key| job.env.iter().all(|(given, _)| given != key))
            .filter_map(|key| Some((key.to_owned(), std::env::var(key).ok()?)))
            .collect();
        env.extend(job.env.iter().cloned());
        let setup = setup::setup(job, spawner.is_root())?;
        let path = program::find(job, &env)?;
        if let NativeStyle::Listener { .. } = job.style {
            env.push(("UPSTART_FDS".to_owned(), "3".to_owned()));
        }
        for (key, value) in [("FDS", "1"), ("PID", ""), ("FDNAMES", name)] {
            env.push((format!("LISTEN_{key}"), value.to_owned()));
        }
        let env = env
            .iter()
            .map(|(key, value)| text(&format!("{key}={value}")));
        let argv = job.argv.iter().map(|argument| text(argument));
        let program = Program {
            path: path.clone(),
            argv: argv.collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
        };
        let size = size(&program);
        if size > spawner::MAX_ARGUMENTS - RESERVE {
            return Err(LoadError::TooLarge(size));
        }
        let rules = sandbox::rules(job, &program.path)?;
        let registered = spawner.register(&program, &setup, rules.as_ref().map(AsFd::as_fd));
        let recipe = registered.map_err(|error| match error {
            SpawnError::Refused {
                stage: Stage::Namespace,
                error,
            } => LoadError::Network(error),
            error => LoadError::Spawner(error),
        })?;
        let (instances, respawn) = match &job.style {
            NativeStyle::Listener { instances, respawn } => (*instances, *respawn),
            // The host accepts and its permits bound it: nothing below looks at these.
            NativeStyle::Connection(_) => (
                NonZeroU32::MIN,
                Respawn {
                    limit: None,
                    interval: Duration::ZERO,
                },
            ),
        };
        let null = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .map_err(|error| LoadError::Path {
                what: "open",
                path: "/dev/null".to_owned(),
                why: error.to_string(),
            })?;
        Ok(Self {
            name: name.into(),
            path,
            recipe,
            instances,
            respawn,
            failures: Mutex::default(),
            deadline: job.deadline,
            first_byte: job.first_byte,
            kill_signal: job.kill_signal,
            kill_timeout: job.kill_timeout,
            null: null.into(),
            spawner: spawner.clone(),
        })
    }

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

    /// The program that is started, in the job's root.
    pub fn path(&self) -> &std::path::Path {
        std::path::Path::new(std::ffi::OsStr::from_bytes(self.path.as_bytes()))
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
            return Outcome::Failed(format!("set the connection to blocking: {error}"));
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
        format!("start {}: {error}", self.path.to_string_lossy())
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
            Err(error) => Outcome::Failed(self.refusal(&error)),
        }
    }
}

fn size(program: &Program) -> usize {
    program
        .argv
        .iter()
        .chain(&program.env)
        .map(|s| s.as_bytes_with_nul().len() + 8)
        .sum()
}

fn text(text: &str) -> Result<CString, LoadError> {
    CString::new(text).map_err(|_| LoadError::Nul(text.to_owned()))
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
