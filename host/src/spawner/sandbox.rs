//! What a strict job cannot leave. All of it is made when the job is registered; between clone and exec a process only
//! enters it, by system calls that need nothing of libc and no memory.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;

use nix::libc;
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};
use syscalls::{Sysno, syscall};

use super::message::Stage;
use super::network::Network;
use crate::seccomp::{self, Filters};

/// The sandbox of one job.
pub(super) struct Sandbox {
    network: Rc<Network>,
    /// A Landlock ruleset.
    rules: OwnedFd,
    filters: Filters,
}

impl Sandbox {
    pub fn new(network: Rc<Network>, rules: OwnedFd) -> Result<Self, (Stage, Errno)> {
        let filters = seccomp::strict().map_err(|_| (Stage::Seccomp, Errno::NOTSUP))?;
        Ok(Self {
            network,
            rules,
            filters,
        })
    }

    /// What the child must not close before it has entered, in ascending order.
    pub fn descriptors(&self) -> Vec<RawFd> {
        let mut all: Vec<RawFd> = self.network.descriptors().collect();
        all.push(self.rules.as_raw_fd());
        all.sort_unstable();
        all
    }

    /// Enters the private network, which takes the rights that the ids give.
    pub fn enter_network(&self) -> Result<(), (Stage, Errno)> {
        self.network
            .enter()
            .map_err(|error| (Stage::Namespace, error))
    }

    /// Gives up all rights for good, and whatever the ruleset and the filters do not leave.
    pub fn enter(&self) -> Result<(), (Stage, Errno)> {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).map_err(|error| (Stage::Capabilities, error))?;
        // Root that executes a program would have them back, were it not for this.
        set_no_new_privs(true).map_err(|error| (Stage::Capabilities, error))?;
        let failed = |stage| {
            move |error: syscalls::Errno| (stage, Errno::from_raw_os_error(error.into_raw()))
        };
        #[allow(unsafe_code, reason = "the sandbox crosses exec here")]
        // SAFETY: neither call touches memory but the filter, which it copies; the descriptor is open in this child.
        unsafe {
            syscall!(Sysno::landlock_restrict_self, self.rules.as_raw_fd(), 0)
                .map_err(failed(Stage::Landlock))?;
            for filter in &self.filters {
                let program = libc::sock_fprog {
                    len: u16::try_from(filter.len()).unwrap_or(0),
                    filter: filter.as_ptr().cast_mut().cast(),
                };
                let program = &raw const program;
                syscall!(Sysno::seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, program)
                    .map_err(failed(Stage::Seccomp))?;
            }
        }
        Ok(())
    }
}
