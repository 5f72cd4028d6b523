//! The plan: the trigger file as meant. Every default is filled in, every path is resolved against
//! the folder of the trigger file, and a state that makes no sense has no value here.

mod address;
mod admission;
mod clash;
pub mod describe;
mod fit;
mod guest;
mod host;
mod hours;
mod identity;
mod job;
mod load;
mod meaning;
mod native;
mod network;
mod quantity;
mod rlimit;
mod rules;
mod scope;
mod socket;
mod text;
pub mod words;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Gid, Uid};

pub use address::{Address, AddressError};
pub use admission::{Admission, BANNER_MAX, Bucket, Over, PerSource, RateLimit};
pub use hours::Hours;
pub use job::{
    Access, Dir, GivenPath, GuestJob, GuestLimits, Job, NativeJob, NativeStyle, ResourceLimit,
    Respawn, Sandbox,
};
pub use load::PlanError;
pub use network::{Allowed, Denied, Host, HttpScheme, Name, Network, Ports, Target, Transport};
pub use rules::{Rule, Rules};

/// All that one host is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How long a drain may take before what still runs is ended.
    pub grace: Duration,
    /// How many connections may be open over all triggers; `None`: as many as this machine carries.
    pub connections: Option<NonZeroU32>,
    /// The folder in which compiled guests are kept.
    pub cache: Location,
    /// The path of the socket by which the host is told what to do.
    pub control: Location,
    /// Where core dumps of guests are kept, if they are.
    pub coredumps: Option<Coredumps>,
    /// Who the host is when it has bound; `None`: who started it.
    pub user: Option<Identity<Uid>>,
    /// `None`: the group of that user. Never without one.
    pub group: Option<Identity<Gid>>,
    /// How the host confines itself.
    pub confine: Confine,
    /// In the order of the trigger file.
    pub triggers: Vec<Trigger>,
}

/// A folder for core dumps of guests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coredumps {
    /// Absolute.
    pub path: PathBuf,
    /// Bytes of all of them together; the oldest are removed for the newest.
    pub total: u64,
}

/// Whether the host can touch what its plan names and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confine {
    /// As far as the kernel does it.
    Auto,
    /// Not at all.
    Off,
    /// Wholly, or it does not start.
    Required,
}

/// Where the host keeps something of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Where the environment has such things.
    Usual,
    /// Nowhere.
    None,
    /// There; absolute.
    At(PathBuf),
}

impl Plan {
    /// The longest time that any job of it may take from its kill signal to KILL.
    pub fn longest_kill_timeout(&self) -> Duration {
        let jobs = self
            .triggers
            .iter()
            .filter_map(|trigger| match &trigger.job {
                Job::Native(job)
                | Job::Guest {
                    fallback: Some(job),
                    ..
                } => Some(job.kill_timeout),
                Job::Guest { fallback: None, .. } => None,
            });
        jobs.max().unwrap_or_default()
    }
}

/// Where to listen and what to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Unique over the plan.
    pub name: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// At least one.
    pub listen: Vec<Address>,
    /// What is set on each listening socket and on the connections it gives.
    pub socket: SocketOptions,
    /// What serves.
    pub job: Job,
}

/// `count` in each `per`, e.g. 50 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Connections.
    pub count: NonZeroU32,
    /// At least a microsecond for each of them.
    pub per: Duration,
}

/// A user or group as the trigger file gives it: looked up when the handler is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity<Id> {
    /// To be found in the system's databases; never empty.
    Name(String),
    /// Taken as it is; never the highest number, which means "unchanged" to the system.
    Number(Id),
}

/// What is set on a trigger's sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// `None`: the kernel's SOMAXCONN.
    pub backlog: Option<NonZeroU32>,
    /// `TCP_NODELAY` on accepted connections (set on the listener, they inherit it). On by default where
    /// the host accepts.
    pub nodelay: bool,
    /// `SO_KEEPALIVE` on accepted connections.
    pub keepalive: bool,
    /// Permission bits of a unix path; `None`: as the umask leaves them.
    pub mode: Option<u32>,
    /// Owner of a unix path; `None`: the user of the host.
    pub owner: Option<Identity<Uid>>,
    /// Group of a unix path; `None`: the group of the host.
    pub group: Option<Identity<Gid>>,
}
