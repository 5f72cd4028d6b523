//! `portcullis compile`: fills the cache ahead, with what `run` will look for. Machine code depends on
//! the engine and that on the plan, so a trigger file is compiled for as a whole; a guest by itself is
//! compiled for plans that give it the usual limits.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use crate::crew;
use crate::engine::{Cache, Compiler, Engine, Origin, Pool, Progress, Slot, begins_within};
use crate::failure::Failure;
use crate::plan::{GuestJob, GuestLimits, Job, Location, Plan};
use crate::trigger::printable;
use crate::wasm::{Guests, Wasm};

/// Guests for one engine and one cache.
pub struct Batch {
    guests: Vec<Guest>,
    slot: Slot,
    cache: Location,
}

/// One of them, as it is called and as it was read.
type Guest = (PathBuf, Result<Arc<Wasm>, String>);

/// What became of one guest.
pub struct Prepared {
    /// As it is called.
    pub path: PathBuf,
    /// Where its code came from, or why there is none.
    pub done: anyhow::Result<Origin>,
}

impl Prepared {
    /// Whether its code is in the cache now.
    ///
    /// # Errors
    /// When it does not compile, or cannot be kept.
    pub fn verdict(self) -> Result<(), Failure> {
        match self.done {
            Ok(Origin::Cached | Origin::Compiled(_)) => Ok(()),
            Ok(Origin::Unkept(why)) => Err(Failure::Refused(anyhow!(why))),
            Err(error) => Err(Failure::Asked(error)),
        }
    }
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = printable(&self.path.to_string_lossy(), usize::MAX);
        match &self.done {
            Ok(Origin::Cached) => write!(f, "{path}: cached already"),
            Ok(Origin::Compiled(time)) => {
                write!(f, "{path}: compiled in {:.1} s", time.as_secs_f64())
            }
            Ok(Origin::Unkept(_)) => write!(f, "{path}: compiled, but not kept"),
            Err(_) => write!(f, "{path}: not compiled"),
        }
    }
}

impl Batch {
    /// Whether a path names triggers, and not a guest.
    pub fn names_triggers(path: &Path) -> bool {
        path.is_dir() || path.extension() == Some(OsStr::new("toml"))
    }

    /// A guest by itself, compiled as for a plan in which no guest needs more than it does.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_guest(path: &Path) -> anyhow::Result<Self> {
        let wasm = Wasm::read(path).with_context(|| format!("cannot load {}", path.display()))?;
        // One that starts with more has more in its trigger.
        let memory = wasm.memories.iter().copied().max().unwrap_or_default();
        let memory = memory.max(GuestLimits::MEMORY);
        Ok(Self {
            slot: Slot::of_one(&wasm, memory),
            guests: vec![(path.to_owned(), Ok(Arc::new(wasm)))],
            cache: Location::Usual,
        })
    }

    /// All guests of a plan, each file once.
    pub fn of_plan(plan: &Plan) -> Self {
        let read = Guests::of(plan);
        let mut guests: Vec<Guest> = Vec::new();
        for trigger in &plan.triggers {
            let Job::Guest { guest, .. } = &trigger.job else {
                continue;
            };
            if guests.iter().all(|(path, _)| *path != guest.path) {
                let wasm = ready(&read, guest).map_err(|error| {
                    let (name, path) = (&trigger.name, guest.path.display());
                    format!("trigger `{name}`: cannot load {path}: {error:#}")
                });
                guests.push((guest.path.clone(), wasm));
            }
        }
        Self {
            slot: Slot::of(plan, &read),
            guests,
            cache: plan.cache.clone(),
        }
    }

    /// Compiles those that are not in the cache yet.
    ///
    /// # Errors
    /// When there is no cache to put them in, or no engine. That a guest does not compile is said of
    /// the guest.
    pub fn prepare(self, progress: Progress) -> anyhow::Result<Vec<Prepared>> {
        let Some(cache) = Cache::open(&self.cache)? else {
            bail!(
                "there is no cache to put compiled guests in; name a folder by `cache` in [host], or \
                 in the environment by CACHE_DIRECTORY, XDG_CACHE_HOME or HOME"
            );
        };
        let compiler = Compiler::new(
            Engine::new(&Pool::of_one(self.slot), None)?,
            Some(cache),
            progress,
        );
        let done = crew::all(&self.guests, |(path, wasm)| match wasm {
            Ok(wasm) => compiler
                .prepare(wasm, path)
                .with_context(|| format!("cannot load {}", path.display())),
            Err(error) => Err(anyhow!("{error}")),
        });
        compiler.sweep();
        let paths = self.guests.into_iter().map(|(path, _)| path);
        let prepared = paths.zip(done).map(|(path, done)| Prepared { path, done });
        Ok(prepared.collect())
    }
}

/// The guest of a trigger, if it can run within its limits.
fn ready(guests: &Guests, guest: &GuestJob) -> anyhow::Result<Arc<Wasm>> {
    let wasm = guests.get(&guest.path)?;
    begins_within(wasm, &guest.limits)?;
    Ok(wasm.clone())
}
