//! Users and groups of the trigger file, looked up in the system's databases. Only at start: such a
//! database can be slow or gone when a connection comes, and the hot path carries numbers.

use std::ffi::CString;
use std::io;

use nix::unistd::{Gid, Group, Uid, User};

use crate::plan::Identity;

/// Why a user or group has no number.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No such user.
    #[error("there is no user `{0}` on this system")]
    NoUser(String),
    /// No such group.
    #[error("there is no group `{0}` on this system")]
    NoGroup(String),
    /// The database does not answer.
    #[error("cannot look up {0}: {1}")]
    Failed(String, io::Error),
}

/// A user by number, with what the databases add.
#[derive(Debug)]
pub struct KnownUser {
    /// Its number.
    pub uid: Uid,
    /// `None`: in no database.
    pub name: Option<CString>,
    /// Its primary group, likewise.
    pub group: Option<Gid>,
}

/// Looks up a user. A number that nobody has is as good as any other.
///
/// # Errors
/// When nobody has that name, or the database does not answer.
pub fn user(wanted: &Identity<Uid>) -> Result<KnownUser, LookupError> {
    let (found, shown) = match wanted {
        Identity::Name(name) => (User::from_name(name), name.clone()),
        Identity::Number(uid) => (User::from_uid(*uid), uid.to_string()),
    };
    let found = found.map_err(|e| LookupError::Failed(format!("user {shown}"), e.into()))?;
    match (found, wanted) {
        (Some(user), _) => Ok(KnownUser {
            uid: user.uid,
            name: CString::new(user.name).ok(),
            group: Some(user.gid),
        }),
        (None, Identity::Number(uid)) => Ok(KnownUser {
            uid: *uid,
            name: None,
            group: None,
        }),
        (None, Identity::Name(name)) => Err(LookupError::NoUser(name.clone())),
    }
}

/// The number of a user, which is looked up where there is a name.
///
/// # Errors
/// Likewise.
pub fn uid(wanted: &Identity<Uid>) -> Result<Uid, LookupError> {
    match wanted {
        Identity::Number(uid) => Ok(*uid),
        Identity::Name(_) => user(wanted).map(|user| user.uid),
    }
}

/// Looks up a group.
///
/// # Errors
/// When no group has that name, or the database does not answer.
pub fn group(wanted: &Identity<Gid>) -> Result<Gid, LookupError> {
    match wanted {
        Identity::Number(gid) => Ok(*gid),
        Identity::Name(name) => match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid),
            Ok(None) => Err(LookupError::NoGroup(name.clone())),
            Err(error) => Err(LookupError::Failed(format!("group {name}"), error.into())),
        },
    }
}
