//! The service manager: it is told how far the host has come, and keeps its listeners for the next one where
//! it can (`FileDescriptorStoreMax=` of a systemd unit).

use std::collections::HashSet;
use std::env;
use std::os::fd::AsFd as _;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::listener::Shared;

/// What the service manager keeps for the next host.
#[derive(Debug)]
pub(super) struct Store {
    /// How many listeners it may be given.
    room: usize,
    /// The names of those it has.
    stored: HashSet<String>,
}

impl Store {
    /// As the service manager says, which has these already.
    pub fn find<'a>(stored: impl Iterator<Item = &'a str>) -> Self {
        let room = env::var("FDSTORE").ok().and_then(|room| room.parse().ok());
        Self {
            room: room.unwrap_or_default(),
            stored: stored.map(str::to_owned).collect(),
        }
    }

    /// Whether it keeps any.
    pub fn is_there(&self) -> bool {
        self.room > 0
    }

    /// Gives it these listeners, and has it drop those it had beside them.
    pub fn keep(&mut self, listeners: &[(String, Shared)]) {
        let names: HashSet<_> = listeners.iter().map(|(name, _)| name.clone()).collect();
        let gone: Vec<_> = self.stored.difference(&names).cloned().collect();
        for name in gone {
            tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(&name)]);
            self.stored.remove(&name);
        }
        if listeners.len() > self.room {
            let reason = format!(
                "the service manager keeps {} listeners, and there are {}: raise \
                 FileDescriptorStoreMax= of the unit",
                self.room,
                listeners.len()
            );
            warn!(reason, "listen");
        }
        let known = std::mem::take(&mut self.stored);
        for (name, Shared { socket, .. }) in listeners.iter().take(self.room) {
            let state = [NotifyState::FdStore, NotifyState::FdName(name)];
            // It passes over a socket that it has.
            match sd_notify::notify_with_fds(&state, &[socket.as_fd()]) {
                Ok(()) => drop(self.stored.insert(name.clone())),
                Err(error) => {
                    let reason = format!("the service manager cannot be given a listener: {error}");
                    warn!(reason, "listen");
                }
            }
        }
        self.stored.extend(known);
    }
}

/// It serves.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It is about to turn to another plan.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(reason = %format!("cannot read the clock: {error}"), "reload"),
    }
}

/// It stops, and says how it gets on `within` such a time.
pub(super) fn stopping(within: Duration) {
    tell(&[NotifyState::Stopping, extended(within)]);
}

/// How many connections it still waits for.
pub(super) fn draining(connections: u32, within: Duration) {
    let status = format!("draining: {connections} connections are open");
    tell(&[NotifyState::Status(&status), extended(within)]);
}

/// A manager that hears nothing within that time may take the host for dead.
fn extended(within: Duration) -> NotifyState<'static> {
    NotifyState::ExtendTimeoutUsec(u32::try_from(within.as_micros()).unwrap_or(u32::MAX))
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        let reason = format!("cannot tell the service manager: {error}");
        warn!(reason, "start");
    }
}
