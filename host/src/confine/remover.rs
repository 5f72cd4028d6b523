//! Unix paths that a host has bound as root, and cannot remove as who it becomes: a process that stays root does it when
//! the host has ended, however it did. It has no more of the host than that, and hears from it one byte or two.

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, fork};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Uid, chownat, fstat, open, openat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::spawner::close_but;

/// The others are this host's by now.
const TAKE: u8 = b't';
/// None is this host's any more.
const LEAVE: u8 = b'l';
/// None but that of its control socket.
const KEEP: u8 = b'k';

/// How often it is looked whether somebody else listens there, and how long between.
const PROBES: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// A process that waits for the end of this one, and then removes sockets.
#[derive(Debug)]
pub(super) struct Remover {
    process: Pid,
    /// Closed at the end of this process, if not before.
    told: Mutex<Option<OwnedFd>>,
}

/// What is where.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// This host has bound these,
    pub own: Vec<PathBuf>,
    /// and will have these, when it has taken the place of another.
    pub others: Vec<PathBuf>,
    /// One of them is that of the control socket,
    pub control: Option<PathBuf>,
    /// which is this user's.
    pub owner: u32,
}

impl Remover {
    /// One for sockets at these paths; `None` when there are none. The caller has one thread.
    pub fn start(paths: &Paths) -> Result<Option<Self>, Errno> {
        let at = |of: &[PathBuf]| {
            let owner = Uid::from_raw(paths.owner);
            let owner = |path: &PathBuf| (Some(path) == paths.control.as_ref()).then_some(owner);
            let places = of.iter().filter_map(|path| Place::of(path, owner(path)));
            places.collect::<Vec<_>>()
        };
        let (own, others) = (at(&paths.own), at(&paths.others));
        if own.is_empty() && others.is_empty() {
            return Ok(None);
        }
        let (hears, told) = pipe_with(PipeFlags::CLOEXEC)?;
        #[allow(unsafe_code, reason = "a process of its own keeps its rights")]
        // SAFETY: this process has one thread, so the child may do whatever it could.
        let forked = unsafe { fork() }.map_err(|error| Errno::from_raw_os_error(error as i32))?;
        match forked {
            ForkResult::Parent { child } => Ok(Pid::from_raw(child.as_raw()).map(|process| Self {
                process,
                told: Mutex::new(Some(told)),
            })),
            ForkResult::Child => {
                drop(told);
                live(&hears, own, others)
            }
        }
    }

    /// This host has taken the place of the other.
    pub fn take(&self) {
        self.tell(TAKE);
    }

    /// Whoever listens there now keeps them all.
    pub fn leave(&self) {
        self.tell(LEAVE);
    }

    /// The same, but for the control socket.
    pub fn leave_listeners(&self) {
        self.tell(KEEP);
    }

    fn tell(&self, what: u8) {
        // When it is gone they stay as they are.
        let _ = self
            .told()
            .as_ref()
            .map(|told| rustix::io::write(told, &[what]));
    }

    /// They are removed when this returns, unless somebody listens there still.
    pub fn finish(&self) {
        if let Some(told) = self.told().take() {
            drop(told);
            let _ = waitpid(Some(self.process), WaitOptions::empty());
        }
    }

    fn told(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the process does.
fn live(hears: &OwnedFd, own: Vec<Place>, mut others: Vec<Place>) -> ! {
    // A terminal's INT goes to the whole group, and a service manager's TERM to all of a service.
    let _ = SigSet::all().thread_block();
    let _ = rustix::thread::set_name(c"portcullis-path");
    let places = own.iter().chain(&others);
    let mut kept: Vec<RawFd> = places.map(|place| place.folder.as_raw_fd()).collect();
    kept.push(hears.as_raw_fd());
    kept.sort_unstable();
    close_but(0, &kept);
    let mut sockets: Vec<Socket> = own.into_iter().filter_map(Socket::at).collect();
    loop {
        let mut what = [0];
        match rustix::io::read(hears, &mut what) {
            Err(Errno::INTR) => {}
            Ok(1..) if what == [TAKE] => sockets.extend(others.drain(..).filter_map(Socket::at)),
            Ok(1..) => {
                others.clear();
                sockets.retain(|socket| what == [KEEP] && socket.place.owner.is_some());
            }
            Ok(0) | Err(_) => break,
        }
    }
    sockets.into_iter().for_each(Socket::remove);
    std::process::exit(0)
}

/// Where a socket is, or may be.
struct Place {
    folder: OwnedFd,
    name: OsString,
    /// Whose it is to be, for that of a control socket.
    owner: Option<Uid>,
}

impl Place {
    fn of(path: &Path, owner: Option<Uid>) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(path.parent()?, flags, Mode::empty()).ok()?;
        let name = path.file_name()?.to_owned();
        Some(Self {
            folder,
            name,
            owner,
        })
    }
}

/// A unix socket that is removed at the end, unless somebody listens there still, or has put something else there.
struct Socket {
    place: Place,
    /// Held, so that no other gets its number.
    there: OwnedFd,
    inode: (u64, u64),
}

impl Socket {
    fn at(place: Place) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = openat(&place.folder, &place.name, flags, Mode::empty()).ok()?;
        let found = fstat(&there).ok()?;
        let is_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
        if let (Some(owner), true) = (place.owner, is_socket) {
            // Root may reach it in any case.
            let _ = chownat(&there, "", Some(owner), None, AtFlags::EMPTY_PATH);
        }
        is_socket.then(|| Self {
            place,
            there,
            inode: (found.st_dev, found.st_ino),
        })
    }

    /// Whether somebody listens there. A socket of another kind is told so, and no connection is made.
    fn is_held(&self) -> bool {
        let path = format!("/proc/self/fd/{}", self.there.as_raw_fd());
        let probe = socket(AddressFamily::UNIX, SocketType::DGRAM, None);
        let answer = probe.and_then(|probe| connect(&probe, &SocketAddrUnix::new(path)?));
        answer == Err(Errno::PROTOTYPE)
    }

    fn remove(self) {
        // A host that died may have closed its listeners a moment after it was seen to have ended.
        for _ in 0..PROBES {
            if !self.is_held() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        if self.is_held() {
            return;
        }
        let Place { folder, name, .. } = &self.place;
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| (found.st_dev, found.st_ino) == self.inode) {
            // Nobody is left to be told.
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
    }
}
