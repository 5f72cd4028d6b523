//! Unix paths that a host has bound as root, and cannot remove as who it becomes: a process that stays root does it when
//! the host has ended, however it did. It has no more of the host than that, and hears from it one byte or two.

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, fork};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, open, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};

use crate::spawner::close_but;

/// The others are this host's by now.
const TAKE: u8 = b't';
/// None is this host's any more.
const LEAVE: u8 = b'l';

/// A process that waits for the end of this one, and then removes sockets.
#[derive(Debug)]
pub(super) struct Remover {
    process: Pid,
    /// `None` when that is over.
    told: Option<OwnedFd>,
}

/// What is where.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// This host has bound these,
    pub own: Vec<PathBuf>,
    /// and will have these, when it has taken the place of another.
    pub others: Vec<PathBuf>,
}

impl Remover {
    /// One for sockets at these paths; `None` when there are none. The caller has one thread.
    pub fn start(paths: &Paths) -> Result<Option<Self>, Errno> {
        let at = |paths: &[PathBuf]| {
            let places = paths.iter().filter_map(|path| Place::of(path));
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
                told: Some(told),
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

    fn tell(&self, what: u8) {
        // When it is gone they stay as they are.
        let _ = self
            .told
            .as_ref()
            .map(|told| rustix::io::write(told, &[what]));
    }
}

impl Drop for Remover {
    /// They are removed when this returns.
    fn drop(&mut self) {
        drop(self.told.take());
        let _ = waitpid(Some(self.process), WaitOptions::empty());
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
                sockets.clear();
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
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(path.parent()?, flags, Mode::empty()).ok()?;
        let name = path.file_name()?.to_owned();
        Some(Self { folder, name })
    }
}

/// A unix socket that is removed at the end, unless somebody has put something else there since.
struct Socket {
    place: Place,
    /// Held, so that no other gets its number.
    _there: OwnedFd,
    inode: (u64, u64),
}

impl Socket {
    fn at(place: Place) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let there = openat(&place.folder, &place.name, flags, Mode::empty()).ok()?;
        let found = fstat(&there).ok()?;
        let is_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
        is_socket.then(|| Self {
            place,
            _there: there,
            inode: (found.st_dev, found.st_ino),
        })
    }

    fn remove(self) {
        let Place { folder, name } = &self.place;
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| (found.st_dev, found.st_ino) == self.inode) {
            // Nobody is left to be told.
            let _ = unlinkat(folder, name, AtFlags::empty());
        }
    }
}
