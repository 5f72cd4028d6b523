//! The numbers of a trigger. They go on when a reload changes its handler, and are told in the log when
//! it accepts nothing more.

use std::ops::Deref;
use std::sync::Arc;

use tracing::info;

use crate::limits::{Counters, Refusal};

pub(super) struct Numbers {
    trigger: Arc<str>,
    counters: Counters,
}

impl Numbers {
    /// None so far.
    pub fn new(trigger: Arc<str>) -> Self {
        Self {
            trigger,
            counters: Counters::default(),
        }
    }
}

impl Deref for Numbers {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.counters
    }
}

impl Drop for Numbers {
    fn drop(&mut self) {
        let Self { trigger, counters } = self;
        let refused = |why| Some(counters.refused(why)).filter(|count| *count > 0);
        let pauses = Some(counters.pauses()).filter(|count| *count > 0);
        info!(
            %trigger,
            accepted = counters.accepted(),
            denied = refused(Refusal::Denied),
            time = refused(Refusal::Time),
            per_source = refused(Refusal::PerSource),
            source_rate = refused(Refusal::SourceRate),
            rate = refused(Refusal::Rate),
            pauses,
            "drain"
        );
    }
}
