//! The host confines itself: before it has read a guest or a client, and before it has a second thread, it becomes
//! the user of its plan, gives up every way to more rights, and can touch no more than its plan names. When all is
//! loaded, nobody can have its spawner start anything else.

mod landlock;
mod privileges;
pub mod reach;
mod remover;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tracing::warn;

use crate::connection::Local;
use crate::engine::{self, Cache, Coredumps};
use crate::listener::{Bound, Inherited};
use crate::plan::{Confine, Plan};
use crate::seccomp;
use crate::spawner::{self, Ids};
use landlock::Enforced;
pub use privileges::wanted as identity;
use reach::{Beyond, Reach};
use remover::{Paths, Remover};

/// What a host has confined itself to.
#[derive(Debug)]
pub struct Confinement {
    reach: Reach,
    /// The path of its control socket, which is where it was at the start.
    control: Option<PathBuf>,
    /// Whether the kernel holds it to that.
    holds: bool,
    /// Who it has become.
    ids: Option<Ids>,
    /// Of unix paths that only who it was can remove.
    remover: Option<Remover>,
    /// What the kernel does not do.
    lacking: Vec<String>,
}

/// Confines this process to the plan in the trigger file at `file`, with its control socket, which is at `control`. A host
/// that is to be somebody else, `ids`, binds first, into `inherited`, what that one could not.
///
/// To be called when the spawner is forked and there is no second thread.
///
/// # Errors
/// When it cannot become the user of the plan, or `sandbox = "required"` and the kernel does not do all of it.
pub fn enter(
    plan: &Plan,
    file: &Path,
    ids: Option<Ids>,
    control: Option<(&Path, Option<&Bound>)>,
    inherited: &mut Inherited,
) -> anyhow::Result<Confinement> {
    let mut remover = None;
    if ids.is_some() || plan.confine == Confine::Required {
        // A process that is hidden has no access to it.
        privileges::opening(engine::open_pagemap).context("capset")?;
    }
    if let Some(ids) = &ids {
        for trigger in &plan.triggers {
            for address in &trigger.listen {
                inherited.bind_ahead(&trigger.name, address, &trigger.socket);
            }
        }
        let mut paths = Paths {
            control: control.map(|(path, _)| path.to_owned()),
            owner: ids.uid,
            ..Paths::default()
        };
        let control = control.and_then(|(_, bound)| bound);
        for bound in inherited.ahead().chain(control) {
            match &*bound.local {
                Local::Unix(path) if bound.is_of_predecessor() => paths.others.push(path.clone()),
                Local::Unix(path) => paths.own.push(path.clone()),
                _ => {}
            }
        }
        remover = Remover::start(&paths).context("cannot fork a process for unix paths")?;
        privileges::take_no_more().context("cannot give up the way to more rights")?;
        privileges::become_user(ids).context("cannot become the user of [host]")?;
    }
    let mut confinement = Confinement {
        reach: Reach::of(plan, file, control.map(|(path, _)| path)),
        control: control.map(|(path, _)| path.to_owned()),
        holds: false,
        ids,
        remover,
        lacking: Vec::new(),
    };
    if plan.confine == Confine::Off {
        return Ok(confinement);
    }
    // Made now, in case they are missing. What is wrong with them is told when they are used.
    let _ = Cache::open(&plan.cache);
    let _ = plan.coredumps.as_ref().map(Coredumps::open);
    let reach = &confinement.reach;
    privileges::take_no_more().context("cannot give up the way to more rights")?;
    let mut lacks = |what: &str, why: &str| confinement.lacking.push(format!("{what}: {why}"));
    match landlock::enforce(reach) {
        Ok(Enforced::Whole) => confinement.holds = true,
        Ok(Enforced::Part) => {
            confinement.holds = true;
            lacks(
                "files",
                "this kernel's Landlock knows a part of the rules only",
            );
        }
        Ok(Enforced::None) => lacks("files", "this kernel has no Landlock"),
        Err(error) => lacks("files", &error.to_string()),
    }
    if let Err(error) = seccomp::confine_host() {
        lacks("system calls", &error.to_string());
    }
    if plan.confine == Confine::Required && !confinement.lacking.is_empty() {
        bail!(
            "cannot confine the host as `sandbox = \"required\"` of [host] asks: {}; use a newer kernel, or \"auto\"",
            confinement.lacking.join("; ")
        );
    }
    Ok(confinement)
}

impl Confinement {
    /// Warns of what the kernel does not do.
    pub fn tell(&self) {
        for what in &self.lacking {
            let reason = format!("the host is not confined as it could be: {what}");
            warn!(reason, "start");
        }
    }

    /// All jobs are loaded: where nothing new may come, the spawner takes none any more. Where the host has become
    /// somebody else, it gives up its rights, too, unless a job needs them.
    ///
    /// # Errors
    /// When the spawner is gone, or cannot do it.
    pub fn close(&self, spawner: &spawner::Handle) -> anyhow::Result<()> {
        if !self.reach.is_settled() {
            return Ok(());
        }
        spawner
            .seal(self.ids.as_ref())
            .context("cannot confine the spawner")?;
        privileges::hide()
    }

    /// The host has taken the place of the one whose unix paths it was handed.
    pub fn take_paths(&self) {
        if let Some(remover) = &self.remover {
            remover.take();
        }
    }

    /// Another host has taken the place of this one, its control socket, too, or is to have its listeners alone.
    pub fn leave_paths(&self, control: bool) {
        match &self.remover {
            Some(remover) if control => remover.leave(),
            Some(remover) => remover.leave_listeners(),
            None => {}
        }
    }

    /// This host listens nowhere any more.
    pub fn finish(&self) {
        if let Some(remover) = &self.remover {
            remover.finish();
        }
    }

    /// Whether this host can serve another plan, which is in the same file.
    ///
    /// # Errors
    /// What it can no longer do.
    pub fn covers(&self, plan: &Plan, file: &Path) -> Result<(), Beyond> {
        let wanted = Reach::of(plan, file, self.control.as_deref());
        self.reach.covers(&wanted, self.holds)
    }
}
