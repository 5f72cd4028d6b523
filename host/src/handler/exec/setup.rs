//! Who a job runs as, and the rest of its setup, with every name turned into a number: user
//! databases can be slow or gone when a connection comes, and the spawner looks nothing up.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::resource::getrlimit;
use nix::unistd::{Gid, Uid, getegid, geteuid, getgrouplist, getgroups};

use super::{LoadError, program};
use crate::identity::{LookupError, group, user};
use crate::plan::{NativeJob, ResourceLimit};
use crate::spawner::{Limit, Setup};

/// The setup of a job's processes, which are started by `root` or by somebody who cannot be another user.
pub(super) fn setup(job: &NativeJob, root: bool) -> Result<Setup, LoadError> {
    if let Some(folder) = &job.chroot {
        program::check_folder(Path::new("/"), folder, "chroot")?;
        only_root(root, true, || format!("chroot {}", folder.display()))?;
    }
    program::check_folder(program::root(job), &job.chdir, "chdir")?;
    let user = job.setuid.as_ref().map(user).transpose()?;
    let gid = match (&job.setgid, &user) {
        (Some(wanted), _) => Some(group(wanted)?),
        (None, Some(user)) => Some(
            user.group
                .ok_or(LoadError::NoPrimaryGroup(user.uid.as_raw()))?,
        ),
        (None, None) => None,
    };
    let groups = match (&job.groups, &user, gid) {
        (Some(wanted), ..) => Some(wanted.iter().map(group).collect::<Result<Vec<_>, _>>()?),
        // As initgroups has it. One that only has a number is in no group but its own.
        (None, Some(user), Some(gid)) => Some(match &user.name {
            Some(name) => getgrouplist(name, gid).map_err(|error| {
                LookupError::Failed(format!("the groups of {name:?}"), error.into())
            })?,
            None => vec![gid],
        }),
        (None, ..) => None,
    };
    let uid = user.map(|user| user.uid);
    only_root(root, uid.is_some_and(|uid| uid != geteuid()), || {
        format!("setuid {}", shown(uid))
    })?;
    only_root(root, gid.is_some_and(|gid| gid != getegid()), || {
        format!("setgid {}", shown(gid))
    })?;
    only_root(root, job.groups.is_some(), || "groups".to_owned())?;
    // The jobs of a host that has become somebody else are that one's.
    let host = root && !geteuid().is_root();
    let groups =
        match groups {
            None if host => Some(getgroups().map_err(|error| {
                LookupError::Failed("the host's groups".to_owned(), error.into())
            })?),
            groups => groups,
        };
    let uid = uid.or(host.then(geteuid));
    let gid = gid.or(host.then(getegid));
    Ok(Setup {
        limits: limits(job)?,
        umask: job.umask,
        nice: job.nice,
        chroot: job.chroot.as_deref().map(path).transpose()?,
        chdir: path(&job.chdir)?,
        // Without root the ids are those the host has already, and may not even be set to themselves.
        groups: groups
            .filter(|_| root)
            .map(|g| g.into_iter().map(Gid::as_raw).collect()),
        gid: gid.filter(|_| root).map(Gid::as_raw),
        uid: uid.filter(|_| root).map(Uid::as_raw),
    })
}

fn only_root(root: bool, wanted: bool, what: impl FnOnce() -> String) -> Result<(), LoadError> {
    if wanted && !root {
        return Err(LoadError::NotRoot {
            what: what(),
            user: geteuid().as_raw(),
        });
    }
    Ok(())
}

fn shown(id: Option<impl ToString>) -> String {
    id.map(|id| id.to_string()).unwrap_or_default()
}

fn limits(job: &NativeJob) -> Result<Vec<Limit>, LoadError> {
    let own = job.sandbox.limits().filter(|own| {
        // What the file says of a resource goes before.
        job.limit.iter().all(|given| given.resource != own.resource)
    });
    // Only root could raise what the host itself was given.
    let own = own.map(|own| {
        let most = getrlimit(own.resource).map_or(u64::MAX, |(_, hard)| hard);
        let capped = own.hard.map(|hard| hard.min(most));
        ResourceLimit {
            soft: capped,
            hard: capped,
            ..own
        }
    });
    let each = job.limit.iter().copied().chain(own).map(|limit| {
        Limit::new(limit.resource, limit.soft, limit.hard)
            .ok_or_else(|| LoadError::Limit(format!("{:?}", limit.resource)))
    });
    each.collect()
}

fn path(path: &Path) -> Result<CString, LoadError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| LoadError::Nul(path.display().to_string()))
}
