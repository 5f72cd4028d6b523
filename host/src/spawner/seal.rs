//! Which jobs a spawner can start that has become somebody else with its host.

use nix::sys::resource::getrlimit;
use rustix::process::getpriority_process;

use super::{Ids, Limit, RESOURCES, Setup};

impl Setup {
    /// Whether processes are set up like this by `ids` as well as by root, once the ids themselves are left out.
    pub(super) fn is_within(&self, ids: &Ids) -> bool {
        ids.are_of(self)
            && self.chroot.is_none()
            && self.nice.is_none_or(is_lower)
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

/// Whether it takes no right to have this priority.
fn is_lower(nice: i32) -> bool {
    getpriority_process(None).is_ok_and(|now| nice >= now)
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
