//! What this machine carries: how many connections may be open before descriptors or memory
//! mappings run out. Asked once, at start, so that a plan that is too big is told so then and not
//! by an error in the middle of the night.

use std::num::NonZeroU32;

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::engine::{Pool, Slot};
use crate::plan::{GuestJob, Job, Plan};
use crate::preopen::dirs::FILES;
use crate::preopen::network::SOCKETS;

/// What a plan gets that does not say how much it wants.
const DEFAULT: u32 = 10_000;

/// Descriptors the host needs beside those of its connections: logs, timers, listeners, jobs.
const OWN_DESCRIPTORS: u64 = 128;

/// Mappings the host needs beside those of its instances.
const OWN_MAPPINGS: u64 = 2_000;

/// Instances beside one for each connection, at most.
const SPARE: u64 = 1_000;

/// What the whole host may have open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections over all triggers.
    pub connections: NonZeroU32,
    /// Of these, how many may be instances of guests.
    pub instances: u32,
    /// Instances that fit beside these, for HTTP requests that are served at once on one connection.
    pub spare: u32,
    /// Descriptors left for the files and sockets that guests open.
    pub files: u32,
}

impl Capacity {
    /// What `plan` asks for, or what this machine carries of the default. Raises the limit on
    /// descriptors to what the process may have.
    ///
    /// # Errors
    /// When the plan asks for more than fits; the error says what to raise.
    pub fn of(plan: &Plan, slot: &Slot) -> anyhow::Result<Self> {
        let wanted = plan.connections.map(NonZeroU32::get);
        let listeners: usize = plan
            .triggers
            .iter()
            .map(|trigger| trigger.listen.len())
            .sum();
        let descriptors = descriptors()?.saturating_sub(OWN_DESCRIPTORS + listeners as u64);
        let guests = plan
            .triggers
            .iter()
            .filter_map(|trigger| match &trigger.job {
                Job::Guest {
                    guest, admission, ..
                } => Some((guest, admission)),
                Job::Native(_) => None,
            });
        let opens = guests.clone().map(|(guest, _)| u64::from(opens(guest)));
        let opens = opens.max().unwrap_or_default();
        let guests: u64 = guests
            .map(|(_, admission)| u64::from(admission.connections.get()))
            .sum();
        // Half of the descriptors are for what guests open, if any does, unless the plan says otherwise.
        let files = if opens > 0 { descriptors / 2 } else { 0 };
        let slots = mappings()?.saturating_sub(OWN_MAPPINGS) / slot.mappings();

        let connections = match wanted {
            None => u64::from(DEFAULT).min(descriptors - files),
            Some(wanted) if u64::from(wanted) <= descriptors => u64::from(wanted),
            Some(wanted) => bail!(
                "limits.connections of [host] is {wanted}, and the limit on open files leaves room \
                 for {descriptors}: raise it to {} (`ulimit -Hn`, or LimitNOFILE= of the unit)",
                u64::from(wanted) + OWN_DESCRIPTORS + listeners as u64
            ),
        };
        let connections = match wanted {
            _ if guests.min(connections) <= slots => connections,
            // Each connection may be one of a guest, and each of those has to find its slot.
            None => slots,
            Some(_) => bail!(
                "the plan asks for {} instances at once, and vm.max_map_count leaves room for \
                 {slots}: raise it with `sysctl -w vm.max_map_count={}`, or lower \
                 limits.connections",
                guests.min(connections),
                guests.min(connections) * slot.mappings() + OWN_MAPPINGS
            ),
        };
        let instances = guests.min(connections);
        let spare = if slot.takes_several() {
            (slots - instances.min(slots)).min(SPARE)
        } else {
            0
        };
        let files = descriptors.saturating_sub(connections);
        if files < opens {
            bail!(
                "the limit on open files leaves room for {files} files beside {connections} \
                 connections, and a guest with directories or a network may open {opens}: raise the \
                 limit, or lower limits.connections of [host]"
            );
        }
        let connections = u32::try_from(connections).ok().and_then(NonZeroU32::new);
        Ok(Self {
            connections: connections
                .context("the limits of this machine leave room for no connection")?,
            instances: u32::try_from(instances).unwrap_or(u32::MAX),
            spare: u32::try_from(spare).unwrap_or(u32::MAX),
            // More than the semaphore that counts them can hold is as good as no limit.
            files: u32::try_from(files).unwrap_or(u32::MAX).min(1 << 28),
        })
    }

    /// Whether all of it fits beside what this process has mapped already, of which another pool may be a part.
    ///
    /// # Errors
    /// When it does not; the error says what to do.
    pub fn fits_beside(&self, slot: &Slot) -> anyhow::Result<()> {
        const MAPS: &str = "/proc/self/maps";
        let maps = std::fs::read_to_string(MAPS).with_context(|| format!("cannot read {MAPS}"))?;
        let there = maps.lines().count() as u64;
        let wanted = u64::from(self.instances + self.spare) * slot.mappings();
        let all = mappings()?;
        if there + wanted > all {
            bail!(
                "the new plan needs a pool of its own, with {wanted} mappings beside the {there} that are \
                 there, and vm.max_map_count is {all}: raise it, or have another host take the place of this \
                 one, with `portcullis run --upgrade`"
            );
        }
        Ok(())
    }

    /// The pool of its instances.
    pub fn pool(&self, slot: Slot) -> Pool {
        Pool {
            slot,
            instances: self.instances,
            spare: self.spare,
        }
    }
}

/// Descriptors that the instances of one connection may open.
fn opens(guest: &GuestJob) -> u32 {
    let files = if guest.dirs.is_empty() { 0 } else { FILES };
    let sockets = if guest.network.is_empty() { 0 } else { SOCKETS };
    files + sockets
}

/// How many descriptors this process may open, after asking for all it may have.
fn descriptors() -> anyhow::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the limit on files")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the limit on files")?;
    Ok(hard)
}

/// How many mappings a process may have.
fn mappings() -> anyhow::Result<u64> {
    const SYSCTL: &str = "/proc/sys/vm/max_map_count";
    let text = std::fs::read_to_string(SYSCTL).with_context(|| format!("cannot read {SYSCTL}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{SYSCTL} holds no number"))
}
