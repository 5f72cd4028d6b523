//! What a new plan changes of the one that is served, found out before anything is touched: which handlers
//! go on as they are, and which listeners only change hands.

use std::fmt;

use crate::plan::{Address, Job, Trigger};
use crate::wasm::{Digest, Guests};

/// A trigger, and what was in its guest's file when it was loaded.
#[derive(Clone, Debug)]
pub struct Known {
    /// As planned.
    pub trigger: Trigger,
    /// `None`: it has no guest, or one that could not be read.
    pub guest: Option<Digest>,
}

/// What becomes of one trigger of the new plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The trigger of that name in the old plan, by its place there.
    pub before: Option<usize>,
    /// Whether its handler is the same, and goes on.
    pub same: bool,
    /// For each of its addresses: the listener that is there already. `None`: it has to be bound.
    pub listeners: Vec<Option<OldListener>>,
}

/// A listener of the old plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldListener {
    /// The trigger, by its place in the plan.
    pub trigger: usize,
    /// The address, by its place in the trigger.
    pub address: usize,
}

impl Known {
    /// A trigger whose guest is one of `guests`, if it has one.
    pub fn new(trigger: &Trigger, guests: &Guests) -> Self {
        let guest = match &trigger.job {
            Job::Guest { guest, .. } => guests.get(&guest.path).ok().map(|wasm| wasm.digest),
            Job::Native(_) => None,
        };
        Self {
            trigger: trigger.clone(),
            guest,
        }
    }

    /// Whether what serves `other` may serve this. Where they listen is another matter.
    fn serves(&self, other: &Self, engine_stays: bool) -> bool {
        let native = matches!(self.trigger.job, Job::Native(_));
        (engine_stays || native)
            && self.trigger.job == other.trigger.job
            && self.guest == other.guest
    }
}

/// How many triggers a reload concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// That there were not.
    pub added: usize,
    /// Whose handlers are other ones.
    pub changed: usize,
    /// That there are no more.
    pub removed: usize,
    /// Whose handlers go on.
    pub kept: usize,
}

impl Tally {
    /// That of these changes of a plan with so many triggers.
    pub fn of<'a>(old: usize, changes: impl Iterator<Item = &'a Change>) -> Self {
        let mut tally = Self {
            added: 0,
            changed: 0,
            removed: old,
            kept: 0,
        };
        for change in changes {
            match change.before {
                None => tally.added += 1,
                Some(_) if change.same => tally.kept += 1,
                Some(_) => tally.changed += 1,
            }
            tally.removed -= usize::from(change.before.is_some());
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            added,
            changed,
            removed,
            kept,
        } = self;
        write!(
            f,
            "triggers: {added} added, {changed} changed, {removed} removed, {kept} as before"
        )
    }
}

/// What becomes of each trigger of `new` where `old` is served. Guests are loaded anew unless the engine
/// stays.
pub fn changes(old: &[Known], new: &[Known], engine_stays: bool) -> Vec<Change> {
    // Two listeners on port 0 are as good as one another, but each is had once.
    let mut left: Vec<(OldListener, &Trigger)> = Vec::new();
    for (trigger, known) in old.iter().enumerate() {
        let places =
            (0..known.trigger.listen.len()).map(|address| OldListener { trigger, address });
        left.extend(places.map(|place| (place, &known.trigger)));
    }
    let mut claim = |trigger: &Trigger, address: &Address| {
        let there = |(place, of): &(OldListener, &Trigger)| {
            of.listen[place.address] == *address
                && (address.is_certain() || of.name == trigger.name)
        };
        let found = left.iter().position(there)?;
        Some(left.swap_remove(found).0)
    };
    let of = |known: &Known| {
        let trigger = &known.trigger;
        let same_name = |other: &Known| other.trigger.name == trigger.name;
        let before = old.iter().position(same_name);
        let addresses = trigger.listen.iter();
        Change {
            before,
            same: before.is_some_and(|before| old[before].serves(known, engine_stays)),
            listeners: addresses.map(|address| claim(trigger, address)).collect(),
        }
    };
    new.iter().map(of).collect()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::plan::Plan;
    use crate::trigger::Source;

    fn known(text: &str) -> Vec<Known> {
        let source = Source::new("triggers.toml", "/", text);
        let plan = Plan::of(vec![source]).unwrap();
        let known = |trigger| Known::new(trigger, &Guests::default());
        plan.triggers.iter().map(known).collect()
    }

    const fn place(trigger: usize, address: usize) -> OldListener {
        OldListener { trigger, address }
    }

    const TWO: &str = r#"
        [trigger.a]
        listen = ["127.0.0.1:1", "127.0.0.1:0"]
        script = "a"
        [trigger.b]
        listen = "unix:@b"
        wasm = "b"
    "#;

    #[test]
    fn the_same_plan_changes_nothing() {
        let found = changes(&known(TWO), &known(TWO), true);
        assert!(found.iter().all(|change| change.same));
        assert_eq!(found[0].listeners, [Some(place(0, 0)), Some(place(0, 1))]);
        assert_eq!(found[1].listeners, [Some(place(1, 0))]);
    }

    #[test]
    fn without_the_engine_every_guest_is_loaded_anew_and_no_job_is() {
        let found = changes(&known(TWO), &known(TWO), false);
        assert!(found[0].same && !found[1].same);
        assert_eq!(found[1].listeners, [Some(place(1, 0))]);
    }

    #[test]
    fn a_file_that_was_replaced_changes_its_trigger_alone() {
        let mut new = known(TWO);
        new[1].guest = Some(blake3::hash(b"other"));
        let found = changes(&known(TWO), &new, true);
        assert!(found[0].same && !found[1].same);
        assert_eq!(found[1].before, Some(1));
    }

    #[test]
    fn an_address_that_moves_to_another_trigger_keeps_its_listener() {
        let new = r#"
            [trigger.c]
            listen = ["127.0.0.1:1", "127.0.0.1:2"]
            script = "a"
            [trigger.a]
            listen = "unix:@b"
            script = "a"
        "#;
        let found = changes(&known(TWO), &known(new), true);
        assert_eq!(found[0].before, None);
        assert_eq!(found[0].listeners, [Some(place(0, 0)), None]);
        assert_eq!(found[1].before, Some(0));
        assert!(found[1].same, "where it listens is another matter");
        assert_eq!(found[1].listeners, [Some(place(1, 0))]);
    }

    #[test]
    fn a_port_that_the_system_chose_stays_with_its_trigger_and_is_had_once() {
        let new = r#"
            [trigger.b]
            listen = "127.0.0.1:0"
            wasm = "b"
            [trigger.a]
            listen = ["127.0.0.1:0", "127.0.0.1:0"]
            script = "a"
        "#;
        let found = changes(&known(TWO), &known(new), true);
        assert_eq!(found[0].listeners, [None]);
        assert_eq!(found[1].listeners, [Some(place(0, 1)), None]);
    }

    #[test]
    fn to_begin_with_everything_is_new() {
        let found = changes(&[], &known(TWO), true);
        assert!(
            found
                .iter()
                .all(|change| change.before.is_none() && !change.same)
        );
        assert!(
            found
                .iter()
                .all(|change| change.listeners.iter().all(Option::is_none))
        );
    }
}
