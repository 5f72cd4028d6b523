//! Users and groups of the trigger file, looked up in the system's databases. Only at start: the
//! hot path carries numbers.

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, Group, Uid, User};

use crate::plan::Identity;

/// The number of a user.
///
/// # Errors
/// When nobody has that name.
pub fn user(identity: &Identity<Uid>) -> anyhow::Result<Uid> {
    match identity {
        Identity::Number(uid) => Ok(*uid),
        Identity::Name(name) => {
            match User::from_name(name).with_context(|| format!("cannot look up user `{name}`"))? {
                Some(user) => Ok(user.uid),
                None => bail!("there is no user `{name}` on this system"),
            }
        }
    }
}

/// The number of a group.
///
/// # Errors
/// When no group has that name.
pub fn group(identity: &Identity<Gid>) -> anyhow::Result<Gid> {
    match identity {
        Identity::Number(gid) => Ok(*gid),
        Identity::Name(name) => {
            match Group::from_name(name)
                .with_context(|| format!("cannot look up group `{name}`"))?
            {
                Some(group) => Ok(group.gid),
                None => bail!("there is no group `{name}` on this system"),
            }
        }
    }
}
