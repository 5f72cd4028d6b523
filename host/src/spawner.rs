//! The spawner: a small process, forked from the host before it has threads, mappings or sockets,
//! that starts, signals and reaps every native job. Fork in a host with 60,000 mappings takes a
//! tenth of a second; here a start takes the same time whatever the host holds. It also owns every
//! process id, so none is ever stale, and it ends all that runs when the host's end of its socket
//! closes, however the host died. It starts nothing but the jobs that were registered, on a socket of
//! their own, which a host that has confined itself no longer holds. Figures and reasons: docs/native-spawn.md.

mod birth;
mod child;
mod children;
mod error;
mod fate;
mod handle;
mod ids;
mod jobs;
mod keeper;
mod link;
mod message;
mod network;
mod process;
mod registry;
mod sandbox;
mod seal;
mod settle;

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;

use nix::sys::resource::Resource;
use nix::unistd::{ForkResult, Pid, fork, geteuid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use rustix::process::Resource as Kernels;
use serde::{Deserialize, Serialize};

pub use child::close_but;
pub use error::SpawnError;
pub use handle::{Handle, Recipe};
pub use ids::Ids;
pub use message::{Ended, Stage};
pub use process::Process;
use registry::Registry;

/// Bytes that the argv and the environment of one process may take together, with 8 more for each
/// string. Less than what exec takes (a string 128 KiB, all of them 2 MiB), so that a request
/// always fits in one packet of the spawner's socket, whose buffer `net.core.wmem_max` caps.
pub const MAX_ARGUMENTS: usize = 128 * 1024;

/// What is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Absolute, in the job's root: nothing is searched when a process starts.
    pub path: CString,
    /// The program's own name first.
    pub argv: Vec<CString>,
    /// `NAME=value` each. An entry that is exactly `LISTEN_PID=` gets the id of the process.
    pub env: Vec<CString>,
}

/// How a process is set up between its birth and its exec, in the order of the fields, after it
/// has become the leader of a new session. Ids are numbers: nothing is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// The file mode creation mask.
    pub umask: u32,
    /// The nice value itself, not an increment; `None`: the host's.
    pub nice: Option<i32>,
    /// The new root.
    pub chroot: Option<CString>,
    /// The working directory, in the new root.
    pub chdir: CString,
    /// Supplementary groups; `None`: the host's.
    pub groups: Option<Vec<u32>>,
    /// Real, effective and saved group; `None`: the host's.
    pub gid: Option<u32>,
    /// Real, effective and saved user; `None`: the host's.
    pub uid: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Vec::new(),
            umask: 0o022,
            nice: None,
            chroot: None,
            chdir: c"/".to_owned(),
            groups: None,
            gid: None,
            uid: None,
        }
    }
}

/// One resource limit, in the units of setrlimit(2); `u64::MAX` is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    resource: u8,
    soft: u64,
    hard: u64,
}

/// What a limit's number stands for: an index, because the kernel's own numbers have no way back
/// to `Resource`. Beside it the same for the call that the child makes.
const RESOURCES: [(Resource, Kernels); 16] = [
    (Resource::RLIMIT_AS, Kernels::As),
    (Resource::RLIMIT_CORE, Kernels::Core),
    (Resource::RLIMIT_CPU, Kernels::Cpu),
    (Resource::RLIMIT_DATA, Kernels::Data),
    (Resource::RLIMIT_FSIZE, Kernels::Fsize),
    (Resource::RLIMIT_LOCKS, Kernels::Locks),
    (Resource::RLIMIT_MEMLOCK, Kernels::Memlock),
    (Resource::RLIMIT_MSGQUEUE, Kernels::Msgqueue),
    (Resource::RLIMIT_NICE, Kernels::Nice),
    (Resource::RLIMIT_NOFILE, Kernels::Nofile),
    (Resource::RLIMIT_NPROC, Kernels::Nproc),
    (Resource::RLIMIT_RSS, Kernels::Rss),
    (Resource::RLIMIT_RTPRIO, Kernels::Rtprio),
    (Resource::RLIMIT_RTTIME, Kernels::Rttime),
    (Resource::RLIMIT_SIGPENDING, Kernels::Sigpending),
    (Resource::RLIMIT_STACK, Kernels::Stack),
];

impl Limit {
    /// `None` for a resource that this system does not limit; a bound of `None` is unlimited.
    pub fn new(resource: Resource, soft: Option<u64>, hard: Option<u64>) -> Option<Self> {
        let resource = RESOURCES.iter().position(|(r, _)| *r == resource)?;
        Some(Self {
            resource: u8::try_from(resource).ok()?,
            soft: soft.unwrap_or(u64::MAX),
            hard: hard.unwrap_or(u64::MAX),
        })
    }
}

/// A spawner that runs, before the host has a runtime to talk to it with.
#[derive(Debug)]
pub struct Spawner {
    socket: OwnedFd,
    registry: OwnedFd,
    root: bool,
    pid: Pid,
}

impl Spawner {
    /// Forks the spawner. To be called before anything is bound: it is refused when this process
    /// already has a second thread, for the child of a fork would then find locks that nobody opens.
    ///
    /// # Errors
    /// When the process has threads, or the system gives no process or no socket.
    pub fn start() -> io::Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            return Err(io::Error::other(format!(
                "the spawner must be forked before there are threads; there are {threads}"
            )));
        }
        let ((ours, theirs), (registry, orders)) = (pair()?, pair()?);
        #[allow(unsafe_code, reason = "the spawner is a fork of the host")]
        // SAFETY: this process has one thread, so the child inherits no lock held by another.
        let forked = unsafe { fork() }?;
        match forked {
            ForkResult::Child => {
                drop((ours, registry));
                keeper::main(theirs, orders)
            }
            ForkResult::Parent { child } => Ok(Self {
                socket: ours,
                registry,
                root: geteuid().is_root(),
                pid: child,
            }),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Binds the spawner to the runtime of the caller, on which one task then reads its reports. The
    /// handle may be used from any runtime; when its last copy is dropped, the spawner ends.
    ///
    /// # Errors
    /// When the runtime cannot watch the socket.
    pub fn connect(self) -> io::Result<Handle> {
        Handle::new(
            self.socket,
            Registry::new(self.registry, self.root),
            self.pid,
        )
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    for end in [&ours, &theirs] {
        // Room for many requests at once; the kernel gives what `net.core.wmem_max` allows.
        sockopt::set_socket_send_buffer_size(end, 4 << 20)?;
    }
    Ok((ours, theirs))
}
