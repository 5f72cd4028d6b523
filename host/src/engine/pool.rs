//! The pool of slots that instances come from, and the settings of the engine that has it. Some of
//! them decide what machine code looks like, so that code which was compiled for one engine may not
//! fit another.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::Slot;
use crate::plan::GuestLimits;

/// Bytes of a stack for the host's own functions, which run on it when the guest calls them, and for
/// the unmapped page below it.
const HOST_STACK: u64 = 256 << 10;
const STACK_GUARD: u64 = 4 << 10;

/// Bytes that stay in a slot for the next instance instead of going back to the kernel: about what
/// a small guest touches.
const KEEP_MEMORY: usize = 1 << 20;
const KEEP_TABLE: usize = 64 << 10;

/// Core modules of one guest at most: more than the toolchains make of one program. A guest that took
/// more than its share would leave another without.
const CORE_INSTANCES: u32 = 32;

/// Bytes between two memories that are never mapped, where memories can grow.
const GUARD: u64 = 64 << 10;

/// How many instances there may be, and what each gets.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// What each gets.
    pub slot: Slot,
    /// Instances at once: one for each connection.
    pub instances: u32,
    /// Instances beside these, for HTTP requests that are served at once on one connection.
    pub spare: u32,
}

impl Pool {
    /// Room for one instance.
    pub fn of_one(slot: Slot) -> Self {
        Self {
            slot,
            instances: 1,
            spare: 0,
        }
    }

    /// Whether an engine with this pool does for what needs `other`.
    pub fn does_for(&self, other: &Self) -> bool {
        self.instances >= other.instances
            // There is a place for some, which is all that is needed.
            && self.spare.min(1) >= other.spare.min(1)
            && self.slot.does_for(&other.slot)
    }
}

/// Bytes of addresses that each memory has. Machine code is made for this number, so there are few of
/// them, and one that is enough for most plans: these can use the same compiled guests.
fn reservation(slot: &Slot) -> u64 {
    if slot.full {
        return slot.memory;
    }
    let least = slot.memory.max(GuestLimits::MEMORY);
    least.checked_next_power_of_two().unwrap_or(least)
}

fn bytes(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The settings of an engine with this pool.
pub(super) fn config(pool: &Pool) -> Config {
    let slot = &pool.slot;
    let instances = pool.instances.saturating_add(pool.spare);
    let mut slots = PoolingAllocationConfig::new();
    // One memory for each instance, and no spare ones: a slot that was used once keeps its mappings,
    // threads prefer slots of their own, so in time every slot is used, and `capacity` has counted
    // the mappings of one for each instance. A component may have one only.
    slots
        .max_memories_per_component(1)
        .max_tables_per_component(slot.tables)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_tables_per_module(slot.tables)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_component_instances(instances)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(slot.tables))
        .total_stacks(instances)
        .total_gc_heaps(instances)
        .max_memory_size(bytes(slot.memory))
        .table_elements(slot.elements)
        .linear_memory_keep_resident(KEEP_MEMORY)
        .table_keep_resident(KEEP_TABLE)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(slots))
        .memory_reservation(reservation(slot))
        .memory_guard_size(if slot.full { 0 } else { GUARD })
        .guard_before_linear_memory(false)
        .memory_may_move(false)
        .memory_init_cow(slot.image)
        .async_stack_size(bytes(slot.stack + HOST_STACK - STACK_GUARD))
        .max_wasm_stack(bytes(slot.stack))
        .epoch_interruption(true)
        .concurrency_support(slot.concurrent)
        .wasm_component_model_async(slot.concurrent);
    config
}
