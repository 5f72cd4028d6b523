//! Whose rights a host has: those of the user of its plan, for good, and never more than it has at that moment.

use anyhow::{Context as _, anyhow, bail, ensure};
use nix::unistd::{Gid, Uid, getegid, geteuid, getgrouplist, getresgid, getresuid, setresuid};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::identity;
use crate::plan::Plan;
use crate::spawner::Ids;

/// The numbers of the user and the group of a plan; `None` when the host stays who it is.
///
/// # Errors
/// When the system does not know them, or this process cannot become them.
pub fn wanted(plan: &Plan) -> anyhow::Result<Option<Ids>> {
    let Some(user) = &plan.user else {
        return Ok(None);
    };
    let user = identity::user(user).context("`user` of [host]")?;
    let gid = match &plan.group {
        Some(group) => identity::group(group).context("`group` of [host]")?,
        None => user.group.ok_or_else(|| {
            anyhow!(
                "user {} is in no user database, so its group is unknown: give `group` of [host]",
                user.uid
            )
        })?,
    };
    if (user.uid, gid) == (geteuid(), getegid()) {
        return Ok(None);
    }
    ensure!(
        geteuid().is_root(),
        "`user` of [host]: only root can be somebody else, and this host was started by user {}",
        geteuid()
    );
    let groups = match &user.name {
        Some(name) => {
            getgrouplist(name, gid).context("cannot look up the groups of the host's user")?
        }
        None => vec![gid],
    };
    Ok(Some(Ids {
        uid: user.uid.as_raw(),
        gid: gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
    }))
}

/// Becomes that user for good. The caller has one thread.
pub(super) fn become_user(ids: &Ids) -> anyhow::Result<()> {
    let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
    ids.assume()?;
    let (users, groups) = (getresuid()?, getresgid()?);
    let changed = [users.real, users.effective, users.saved] == [uid; 3]
        && [groups.real, groups.effective, groups.saved] == [gid; 3];
    // That root cannot be had back is looked at, not believed.
    if !changed || !uid.is_root() && setresuid(uid, Uid::from_raw(0), uid).is_ok() {
        bail!("the host is not who it should be, or could be root again");
    }
    // Others of the same user are not to have what it holds, such as the socket on which jobs are registered.
    hide()
}

/// Whatever it executed would have no right that it has not.
pub(super) fn take_no_more() -> Result<(), Errno> {
    let _ = clear_ambient_capability_set();
    for capability in CapabilitySet::all().iter().chain(beyond_known()) {
        // Without the right to this there is no right to lose. The kernel may know fewer.
        match remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    set_no_new_privs(true)
}

/// Those that kernels may have one day.
fn beyond_known() -> impl Iterator<Item = CapabilitySet> {
    (41..64).map(|number| CapabilitySet::from_bits_retain(1 << number))
}

/// Has it open what it keeps open, with no right but that of its user.
pub(super) fn opening(open: impl FnOnce()) -> Result<(), Errno> {
    let all = capabilities(None)?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            ..all
        },
    )?;
    open();
    set_capabilities(None, all)
}

/// Nobody of the same user looks into its memory any more.
pub(super) fn hide() -> anyhow::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context("prctl PR_SET_DUMPABLE")
}
