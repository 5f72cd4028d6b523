//! From a plan to what can be served: every handler that is new is loaded, every listener that is new is
//! bound. What is served meanwhile is not touched, and nothing is left of a plan that cannot be had whole.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tracing::warn;

use crate::capacity::Capacity;
use crate::crew;
use crate::engine::{Cache, Compiler, Engine, Pool, Progress, Slot};
use crate::failure::Failure;
use crate::handler::exec::Jobs;
use crate::handler::{Handler, Loaded};
use crate::listener::{Bound, Inherited};
use crate::plan::{Address, Coredumps, Plan};
use crate::reload::{Change, Known, Tally, changes};
use crate::wasm::Guests;

/// What is to be known of a plan as long as it is served.
pub struct Standing {
    pub(super) known: Vec<Known>,
    /// How long a drain may take.
    pub(super) grace: Duration,
    /// How long what is ended after that may take.
    pub(super) patience: Duration,
    pool: Pool,
    coredumps: Option<Coredumps>,
    compiler: Compiler,
}

/// A plan with every handler it needs.
pub struct LoadedPlan {
    standing: Arc<Standing>,
    capacity: Capacity,
    changes: Vec<Change>,
    /// For each trigger; `None`: the one that serves it already.
    handlers: Vec<Option<Loaded>>,
}

/// A plan with every handler and listener it needs.
pub struct BoundPlan {
    pub(super) standing: Arc<Standing>,
    pub(super) capacity: Capacity,
    pub(super) stages: Vec<Stage>,
}

/// What is to be served of one trigger.
pub(super) struct Stage {
    pub change: Change,
    /// `None`: the one that serves it already.
    pub handler: Option<Loaded>,
    /// For each of its addresses; empty: what listens there already.
    pub bound: Vec<Vec<Bound>>,
}

impl LoadedPlan {
    /// Loads what `plan` needs beside what there is `before` it, with the native `jobs` of it.
    ///
    /// # Errors
    /// When a handler cannot be loaded, or this machine does not carry the plan.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn of(
        plan: &Plan,
        before: Option<&Standing>,
        progress: Progress,
        jobs: &Jobs,
    ) -> Result<Self, Failure> {
        let guests = Guests::of(plan);
        let slot = Slot::of(plan, &guests);
        let capacity = Capacity::of(plan, &slot).map_err(Failure::Refused)?;
        let needed = capacity.pool(slot);
        let stays = before
            .filter(|before| before.pool.does_for(&needed) && before.coredumps == plan.coredumps);
        let cache = Cache::find(&plan.cache);
        let (pool, compiler) = if let Some(before) = stays {
            (before.pool, before.compiler.renewed(cache, &guests))
        } else {
            if before.is_some() {
                capacity.fits_beside(&slot).map_err(Failure::Refused)?;
            }
            let engine = Engine::new(&needed, plan.coredumps.as_ref()).map_err(Failure::Refused)?;
            (needed, Compiler::new(engine, cache, progress))
        };
        let known: Vec<_> = plan
            .triggers
            .iter()
            .map(|trigger| Known::new(trigger, &guests))
            .collect();
        let old = before.map_or(&[][..], |before| &before.known);
        let changes = changes(old, &known, stays.is_some());
        let inside = Handle::current();
        let work: Vec<_> = plan.triggers.iter().zip(&changes).collect();
        let handlers = crew::until_failure(&work, |(trigger, change)| {
            let _inside = inside.enter();
            let load = || Handler::load(trigger, &guests, &compiler, jobs);
            (!change.same).then(load).transpose()
        });
        compiler.sweep();
        Ok(Self {
            capacity,
            handlers: handlers.map_err(Failure::Asked)?,
            changes,
            standing: Arc::new(Standing {
                known,
                grace: plan.grace,
                patience: plan.longest_kill_timeout() + Duration::from_secs(1),
                pool,
                coredumps: plan.coredumps.clone(),
                compiler,
            }),
        })
    }

    /// Binds every listener that is new, or none.
    ///
    /// # Errors
    /// When the system refuses one.
    pub fn bind(self, inherited: &mut Inherited) -> anyhow::Result<BoundPlan> {
        let mut stages: Vec<Stage> = Vec::new();
        for ((known, change), handler) in
            (self.standing.known.iter().zip(self.changes)).zip(self.handlers)
        {
            let trigger = &known.trigger;
            let mut stage = Stage {
                change,
                handler,
                bound: Vec::new(),
            };
            for (address, there) in trigger.listen.iter().zip(&stage.change.listeners) {
                let bound = match there {
                    Some(_) => Ok(Vec::new()),
                    None => Bound::bind(&trigger.name, address, &trigger.socket, inherited),
                };
                match bound.with_context(|| format!("trigger `{}`", trigger.name)) {
                    Ok(bound) => stage.bound.push(bound),
                    Err(error) => {
                        stages.push(stage);
                        give_back(&self.standing.known, stages, inherited);
                        return Err(error);
                    }
                }
            }
            stages.push(stage);
        }
        Ok(BoundPlan {
            standing: self.standing,
            capacity: self.capacity,
            stages,
        })
    }
}

impl BoundPlan {
    /// What it changes of what is served.
    pub(super) fn tally(&self, before: &Standing) -> Tally {
        let changes = self.stages.iter().map(|stage| &stage.change);
        Tally::of(before.known.len(), changes)
    }

    /// Has the listeners that a host before this one has left.
    ///
    /// # Errors
    /// When one is gone and cannot be bound again.
    pub fn take_over(&mut self) -> anyhow::Result<()> {
        for (known, stage) in self.standing.known.iter().zip(&mut self.stages) {
            let trigger = &known.trigger;
            for bound in stage.bound.iter_mut().flatten() {
                if !bound.is_of_predecessor() {
                    continue;
                }
                let (name, address) = (&trigger.name, bound.local.clone());
                bound.take_path(&trigger.socket).with_context(|| {
                    format!("trigger `{name}`: cannot go on listening on {address}")
                })?;
                if let Err(error) = bound.adapt(&trigger.socket) {
                    let reason = format!("cannot set the options of its socket: {error:#}");
                    warn!(trigger = %name, %address, reason, "listen");
                }
            }
        }
        Ok(())
    }
}

/// Closes what was bound for nothing. What was inherited may be asked for again.
fn give_back(known: &[Known], stages: Vec<Stage>, inherited: &mut Inherited) {
    for (known, stage) in known.iter().zip(stages) {
        for (address, bound) in known.trigger.listen.iter().zip(stage.bound) {
            if let Address::Inherited(name) = address {
                let sockets = bound.into_iter().filter_map(Bound::into_socket);
                sockets.for_each(|socket| inherited.add(name.clone(), socket));
            }
        }
    }
}
