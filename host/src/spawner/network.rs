//! A network in which there is nothing, not even a loopback interface that is up: the one that all strict jobs are in.
//! None of them has the right to change that, so they do not meet there either. What they hold already, the connection
//! or the listener, belongs to the network it was made in and goes on.

use std::io::{IoSlice, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use crate::packet;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{getegid, geteuid};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// The namespaces.
#[derive(Debug)]
pub(super) struct Network {
    /// The one that owns the other, where only its owner may enter that: without root.
    user: Option<OwnedFd>,
    network: OwnedFd,
}

impl Network {
    /// Makes one, by a child that enters it and hands over what it is in: whoever has entered a user namespace cannot
    /// come back.
    ///
    /// The caller must have one thread.
    pub fn new() -> Result<Self, Errno> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None)?;
        #[allow(unsafe_code, reason = "a namespace is entered by a process")]
        // SAFETY: this process has one thread, so the child inherits no lock held by another.
        let forked = unsafe { fork() }.map_err(|error| Errno::from_raw_os_error(error as i32))?;
        let ForkResult::Parent { child } = forked else {
            drop(ours);
            let told = enter().and_then(|namespaces| {
                let namespaces: Vec<_> = namespaces.iter().map(AsFd::as_fd).collect();
                packet::send(theirs.as_fd(), &[IoSlice::new(&[0])], &namespaces)
            });
            if let Err(error) = told {
                let errno = error.raw_os_error().to_le_bytes();
                let _ = packet::send(theirs.as_fd(), &[IoSlice::new(&errno)], &[]);
            }
            std::process::exit(0);
        };
        drop(theirs);
        let _ = waitpid(child, None);
        let mut errno = [0; 4];
        let (length, namespaces) = packet::receive(ours.as_fd(), &mut errno)?;
        let mut namespaces = namespaces.into_iter();
        match (length, namespaces.next()) {
            (1, Some(network)) => Ok(Self {
                user: namespaces.next(),
                network,
            }),
            (4, _) => Err(Errno::from_raw_os_error(i32::from_le_bytes(errno))),
            _ => Err(Errno::NOSYS),
        }
    }

    /// Enters it: for a child on its way to its program.
    pub fn enter(&self) -> Result<(), Errno> {
        if let Some(user) = &self.user {
            move_into_link_name_space(user.as_fd(), Some(LinkNameSpaceType::User))?;
        }
        move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))
    }

    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let all = self.user.iter().chain([&self.network]);
        all.map(AsRawFd::as_raw_fd)
    }
}

/// Enters a new network: as root, or as the owner of a new user namespace in which the own user and group are who they are.
fn enter() -> Result<Vec<OwnedFd>, Errno> {
    let namespace = |name| open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    match unshare(UnshareFlags::NEWNET) {
        Ok(()) => return Ok(vec![namespace("/proc/self/ns/net")?]),
        Err(Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    for (file, text) in [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{user} {user} 1")),
        ("/proc/self/gid_map", format!("{group} {group} 1")),
    ] {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .open(file)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        file.write_all(text.as_bytes())
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    }
    Ok(vec![
        namespace("/proc/self/ns/net")?,
        namespace("/proc/self/ns/user")?,
    ])
}

fn unshare(what: UnshareFlags) -> Result<(), Errno> {
    #[allow(unsafe_code, reason = "there is no safe way to enter a new namespace")]
    // SAFETY: what is unshared are namespaces, and no descriptor table.
    unsafe {
        unshare_unsafe(what)
    }
}
