//! Listening sockets that a service manager has opened: by systemd's protocol, and by name.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

use anyhow::bail;

/// The listening sockets that a service manager handed over, by name.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<String, Vec<OwnedFd>>);

impl Inherited {
    /// Takes the sockets of `LISTEN_FDS`, `LISTEN_PID` and `LISTEN_FDNAMES`
    /// (`sd_listen_fds_with_names(3)`). To be called once, before any thread is started.
    ///
    /// # Errors
    /// When the variables are set and wrong.
    pub fn take() -> io::Result<Self> {
        let mut sockets: HashMap<String, Vec<OwnedFd>> = HashMap::new();
        for (fd, name) in sd_notify::listen_fds_with_names()? {
            #[allow(
                unsafe_code,
                reason = "a descriptor that crossed exec has no owner yet"
            )]
            // SAFETY: the service manager's protocol says that this descriptor was opened for this
            // process alone, sd_listen_fds checked LISTEN_PID, and this runs once, before anything
            // else of the host could have opened or closed it.
            let socket = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(fd) };
            sockets.entry(name).or_default().push(socket);
        }
        Ok(Self(sockets))
    }

    /// The names of those that no trigger has taken.
    pub fn unclaimed(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|(_, sockets)| !sockets.is_empty())
            .map(|(name, _)| name.as_str())
    }

    /// All sockets of that name.
    pub(super) fn claim(&mut self, name: &str) -> anyhow::Result<Vec<OwnedFd>> {
        let mut known: Vec<_> = self.0.keys().cloned().collect();
        known.sort_unstable();
        if known.is_empty() {
            known.push("none".to_owned());
        }
        match self.0.get_mut(name).map(std::mem::take) {
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
