//! Unix paths that a host has bound as root, and cannot remove as who it has become: a process that stays root does it. It
//! holds nothing but their folders, and hears nothing but whether it is to.

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::unistd::{ForkResult, Pid, fork};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, open, statat, unlinkat};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitOptions, waitpid};

use super::child::close_but;

/// A process that waits for the end of this one, and then removes sockets.
pub(super) struct Remover {
    process: Pid,
    /// Closed: the sockets are to be removed. Something is written: they are not.
    end: OwnedFd,
}

impl Remover {
    /// One for the sockets that are at these paths. `None` when there are none.
    ///
    /// The caller has one thread.
    pub fn of(paths: &[PathBuf]) -> Result<Option<Self>, Errno> {
        let sockets: Vec<_> = paths.iter().filter_map(|path| Socket::at(path)).collect();
        if sockets.is_empty() {
            return Ok(None);
        }
        let (told, end) = pipe_with(PipeFlags::CLOEXEC)?;
        #[allow(unsafe_code, reason = "a process of its own keeps its rights")]
        // SAFETY: the spawner has one thread, so the child may do whatever it could.
        let forked = unsafe { fork() }.map_err(|error| Errno::from_raw_os_error(error as i32))?;
        match forked {
            ForkResult::Parent { child } => Ok(Some(Self {
                process: child,
                end,
            })),
            ForkResult::Child => wait(&told, sockets),
        }
    }

    /// Has it remove them, and waits for that.
    pub fn remove(self) {
        let Self { process, end } = self;
        drop(end);
        let _ = waitpid(
            rustix::process::Pid::from_raw(process.as_raw()),
            WaitOptions::empty(),
        );
    }

    /// Has it leave them where they are.
    pub fn leave(self) {
        // When it is gone they stay as well.
        let _ = rustix::io::write(&self.end, b"l");
        self.remove();
    }
}

/// What the process does.
fn wait(told: &OwnedFd, sockets: Vec<Socket>) -> ! {
    let _ = rustix::thread::set_name(c"portcullis-path");
    let mut kept: Vec<RawFd> = sockets
        .iter()
        .map(|socket| socket.folder.as_raw_fd())
        .collect();
    kept.push(told.as_raw_fd());
    kept.sort_unstable();
    close_but(0, &kept);
    let over = loop {
        match rustix::io::read(told, &mut [0; 1]) {
            Err(Errno::INTR) => {}
            heard => break heard == Ok(0),
        }
    };
    if over {
        sockets.into_iter().for_each(Socket::remove);
    }
    std::process::exit(0)
}

/// A unix socket that is removed at the end, unless somebody has put something else there since.
struct Socket {
    folder: OwnedFd,
    name: OsString,
    inode: (u64, u64),
}

impl Socket {
    /// `None` when there is none.
    fn at(path: &Path) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(path.parent()?, flags, Mode::empty()).ok()?;
        let name = path.file_name()?.to_owned();
        let found = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
        is_socket.then(|| Self {
            folder,
            name,
            inode: inode(&found),
        })
    }

    fn remove(self) {
        let found = statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        if found.is_ok_and(|found| inode(&found) == self.inode) {
            // Nobody is left to be told.
            let _ = unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

fn inode(found: &Stat) -> (u64, u64) {
    (found.st_dev, found.st_ino)
}
