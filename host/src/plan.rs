//! The plan: the trigger file as meant. Every default is filled in, every path is resolved against
//! the folder of the trigger file, and a state that makes no sense has no value here.

mod address;
mod admission;
mod clash;
pub mod describe;
mod fit;
mod guest;
mod hours;
mod identity;
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

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

pub use address::{Address, AddressError};
pub use admission::{Admission, BANNER_MAX, Bucket, Over, PerSource, RateLimit};
pub use hours::Hours;
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

/// What a trigger plans to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// A wasm guest, one fresh instance a connection. `fallback` serves when it cannot be loaded.
    Guest {
        /// The guest itself.
        guest: Box<GuestJob>,
        /// Who is let in to it.
        admission: Admission,
        /// What serves when the guest cannot be loaded.
        fallback: Option<NativeJob>,
    },
    /// A plain executable.
    Native(NativeJob),
}

/// `count` in each `per`, e.g. 50 a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Connections.
    pub count: NonZeroU32,
    /// At least a microsecond for each of them.
    pub per: Duration,
}

/// A wasm file and what its instances find and may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestJob {
    /// Absolute.
    pub path: PathBuf,
    /// Without the program's own name, which is the file's.
    pub args: Vec<String>,
    /// Variables beyond those that the host sets, in the order of the file.
    pub env: Vec<(String, String)>,
    /// In the order of the file.
    pub dirs: Vec<Dir>,
    /// Where it may connect to.
    pub network: Network,
    /// What it finds as its settings (`wasi:config`), in the order of the file.
    pub config: Vec<(String, String)>,
    /// For each instance.
    pub limits: GuestLimits,
}

/// A directory of the host that a guest finds open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dir {
    /// Where the guest sees it: absolute, in one spelling, unique over the guest.
    pub guest: String,
    /// Where it is: absolute.
    pub host: PathBuf,
    /// What the guest may do there.
    pub access: Access,
}

/// What a guest may do in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look and read.
    ReadOnly,
    /// Create, write and remove, too.
    ReadWrite,
}

/// What one instance may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// Linear memory, in bytes, over all memories of the instance.
    pub memory: u64,
    /// Stack of its functions, in bytes. The largest of a plan holds for all its guests.
    pub stack: u64,
    /// Time on the processor.
    pub cpu: Duration,
    /// Wall-clock time from accept to end.
    pub deadline: Duration,
    /// Longest time in which no byte goes either way.
    pub idle: Duration,
    /// Longest time from accept to the client's first byte.
    pub first_byte: Option<Duration>,
    /// Bytes from the client, at most.
    pub rx: Option<u64>,
    /// Bytes to the client, at most.
    pub tx: Option<u64>,
}

impl GuestLimits {
    /// The memory of a guest whose trigger says nothing of it.
    pub const MEMORY: u64 = 64 << 20;

    /// The stack, likewise: what wasmtime gives by itself.
    pub const STACK: u64 = 512 << 10;
}

/// A plain executable and how its processes are set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeJob {
    /// The program (absolute, or a bare name that is found in PATH at start) and its arguments; never
    /// empty. With `chroot` both are inside the new root.
    pub argv: Vec<String>,
    /// Variables beyond those that the host sets, in the order of the file.
    pub env: Vec<(String, String)>,
    /// Who accepts.
    pub style: NativeStyle,
    /// Wall-clock time one process may take; `None`: for ever.
    pub deadline: Option<Duration>,
    /// Longest time from accept to the client's first byte, where that is waited for.
    pub first_byte: Option<Duration>,
    /// `None`: the user of the host.
    pub setuid: Option<Identity<Uid>>,
    /// `None`: the group of the user of `setuid`.
    pub setgid: Option<Identity<Gid>>,
    /// Supplementary groups; `None`: those of the user of `setuid`, as initgroups sets them.
    pub groups: Option<Vec<Identity<Gid>>>,
    /// In the job's root (after `chroot`). `/` by default.
    pub chdir: PathBuf,
    /// The root of the job; absolute.
    pub chroot: Option<PathBuf>,
    /// 0o022 by default.
    pub umask: u32,
    /// From -20 to 19.
    pub nice: Option<i32>,
    /// In the order of the file, each resource once.
    pub limit: Vec<ResourceLimit>,
    /// TERM by default.
    pub kill_signal: Signal,
    /// From `kill_signal` to KILL.
    pub kill_timeout: Duration,
    /// What it can touch.
    pub sandbox: Sandbox,
}

/// What keeps a native job from the rest of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Its user, and nothing else.
    None,
    /// It may run what the system has installed, may touch its connection and these files and folders, and has no
    /// network, no signals for others and no new privileges.
    Strict(Vec<Given>),
}

/// A file or folder of the host that a confined job may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Absolute, as the host sees it; unique over the job.
    pub path: PathBuf,
    /// What may be done there.
    pub access: Access,
}

impl From<&Dir> for Given {
    fn from(dir: &Dir) -> Self {
        Self {
            path: dir.host.clone(),
            access: dir.access,
        }
    }
}

impl Sandbox {
    /// Resource limits of a strict job whose trigger says nothing of them, as far as the host's own go: cores would be
    /// copies of its memory on disk, and the others bound what a runaway takes from its neighbours.
    const LIMITS: [(Resource, u64); 3] = [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_NOFILE, 1024),
        (Resource::RLIMIT_NPROC, 4096),
    ];

    /// Those that hold here.
    pub fn limits(&self) -> impl Iterator<Item = ResourceLimit> {
        let limits: &[_] = match self {
            Self::None => &[],
            Self::Strict(_) => &Self::LIMITS,
        };
        limits.iter().map(|&(resource, most)| ResourceLimit {
            resource,
            soft: Some(most),
            hard: Some(most),
        })
    }
}

/// Who accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NativeStyle {
    /// The job gets the listener: Upstart's way.
    Listener {
        /// Processes at once.
        instances: NonZeroU32,
        /// How often they may be started.
        respawn: Respawn,
    },
    /// The host accepts, and the job gets the connection: inetd's nowait.
    Connection(Admission),
}

/// How often a job may be started: past it the trigger pauses for `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Respawn {
    /// `None`: unlimited.
    pub limit: Option<NonZeroU32>,
    /// In which `limit` starts are counted.
    pub interval: Duration,
}

/// A user or group as the trigger file gives it: looked up when the handler is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity<Id> {
    /// To be found in the system's databases; never empty.
    Name(String),
    /// Taken as it is; never the highest number, which means "unchanged" to the system.
    Number(Id),
}

/// One entry of a job's `limit` table; `None` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimit {
    /// Of `setrlimit`.
    pub resource: Resource,
    /// In the resource's own unit: bytes, seconds, or a number. Never above `hard`.
    pub soft: Option<u64>,
    /// In the same unit.
    pub hard: Option<u64>,
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
