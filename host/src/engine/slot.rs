//! What each instance gets of the pool, whichever guest it is of: the most that any guest of the plan
//! needs, since the slots of a pool are all alike. Small slots lie close together, so that an instance
//! takes fewer page tables and, where it can, fewer mappings of the host.

use super::budget::{TABLE, TABLES};
use crate::plan::{GuestLimits, Job, Plan};
use crate::wasm::{Guests, Wasm, World};

/// A page of linear memory.
const PAGE: u64 = 64 << 10;

/// Bytes that a memory may begin with that are copied into each instance. More are mapped from a file
/// in memory, and copied where they are written.
const COPIED: usize = 4 << 10;

/// What one instance gets.
#[allow(
    clippy::struct_excessive_bools,
    reason = "what any guest of a plan needs, each by itself"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Bytes of linear memory.
    pub(super) memory: u64,
    /// Bytes of stack of the guest's functions.
    pub(super) stack: u64,
    /// Tables.
    pub(super) tables: u32,
    /// Elements of each.
    pub(super) elements: usize,
    /// Whether any guest's memory begins with much.
    pub(super) image: bool,
    /// Whether all memories begin as large as a slot. They lie side by side then, and the checks that
    /// are compiled into the code need no unmapped pages to help them.
    pub(super) full: bool,
    /// Whether any guest speaks WASI 0.3. Every instance of a host that has one pays a little for it.
    pub(super) concurrent: bool,
    /// Whether any takes more instances than it has connections.
    several: bool,
}

impl Slot {
    /// For the guests of `plan`. One that could not be read needs nothing: it is told of when it is
    /// loaded.
    pub fn of(plan: &Plan, guests: &Guests) -> Self {
        Self::new(
            plan.triggers
                .iter()
                .filter_map(|trigger| match &trigger.job {
                    Job::Guest { guest, .. } => {
                        let wasm = guests.get(&guest.path).ok()?;
                        Some((&**wasm, guest.limits.memory, guest.limits.stack))
                    }
                    Job::Native(_) => None,
                }),
        )
    }

    /// For one guest with this much memory.
    pub fn of_one(wasm: &Wasm, memory: u64) -> Self {
        Self::new([(wasm, memory, GuestLimits::STACK)].into_iter())
    }

    /// For guests with these limits of memory and stack.
    fn new<'a>(guests: impl Iterator<Item = (&'a Wasm, u64, u64)> + Clone) -> Self {
        let memory = guests.clone().map(|(_, memory, _)| memory).max();
        let memory = memory.unwrap_or_default().next_multiple_of(PAGE);
        let stack = guests.clone().map(|(_, _, stack)| stack).max();
        let mut slot = Self {
            memory,
            stack: stack.unwrap_or(GuestLimits::STACK),
            tables: 1,
            elements: 1,
            image: false,
            full: true,
            concurrent: false,
            several: false,
        };
        for (wasm, ..) in guests {
            let tables = u32::try_from(wasm.tables.len()).unwrap_or(u32::MAX);
            slot.tables = slot.tables.max(tables).min(TABLES);
            for table in &wasm.tables {
                let most = table.maximum.map(|most| most.max(table.initial));
                let most = most.and_then(|most| usize::try_from(most).ok());
                slot.elements = slot.elements.max(most.unwrap_or(TABLE).min(TABLE));
            }
            slot.image |= wasm.data > COPIED;
            slot.full &= wasm.memories == [memory];
            slot.concurrent |= wasm.is_concurrent();
            slot.several |= World::of(&wasm.exports).is_ok_and(|world| world == World::Http2);
        }
        slot
    }

    /// Whether guests that need `other` can have this.
    pub(super) fn does_for(&self, other: &Self) -> bool {
        let memory = if self.full {
            // Where memories lie side by side, each is just as large.
            other.full && self.memory == other.memory
        } else {
            self.memory >= other.memory
        };
        memory
            && self.stack >= other.stack
            && self.tables >= other.tables
            && self.elements >= other.elements
            && self.image >= other.image
            && self.concurrent >= other.concurrent
    }

    /// Whether any guest takes more instances than it has connections.
    pub fn takes_several(&self) -> bool {
        self.several
    }

    /// Mappings of the host that one instance takes: two for its stack, which are made at the start,
    /// and those of its memory, which come when it is first used: what can be used and what cannot,
    /// unless it lies beside its like; and two more when an image is mapped into its middle.
    pub fn mappings(&self) -> u64 {
        match (self.full, self.image) {
            (true, false) => 2,
            (true, true) | (false, false) => 4,
            (false, true) => 6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wasm::Table;

    /// A guest whose one memory begins with this many pages.
    fn guest(pages: u64) -> Wasm {
        let mut wasm = Wasm::new(b"\0asm\x01\0\0\0".to_vec()).unwrap();
        wasm.memories = vec![pages * PAGE];
        wasm
    }

    #[test]
    fn memories_lie_side_by_side_only_when_none_can_grow() {
        let (two, three) = (guest(2), guest(3));
        assert!(Slot::of_one(&two, 2 * PAGE).full);
        assert!(!Slot::of_one(&two, 3 * PAGE).full);
        let both = [(&two, 3 * PAGE, 0), (&three, 3 * PAGE, 0)];
        assert!(!Slot::new(both.into_iter()).full);
        assert!(Slot::new(both[1..].iter().copied()).full);
    }

    #[test]
    fn a_slot_does_for_what_needs_less_and_not_for_what_needs_more() {
        let small = Slot::of_one(&guest(1), 4 * PAGE);
        let large = Slot::of_one(&guest(2), 8 * PAGE);
        assert!(large.does_for(&small) && large.does_for(&large));
        assert!(!small.does_for(&large));
        // Those that lie side by side have no room to grow.
        let full = Slot::of_one(&guest(4), 4 * PAGE);
        assert!(full.does_for(&full) && large.does_for(&full));
        assert!(!full.does_for(&small));
    }

    #[test]
    fn a_table_has_what_its_guest_says_and_a_bound_where_it_says_nothing() {
        let mut wasm = guest(1);
        let table = |initial, maximum| Table { initial, maximum };
        wasm.tables = vec![table(3, Some(5)), table(7, Some(2))];
        assert_eq!(Slot::of_one(&wasm, PAGE).elements, 7);
        wasm.tables.push(table(1, None));
        assert_eq!(Slot::of_one(&wasm, PAGE).elements, TABLE);
        wasm.tables.push(table(1, Some(u64::MAX)));
        assert_eq!(Slot::of_one(&wasm, PAGE).elements, TABLE);
    }

    #[test]
    fn what_begins_with_much_takes_more_mappings() {
        let mut wasm = guest(2);
        assert_eq!(Slot::of_one(&wasm, 2 * PAGE).mappings(), 2);
        assert_eq!(Slot::of_one(&wasm, 4 * PAGE).mappings(), 4);
        wasm.data = COPIED + 1;
        assert_eq!(Slot::of_one(&wasm, 2 * PAGE).mappings(), 4);
        assert_eq!(Slot::of_one(&wasm, 4 * PAGE).mappings(), 6);
    }
}
