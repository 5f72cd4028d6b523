//! The wasmtime engine: one for the whole host, with its pool of memory sized from the plan, and
//! stores whose instances are held to their memory and their time on the processor. What they run
//! comes from the compiler, which keeps on disk what it made.

mod budget;
mod cache;
mod compiler;
mod coredumps;
mod fault;
mod folder;
mod pool;
mod progress;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use wasmtime::{Store, UpdateDeadline};

use crate::plan;

pub use budget::{Budget, Metered, Overrun, begins_within};
pub use cache::Cache;
pub use compiler::{Compiler, Origin};
pub use coredumps::Coredumps;
pub use fault::{Fault, Faults};
pub use pool::Pool;
pub use progress::Progress;
pub use slot::Slot;

/// How often a running guest is looked at: the grain of its time limit and of its turns.
const TICK: Duration = Duration::from_millis(10);

/// Runs instances of guests.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    spare: Arc<Semaphore>,
    coredumps: Option<Arc<Coredumps>>,
}

/// Opens what tells which pages a guest has written, so that a slot is made empty quickly. wasmtime does that with the first
/// pool of a process and keeps it; where it cannot, it does without.
pub fn open_pagemap() {
    let mut slots = wasmtime::PoolingAllocationConfig::new();
    slots
        .total_component_instances(1)
        .total_core_instances(1)
        .total_memories(1)
        .total_tables(1)
        .total_stacks(1)
        .total_gc_heaps(1)
        .max_memory_size(1 << 16)
        .pagemap_scan(wasmtime::Enabled::Auto);
    let mut config = wasmtime::Config::new();
    config
        .allocation_strategy(wasmtime::InstanceAllocationStrategy::Pooling(slots))
        .memory_reservation(1 << 16)
        .memory_guard_size(0);
    // What is wrong with it will be with the real one.
    let _ = wasmtime::Engine::new(&config);
}

impl Engine {
    /// An engine with room for `pool`, whose instances leave `coredumps`. Its clock ticks as long as it
    /// lives.
    ///
    /// # Errors
    /// When the system does not give the address space or the mappings the pool takes, or the folder for
    /// core dumps cannot be had.
    pub fn new(pool: &Pool, coredumps: Option<&plan::Coredumps>) -> anyhow::Result<Self> {
        let coredumps = coredumps.map(Coredumps::open).transpose()?;
        let mut config = pool::config(pool);
        // For all guests or none: at each end by force the stack is walked once more for it.
        config.coredump_on_trap(coredumps.is_some());
        let engine = wasmtime::Engine::new(&config).map_err(anyhow::Error::from);
        let engine = engine.with_context(|| {
            format!(
                "cannot reserve memory for {} instances of up to {} MiB; lower limits.connections \
                 or limits.memory, or raise the sysctl vm.max_map_count",
                pool.instances,
                pool.slot.memory >> 20
            )
        })?;
        let clock = engine.weak();
        std::thread::Builder::new()
            .name("epoch".to_owned())
            .spawn(move || {
                while let Some(engine) = clock.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    std::thread::sleep(TICK);
                }
            })
            .context("cannot start the epoch thread")?;
        Ok(Self {
            wasmtime: engine,
            spare: Arc::new(Semaphore::new(pool.spare as usize)),
            coredumps: coredumps.map(Arc::new),
        })
    }

    /// Waits for room for one more instance than there are connections.
    ///
    /// # Errors
    /// Never: the semaphore is not closed.
    pub async fn spare(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.spare.acquire().await
    }

    /// wasmtime's own.
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// A store for one instance, which looks at its budget at every tick it runs.
    pub fn store<T: Metered + Send + 'static>(&self, state: T) -> Store<T> {
        let mut store = Store::new(&self.wasmtime, state);
        store.limiter(|state| state.budget());
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut store| {
            let budget = store.data_mut().budget();
            if budget.exceeded().is_some() {
                wasmtime::bail!("more bytes wanted to go over the connection than may");
            }
            if budget.meter.cpu() < budget.cpu {
                // Whoever runs this connection may now take it to where long turns delay nobody.
                return Ok(if budget.meter.overstays(TICK, TICK / 4) {
                    UpdateDeadline::Yield(1)
                } else {
                    UpdateDeadline::Continue(1)
                });
            }
            budget.overrun = Some(Overrun::Cpu);
            Err(wasmtime::format_err!(
                "the guest has used up its time on the processor"
            ))
        });
        store
    }
}
