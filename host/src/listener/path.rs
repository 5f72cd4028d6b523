//! The path of a unix listener: a stale one is replaced, a live one refused, ours gets its mode and
//! owner before anybody can connect, and is removed at the end.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, FileTypeExt, MetadataExt};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::identity;
use crate::plan::SocketOptions;

/// A unix path of ours, by its folder as it was when it was bound. Removed at the end, unless
/// somebody has put something else there since.
#[derive(Debug)]
pub(super) struct OwnedPath {
    dir: Dir,
    name: OsString,
    inode: (u64, u64),
    /// Whether it is removed.
    goes: bool,
}

impl OwnedPath {
    /// Binds a socket there. It does not listen yet.
    pub fn bind(
        path: &Path,
        kind: Type,
        options: &SocketOptions,
    ) -> anyhow::Result<(Socket, Self)> {
        let (dir, name) = open(path)?;
        remove_stale(&dir, name, path, kind)?;
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        let bound = Self::new(dir, name)?;
        bound.adapt(options)?;
        Ok((socket, bound))
    }

    /// That of a socket which is bound there already; `None` when nothing is there.
    pub fn of(path: &Path) -> anyhow::Result<Option<Self>> {
        let (dir, name) = open(path)?;
        match Self::new(dir, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            owned => Ok(Some(owned?)),
        }
    }

    /// Leaves it to somebody else.
    pub fn leave(&mut self) {
        self.goes = false;
    }

    fn new(dir: Dir, name: &OsStr) -> io::Result<Self> {
        let made = dir.symlink_metadata(name)?;
        Ok(Self {
            dir,
            name: name.to_owned(),
            inode: (made.dev(), made.ino()),
            goes: true,
        })
    }

    /// Sets the mode, owner and group of the socket, and not of what somebody has put in its place.
    pub fn adapt(&self, options: &SocketOptions) -> anyhow::Result<()> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&self.dir, &self.name, flags, Mode::empty())?;
        let now = rustix::fs::fstat(&made)?;
        ensure!(
            (now.st_dev, now.st_ino) == self.inode,
            "something else is there now"
        );
        let user = options.owner.as_ref().map(identity::uid).transpose()?;
        let user = user.map(|user| Uid::from_raw(user.as_raw()));
        let group = options.group.as_ref().map(identity::group).transpose()?;
        let group = group.map(|group| Gid::from_raw(group.as_raw()));
        // Who may not change them need not, where they are what they should be.
        if user.is_some_and(|it| it.as_raw() != now.st_uid)
            || group.is_some_and(|it| it.as_raw() != now.st_gid)
        {
            rustix::fs::chownat(&made, "", user, group, AtFlags::EMPTY_PATH)
                .context("cannot set owner and group")?;
        }
        if let Some(mode) = options.mode
            && now.st_mode & 0o7777 != mode
        {
            let path = format!("/proc/self/fd/{}", made.as_raw_fd());
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .with_context(|| format!("cannot set mode {mode:04o}"))?;
        }
        Ok(())
    }
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        let goes = self.goes
            && self
                .dir
                .symlink_metadata(&self.name)
                .is_ok_and(|now| (now.dev(), now.ino()) == self.inode);
        if goes {
            // Nothing is left to tell when this fails: the next start finds a stale path.
            let _ = self.dir.remove_file(&self.name);
        }
    }
}

/// The folder of a path, open, and the name there.
fn open(path: &Path) -> anyhow::Result<(Dir, &OsStr)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        bail!("the path names no file");
    };
    let dir = Dir::open_ambient_dir(parent, ambient_authority())
        .with_context(|| format!("cannot open the folder {}", parent.display()))?;
    Ok((dir, name))
}

/// Unlinks a socket nobody listens on: what a killed host leaves behind. Anything else that stands
/// in the way is left alone, and the error says what it is.
fn remove_stale(dir: &Dir, name: &OsStr, path: &Path, kind: Type) -> anyhow::Result<()> {
    let found = match dir.symlink_metadata(name) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        bail!("something that is not a socket is there already; remove it or choose another path");
    }
    // Not blocking: the queue of a live one may be full.
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => bail!("another process listens there"),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => bail!("another process listens there"),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => dir
            .remove_file(name)
            .context("cannot remove the stale socket"),
        Err(e) => Err(e).context("a socket is there already, and it cannot be told if it is live"),
    }
}
