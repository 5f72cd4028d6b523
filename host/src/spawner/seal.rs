//! The spawner of a host that has become somebody else: it removes what that one cannot, and becomes the same if nothing of
//! the plan needs more.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::sys::resource::getrlimit;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, open, statat, unlinkat};
use rustix::io::Errno;

use super::{Ids, Limit, RESOURCES, Setup};

/// A unix socket that is removed at the end, unless somebody has put something else there since.
pub(super) struct Socket {
    folder: OwnedFd,
    name: OsString,
    inode: (u64, u64),
}

impl Socket {
    /// `None` when there is none.
    pub fn at(path: &Path) -> Option<Self> {
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

    pub fn remove(self) {
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

/// Becomes `ids`. The caller has one thread.
pub(super) fn become_user(ids: &Ids) -> Result<(), Errno> {
    let failed = |error| Errno::from_raw_os_error(error as i32);
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    let groups: Vec<Gid> = ids.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(failed)?;
    setresgid(gid, gid, gid).map_err(failed)?;
    setresuid(uid, uid, uid).map_err(failed)
}

impl Setup {
    /// Whether processes are set up like this by `ids` as well as by root, once the ids themselves are left out.
    pub(super) fn is_within(&self, ids: &Ids) -> bool {
        let own = |id: Option<u32>, own| id.is_none_or(|id| id == own);
        let groups = self
            .groups
            .as_ref()
            .is_none_or(|groups| *groups == ids.groups);
        own(self.uid, ids.uid)
            && own(self.gid, ids.gid)
            && groups
            && self.chroot.is_none()
            && self.nice.is_none_or(|nice| nice >= 0)
            && self.limits.iter().all(Limit::is_lower)
    }

    /// The same for a spawner that is `ids` already: it may not even set them to themselves.
    pub(super) fn without_ids(self) -> Self {
        Self {
            groups: None,
            gid: None,
            uid: None,
            ..self
        }
    }
}

impl Limit {
    /// Whether it takes no right to set it.
    fn is_lower(&self) -> bool {
        let resource = RESOURCES.get(usize::from(self.resource));
        resource.is_some_and(|(resource, _)| {
            getrlimit(*resource).is_ok_and(|(_, hard)| self.hard <= hard)
        })
    }
}
