//! What serves a trigger, as values: a guest or native processes, what they get, and what bounds them.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::Resource;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid};

use super::{Admission, Identity, Network};

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
    /// Time from accept to end.
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
    /// Time one process may take; `None`: for ever.
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
    Strict(Vec<GivenPath>),
}

/// A file or folder of the host that a confined job may touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenPath {
    /// Absolute, as the host sees it; unique over the job.
    pub path: PathBuf,
    /// What may be done there.
    pub access: Access,
}

impl From<&Dir> for GivenPath {
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
        /// How often they may fail.
        respawn: Respawn,
    },
    /// The host accepts, and the job gets the connection: inetd's nowait.
    Connection(Admission),
}

/// How often a job may fail: past it the trigger pauses for `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Respawn {
    /// `None`: unlimited.
    pub limit: Option<NonZeroU32>,
    /// In which `limit` failures are counted.
    pub interval: Duration,
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
