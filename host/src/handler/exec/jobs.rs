//! The native jobs of a plan, each ready when its handler is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{Exec, LoadError};
use crate::plan::{Job, NativeJob, Plan, Trigger};
use crate::spawner;

/// Loads native jobs, or has loaded them.
#[derive(Debug)]
pub struct Jobs {
    spawner: spawner::Handle,
    /// By their triggers.
    loaded: Mutex<HashMap<String, Result<Exec, LoadError>>>,
}

impl Jobs {
    /// Each is loaded when it is asked for.
    pub fn on_demand(spawner: spawner::Handle) -> Self {
        let loaded = Mutex::default();
        Self { spawner, loaded }
    }

    /// All that a plan may have to start are loaded now, fallbacks of guests, too: before a guest is read, so that the
    /// spawner need take none afterwards. What is wrong with one is told when it is asked for.
    pub fn at_hand(plan: &Plan, spawner: spawner::Handle) -> Self {
        let jobs = plan.triggers.iter().filter_map(|trigger| {
            let (Job::Native(job)
            | Job::Guest {
                fallback: Some(job),
                ..
            }) = &trigger.job
            else {
                return None;
            };
            let exec = Exec::load(job, &trigger.name, &spawner);
            Some((trigger.name.to_string(), exec))
        });
        let loaded = Mutex::new(jobs.collect());
        Self { spawner, loaded }
    }

    /// That of `trigger`.
    ///
    /// # Errors
    /// What the trigger file's author has to mend.
    pub fn load(&self, trigger: &Trigger, job: &NativeJob) -> Result<Exec, LoadError> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let at_hand = loaded.remove(&*trigger.name);
        drop(loaded);
        at_hand.unwrap_or_else(|| Exec::load(job, &trigger.name, &self.spawner))
    }
}
