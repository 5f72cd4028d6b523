//! Who a process is, by numbers, and how it becomes somebody else for good.

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Setup;

/// Who a process is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Real, effective and saved.
    pub uid: u32,
    /// Likewise.
    pub gid: u32,
    /// Supplementary, in any order.
    pub groups: Vec<u32>,
}

impl Ids {
    /// Makes this process, which has one thread, be that for good.
    ///
    /// # Errors
    /// When the kernel refuses; it may have become a part of it then.
    pub fn assume(&self) -> Result<(), Errno> {
        let failed = |error| Errno::from_raw_os_error(error as i32);
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let groups: Vec<Gid> = self.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).map_err(failed)?;
        setresgid(gid, gid, gid).map_err(failed)?;
        setresuid(uid, uid, uid).map_err(failed)
    }

    /// Whether processes that are set up like this are this, too.
    pub(super) fn are_of(&self, setup: &Setup) -> bool {
        // The kernel gives groups in an order of its own.
        let sorted = |groups: &[u32]| {
            let mut groups = groups.to_vec();
            groups.sort_unstable();
            groups.dedup();
            groups
        };
        let groups = setup.groups.as_deref();
        setup.uid.is_none_or(|uid| uid == self.uid)
            && setup.gid.is_none_or(|gid| gid == self.gid)
            && groups.is_none_or(|groups| sorted(groups) == sorted(&self.groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(uid: Option<u32>, gid: Option<u32>, groups: Option<&[u32]>) -> bool {
        let ids = Ids {
            uid: 1000,
            gid: 1000,
            groups: vec![1000, 27, 100],
        };
        ids.are_of(&Setup {
            uid,
            gid,
            groups: groups.map(<[u32]>::to_vec),
            ..Setup::default()
        })
    }

    #[test]
    fn processes_are_the_same_user_whatever_the_order_of_their_groups() {
        assert!(is_own(None, None, None));
        assert!(is_own(Some(1000), Some(1000), Some(&[27, 100, 1000])));
        assert!(is_own(None, None, Some(&[1000, 1000, 100, 27])));
    }

    #[test]
    fn another_user_or_group_or_one_group_more_or_less_is_somebody_else() {
        assert!(!is_own(Some(0), None, None));
        assert!(!is_own(None, Some(27), None));
        assert!(!is_own(None, None, Some(&[27, 1000])));
        assert!(!is_own(None, None, Some(&[0, 27, 100, 1000])));
    }
}
