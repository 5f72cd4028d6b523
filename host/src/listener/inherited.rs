//! Listening sockets that were opened before this host: by a service manager, with systemd's protocol
//! and by name, and by its predecessor, the host whose place it takes.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use anyhow::bail;

use super::{Bound, mark};
use crate::plan::{Address, SocketOptions};

/// What the names of sockets begin with that a host hands over to the next.
pub(super) const MARK: &str = "portcullis-";

/// That of the socket by which a host is told what to do.
pub const CONTROL: &str = "portcullis-control";

/// The listening sockets that were handed over, by name.
#[derive(Debug, Default)]
pub struct Inherited {
    /// By a service manager. What a trigger takes is empty here.
    given: HashMap<String, Vec<OwnedFd>>,
    /// By the predecessor, under their marks.
    of_predecessor: HashMap<String, Vec<Handed>>,
    /// What this host has bound itself while it had the right to.
    ahead: Vec<(String, Bound)>,
}

/// A listener that the predecessor has handed over.
#[derive(Debug)]
pub(super) struct Handed {
    pub socket: OwnedFd,
    /// Comes to its end when the processes have ended that were given it; `None`: there are none.
    pub busy: Option<OwnedFd>,
}

impl Inherited {
    /// Takes the sockets of `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`
    /// (`sd_listen_fds_with_names(3)`). To be called once, before any thread is started.
    ///
    /// # Errors
    /// When the variables are set and wrong.
    pub fn take() -> io::Result<Self> {
        let mut inherited = Self::default();
        for (fd, name) in sd_notify::listen_fds_with_names()? {
            #[allow(
                unsafe_code,
                reason = "a descriptor that crossed exec has no owner yet"
            )]
            // SAFETY: the service manager's protocol says that this descriptor was opened for this
            // process alone, sd_listen_fds checked LISTEN_PID, and this runs once, before anything
            // else of the host could have opened or closed it.
            let socket = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
            inherited.add(name, socket);
        }
        Ok(inherited)
    }

    /// Adds one.
    pub fn add(&mut self, name: String, socket: OwnedFd) {
        if name.starts_with(MARK) {
            self.add_handed(name, socket, None);
        } else {
            self.given.entry(name).or_default().push(socket);
        }
    }

    /// Adds one that the predecessor hands over, which processes have until `busy` comes to its end.
    pub fn add_handed(&mut self, mark: String, socket: OwnedFd, busy: Option<OwnedFd>) {
        let handed = Handed { socket, busy };
        self.of_predecessor.entry(mark).or_default().push(handed);
    }

    /// Closes what the predecessor has handed over, or was bound ahead, and nobody has taken.
    pub fn forget(&mut self) {
        self.ahead.clear();
        self.of_predecessor.clear();
    }

    /// The marks of what the predecessor has handed over.
    pub fn marks(&self) -> impl Iterator<Item = &str> {
        self.of_predecessor.keys().map(String::as_str)
    }

    /// What the predecessor has handed over for `address` under this mark: one socket, or all of an inherited name.
    pub(super) fn of_predecessor(&mut self, mark: &str, address: &Address) -> Vec<Handed> {
        // A service manager that keeps what it gives hands it over twice.
        if let Address::Inherited(name) = address
            && self.given.get(name).is_some_and(|given| !given.is_empty())
        {
            return Vec::new();
        }
        let Some(handed) = self.of_predecessor.get_mut(mark) else {
            return Vec::new();
        };
        match address {
            Address::Inherited(_) => std::mem::take(handed),
            _ if handed.is_empty() => Vec::new(),
            _ => vec![handed.remove(0)],
        }
    }

    /// The predecessor's socket by which it was told what to do.
    pub fn control(&mut self) -> Option<OwnedFd> {
        let handed = self.of_predecessor.remove(CONTROL)?;
        handed.into_iter().next().map(|handed| handed.socket)
    }

    /// Binds an address of `trigger` now, for a host that could not do it later. Why it cannot be bound is told then.
    pub fn bind_ahead(&mut self, trigger: &str, address: &Address, options: &SocketOptions) {
        if let Address::Inherited(_) = address {
            return;
        }
        // One that is bound already is another one, where the system chooses the port.
        let ahead = std::mem::take(&mut self.ahead);
        let bound = Bound::bind(trigger, address, options, self);
        self.ahead = ahead;
        let bound = bound.unwrap_or_default().into_iter();
        self.ahead
            .extend(bound.map(|bound| (mark(trigger, address), bound)));
    }

    /// What was bound ahead.
    pub fn ahead(&self) -> impl Iterator<Item = &Bound> {
        self.ahead.iter().map(|(_, bound)| bound)
    }

    /// What was bound ahead under this mark, in the order in which it was.
    pub(super) fn bound_ahead(&mut self, mark: &str) -> Option<Bound> {
        let at = self.ahead.iter().position(|(known, _)| known == mark)?;
        Some(self.ahead.remove(at).1)
    }

    /// The names of those that no trigger has taken.
    pub fn unclaimed(&self) -> impl Iterator<Item = &str> {
        self.given
            .iter()
            .filter(|(_, sockets)| !sockets.is_empty())
            .map(|(name, _)| name.as_str())
    }

    /// All sockets of that name.
    pub(super) fn claim(&mut self, name: &str) -> anyhow::Result<Vec<OwnedFd>> {
        let mut known: Vec<_> = self.given.keys().cloned().collect();
        known.sort_unstable();
        if known.is_empty() {
            known.push("none".to_owned());
        }
        match self.given.get_mut(name).map(std::mem::take) {
            None => bail!(
                "no inherited socket is named `{name}` (inherited: {}); a systemd socket unit \
                 names it with FileDescriptorName=",
                known.join(", ")
            ),
            Some(sockets) if sockets.is_empty() => {
                bail!("the inherited socket `{name}` is already taken by another trigger")
            }
            Some(sockets) => Ok(sockets),
        }
    }
}
