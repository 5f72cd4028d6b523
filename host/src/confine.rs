//! The host confines itself: before it has read a guest or a client, and before it has a second thread, it becomes
//! the user of its plan, gives up every way to more rights, and can touch no more than its plan names. When all is
//! loaded, nobody can have its spawner start anything else.

mod landlock;
mod privileges;
pub mod reach;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tracing::warn;

use crate::control;
use crate::engine::{Cache, Coredumps};
use crate::listener::Inherited;
use crate::plan::{Address, Confine, Plan};
use crate::seccomp;
use crate::spawner::{self, Ids};
use reach::{Beyond, Reach};

/// What a host has confined itself to.
#[derive(Debug)]
pub struct Confinement {
    reach: Reach,
    /// Whether it holds.
    enforced: bool,
    /// Who it has become.
    ids: Option<Ids>,
    /// Unix paths that only who it was can remove.
    paths: Vec<PathBuf>,
    /// What the kernel does not do.
    lacking: Vec<String>,
}

/// Confines this process to the plan in the trigger file at `file`. A host that is to be somebody else binds first, into
/// `inherited`, what that one could not.
///
/// To be called when the spawner is forked and there is no second thread.
///
/// # Errors
/// When it cannot become the user of the plan, or `sandbox = "required"` and the kernel does not do all of it.
pub fn enter(plan: &Plan, file: &Path, inherited: &mut Inherited) -> anyhow::Result<Confinement> {
    let ids = privileges::wanted(plan)?;
    let mut paths = Vec::new();
    if let Some(ids) = &ids {
        for trigger in &plan.triggers {
            for address in &trigger.listen {
                inherited.bind_ahead(&trigger.name, address, &trigger.socket);
                if let Address::Unix(path) = address {
                    paths.push(path.clone());
                }
            }
        }
        privileges::take_no_more().context("cannot give up the way to more rights")?;
        privileges::become_user(ids).context("cannot become the user of [host]")?;
    }
    let mut confinement = Confinement {
        reach: Reach::of(plan, file),
        enforced: plan.confine != Confine::Off,
        ids,
        paths,
        lacking: Vec::new(),
    };
    if !confinement.enforced {
        return Ok(confinement);
    }
    // Made now, in case they are missing. What is wrong with them is told when they are used.
    let _ = Cache::open(&plan.cache);
    let _ = plan.coredumps.as_ref().map(Coredumps::open);
    if let Some(folder) = control::place(&plan.control, file)
        .as_deref()
        .and_then(Path::parent)
    {
        let _ = DirBuilder::new().mode(0o700).create(folder);
    }
    let reach = &confinement.reach;
    privileges::take_no_more().context("cannot give up the way to more rights")?;
    let mut lacks = |what: &str, why: String| confinement.lacking.push(format!("{what}: {why}"));
    match landlock::enforce(reach) {
        Ok(None) => {}
        Ok(Some(why)) => lacks("files", why),
        Err(error) => lacks("files", error.to_string()),
    }
    if let Err(error) = seccomp::confine_host() {
        lacks("system calls", error.to_string());
    }
    if plan.confine == Confine::Required && !confinement.lacking.is_empty() {
        bail!(
            "sandbox = \"required\" in [host]: {}",
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

    /// Ends the time of loading: where nothing new may come, the spawner takes no job any more. Where the host has
    /// become somebody else, it gives up its rights, too, unless a job needs them, or a unix path that is to be removed.
    ///
    /// # Errors
    /// When the spawner is gone, or cannot do it.
    pub fn close(&self, spawner: &spawner::Handle) -> anyhow::Result<()> {
        if !self.reach.is_settled() {
            return Ok(());
        }
        spawner
            .seal(self.ids.as_ref(), &self.paths)
            .context("cannot confine the spawner")?;
        privileges::hide()
    }

    /// Whether this host can serve another plan, which is in the same file.
    ///
    /// # Errors
    /// What it can no longer do.
    pub fn covers(&self, plan: &Plan, file: &Path) -> Result<(), Beyond> {
        let wanted = Reach::of(plan, file);
        if self.enforced {
            self.reach.covers(&wanted)
        } else {
            self.reach.is_of_the_same_host(&wanted)
        }
    }
}
