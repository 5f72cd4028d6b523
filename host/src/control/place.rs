//! Where the control socket of a host is: the same for all who name the same trigger file.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::plan::Location;

/// The path of the control socket of a host that runs the trigger file, or the folder of them, at `triggers`;
/// `None` when there is to be none, or no folder for it.
pub fn place(location: &Location, triggers: &Path) -> Option<PathBuf> {
    match location {
        Location::None => None,
        Location::At(path) => Some(path.clone()),
        Location::Usual => Some(folder()?.join(name(triggers))),
    }
}

/// Where the environment has sockets: systemd's folder for the unit, that of the system for root, that of
/// the session for others.
fn folder() -> Option<PathBuf> {
    let of = |variable| {
        let path = PathBuf::from(env::var_os(variable)?);
        path.is_absolute().then_some(path)
    };
    // It may be several, of which the first is ours.
    let ours = env::var("RUNTIME_DIRECTORY").ok();
    let ours = ours.and_then(|all| Some(PathBuf::from(all.split(':').next()?)));
    ours.filter(|path| path.is_absolute()).or_else(|| {
        if geteuid().is_root() {
            Some("/run/portcullis".into())
        } else {
            Some(of("XDG_RUNTIME_DIR")?.join("portcullis"))
        }
    })
}

/// A path of a socket is short, and one of a trigger file may be long.
fn name(triggers: &Path) -> String {
    let path = fs::canonicalize(triggers).unwrap_or_else(|_| triggers.to_owned());
    let digest = blake3::hash(path.as_os_str().as_encoded_bytes());
    format!("{}.control", &digest.to_hex()[..16])
}
