//! `portcullis check`: loads what would serve each trigger, binds nothing, and says what it found.

pub mod security;

use anyhow::ensure;
use tokio::runtime::Handle;

use crate::crew;
use crate::engine::Compiler;
use crate::handler::exec::Jobs;
use crate::handler::{Handler, Loaded};
use crate::plan::{Plan, describe};
use crate::wasm::Guests;

/// A plan that was tried out.
pub struct Check {
    /// The plan in words, with what serves each trigger.
    pub report: String,
    errors: Vec<String>,
}

impl Check {
    /// Loads every handler of `plan`, whichever of them can be loaded.
    pub fn of(plan: &Plan, guests: &Guests, compiler: &Compiler, jobs: &Jobs) -> Self {
        let inside = Handle::current();
        let loaded = crew::all(&plan.triggers, |trigger| {
            let _inside = inside.enter();
            Handler::load(trigger, guests, compiler, jobs)
        });
        let mut report = describe::host(plan).to_string();
        let mut errors = Vec::new();
        for (trigger, loaded) in plan.triggers.iter().zip(loaded) {
            let serves = loaded.map_or_else(
                |error| {
                    errors.push(format!("{error:#}"));
                    "cannot be loaded".to_owned()
                },
                |Loaded { serving, fallback }| match fallback {
                    None => serving.describe().to_owned(),
                    Some(why) => format!("{}, since {why}", serving.describe()),
                },
            );
            report.push('\n');
            report += &describe::trigger(trigger, Some(&serves)).to_string();
        }
        Self { report, errors }
    }

    /// Whether every trigger can be served.
    ///
    /// # Errors
    /// What cannot be loaded, a line for each.
    pub fn verdict(self) -> anyhow::Result<()> {
        ensure!(self.errors.is_empty(), "{}", self.errors.join("\n"));
        Ok(())
    }
}
