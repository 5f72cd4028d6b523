//! The pool of memory that instances come from, sized from the plan, and the settings of the engine
//! that has it. Some of them decide what machine code looks like, so that code which was compiled for
//! one engine may not fit another.

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::budget::TABLE;
use crate::plan::{GuestLimits, Job, Plan};
use crate::wasm::{Guests, Wasm, World};

/// Bytes of stack of one instance, of which the guest itself gets the larger part.
const STACK: usize = 1 << 20;
const GUEST_STACK: usize = 512 << 10;

/// Bytes that stay in a slot for the next instance instead of going back to the kernel: about what
/// a small guest touches.
const KEEP_MEMORY: usize = 1 << 20;
const KEEP_TABLE: usize = 64 << 10;

/// Tables, and core modules, of one guest at most: more than the toolchains make of one program. A
/// guest that took more than its share would leave another without.
const TABLES: u32 = 16;
const CORE_INSTANCES: u32 = 32;

/// How many instances there may be, and of what kind.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Instances at once: one for each connection.
    pub instances: u32,
    /// Instances beside these, for HTTP requests that are served at once on one connection.
    pub spare: u32,
    /// Bytes of linear memory of the largest one.
    pub memory: u64,
    /// Tables of the one that has most. Each is memory that stays once it was used, so there are no
    /// more than are needed.
    pub tables: u32,
    /// Whether any speaks WASI 0.3. Every instance of a host that has one pays a little for it.
    pub concurrent: bool,
}

impl Pool {
    /// Room for as many `instances` of the guests of `plan`. One that could not be read takes none: it
    /// is told of when it is loaded.
    pub fn of(plan: &Plan, guests: &Guests, instances: u32, spare: u32) -> Self {
        let guests = plan
            .triggers
            .iter()
            .filter_map(|trigger| match &trigger.job {
                Job::Guest { guest, .. } => {
                    let wasm = guests.get(&guest.path).ok()?;
                    Some((&**wasm, guest.limits.memory))
                }
                Job::Native(_) => None,
            });
        Self::new(instances, spare, guests)
    }

    /// Room for as many `instances` of these guests, each with its limit of memory, and for what is
    /// `spare` where it can be of use.
    pub fn new<'a>(
        instances: u32,
        spare: u32,
        guests: impl Iterator<Item = (&'a Wasm, u64)>,
    ) -> Self {
        let mut pool = Self {
            instances,
            spare: 0,
            memory: 0,
            tables: 1,
            concurrent: false,
        };
        for (wasm, memory) in guests {
            pool.memory = pool.memory.max(memory);
            pool.tables = pool.tables.max(wasm.tables).min(TABLES);
            pool.concurrent |= wasm.is_concurrent();
            if World::of(&wasm.exports).is_ok_and(|world| world == World::Http2) {
                pool.spare = spare;
            }
        }
        pool
    }
}

/// Bytes of addresses that each memory has. Machine code is made for this number, so there are few of
/// them, and one that is enough for most plans: these can use the same compiled guests.
fn reservation(memory: u64) -> u64 {
    let least = memory.max(GuestLimits::MEMORY);
    least.checked_next_power_of_two().unwrap_or(least)
}

/// The settings of an engine with this pool.
pub(super) fn config(pool: Pool) -> Config {
    let instances = pool.instances.saturating_add(pool.spare);
    let mut slots = PoolingAllocationConfig::new();
    // One memory for each instance, and no spare ones: a slot that was used once keeps its mappings,
    // threads prefer slots of their own, so in time every slot is used, and `capacity` has counted
    // the mappings of one for each instance. A component may have one only.
    slots
        .max_memories_per_component(1)
        .max_tables_per_component(pool.tables)
        .max_core_instances_per_component(CORE_INSTANCES)
        .max_tables_per_module(pool.tables)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES))
        .total_component_instances(instances)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(pool.tables))
        .total_stacks(instances)
        .total_gc_heaps(instances)
        .max_memory_size(usize::try_from(pool.memory).unwrap_or(usize::MAX))
        .table_elements(TABLE)
        .linear_memory_keep_resident(KEEP_MEMORY)
        .table_keep_resident(KEEP_TABLE)
        .pagemap_scan(Enabled::Auto);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(slots))
        .memory_reservation(reservation(pool.memory))
        .memory_guard_size(64 << 10)
        .guard_before_linear_memory(false)
        .memory_may_move(false)
        .async_stack_size(STACK)
        .max_wasm_stack(GUEST_STACK)
        .epoch_interruption(true)
        .concurrency_support(pool.concurrent)
        .wasm_component_model_async(pool.concurrent);
    config
}
