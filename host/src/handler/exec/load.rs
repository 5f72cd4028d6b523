//! From a job as it is written to one that can be started: what cannot work is refused here, and not at its first connection.

use std::ffi::CString;
use std::num::NonZeroU32;
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::Duration;

use nix::unistd::geteuid;

use super::{Exec, program, sandbox, setup};
use crate::identity::LookupError;
use crate::plan::{NativeJob, NativeStyle, Respawn, Sandbox};
use crate::preopen::env::Variables;
use crate::spawner::{self, Program, SpawnError, Stage};

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
    /// Landlock does not know of owners and modes.
    #[error(
        "sandbox = \"strict\": a process of root could change the modes of most of the system's files, whatever its \
         sandbox: give setuid"
    )]
    StrictRoot,
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
        let is_root = setup.uid.map_or(geteuid().is_root(), |uid| uid == 0);
        if is_root && job.sandbox != Sandbox::None {
            return Err(LoadError::StrictRoot);
        }
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
