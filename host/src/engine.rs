//! The wasmtime engine: one for the whole host, with its pool of memory sized from the plan, and
//! stores whose instances are held to their memory and their time on the processor.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use wasmtime::component::Component;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, Module, PoolingAllocationConfig, ResourceLimiter,
    Store, UpdateDeadline,
};

use crate::meter::Meter;
use crate::plan::GuestLimits;
use crate::wasm::{Wasm, World};

/// How often a running guest is looked at: the grain of its time limit and of its turns.
const TICK: Duration = Duration::from_millis(10);

/// Bytes of stack of one instance, of which the guest itself gets the larger part.
const STACK: usize = 1 << 20;
const GUEST_STACK: usize = 512 << 10;

/// Bytes that stay in a slot for the next instance instead of going back to the kernel: about what
/// a small guest touches.
const KEEP_MEMORY: usize = 1 << 20;
const KEEP_TABLE: usize = 64 << 10;

/// Elements of the largest table. Addresses only, until a guest uses them.
const TABLE: usize = 200_000;

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

/// Compiles guests and runs their instances.
#[derive(Clone)]
pub struct Engine {
    wasmtime: wasmtime::Engine,
    /// How many guests may compute for long at once.
    passes: Arc<Semaphore>,
    spare: Arc<Semaphore>,
}

impl Engine {
    /// An engine with room for `pool`. Its clock ticks as long as it lives.
    ///
    /// # Errors
    /// When the system does not give the address space or the mappings the pool takes.
    pub fn new(pool: Pool) -> anyhow::Result<Self> {
        let engine = wasmtime::Engine::new(&config(pool)).map_err(anyhow::Error::from);
        let engine = engine.with_context(|| {
            format!(
                "cannot reserve memory for {} instances of up to {} MiB; lower limits.connections \
                 or limits.memory, or raise the sysctl vm.max_map_count",
                pool.instances,
                pool.memory >> 20
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
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Ok(Self {
            wasmtime: engine,
            passes: Arc::new(Semaphore::new((processors - 1).max(1))),
            spare: Arc::new(Semaphore::new(pool.spare as usize)),
        })
    }

    /// Compiles a core module.
    ///
    /// # Errors
    /// When it is not valid, or uses what this host does not offer.
    pub fn module(&self, wasm: &Wasm) -> anyhow::Result<Module> {
        let module = Module::new(&self.wasmtime, &wasm.bytes);
        module
            .map_err(anyhow::Error::from)
            .context("it does not compile")
    }

    /// Compiles a component.
    ///
    /// # Errors
    /// When it is not valid, or uses what this host does not offer.
    pub fn component(&self, wasm: &Wasm) -> anyhow::Result<Component> {
        let component = Component::new(&self.wasmtime, &wasm.bytes);
        component
            .map_err(anyhow::Error::from)
            .context("it does not compile")
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
        let passes = self.passes.clone();
        store.epoch_deadline_callback(move |mut store| {
            let budget = store.data_mut().budget();
            if budget.meter.cpu() < budget.cpu {
                if budget.meter.turn() < TICK {
                    // The tick came while it waited.
                    return Ok(UpdateDeadline::Continue(1));
                }
                // Guests that compute for long queue for themselves, and leave one processor to
                // all others: many of them delay a neighbour no more than one does.
                let (meter, passes) = (budget.meter.clone(), passes.clone());
                let turn = Box::pin(async move { meter.queue(passes).await });
                return Ok(UpdateDeadline::YieldCustom(1, turn));
            }
            budget.overrun = Some(Overrun::Cpu);
            Err(wasmtime::format_err!(
                "the guest has used up its time on the processor"
            ))
        });
        store
    }
}

fn config(pool: Pool) -> Config {
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
        .memory_reservation(pool.memory.next_multiple_of(64 << 10))
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

/// Checks that a guest has room for the memory it starts out with: before it is compiled, since the
/// pool has no slot for what is larger than every limit, and its error speaks of slots.
///
/// # Errors
/// When a memory of it starts out larger than all it may have.
pub fn begins_within(wasm: &Wasm, limits: &GuestLimits) -> anyhow::Result<()> {
    let words = |bytes| bytesize::ByteSize(bytes).display().iec();
    for initial in &wasm.memories {
        ensure!(
            *initial <= limits.memory,
            "it starts with {} of memory, and limits.memory is {}",
            words(*initial),
            words(limits.memory)
        );
    }
    Ok(())
}

/// What an instance may use, and which of it ran out.
#[derive(Debug)]
pub struct Budget {
    meter: Arc<Meter>,
    cpu: Duration,
    memory: u64,
    used: u64,
    overrun: Option<Overrun>,
}

/// What an instance wanted more of than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overrun {
    /// More linear memory than `limits.memory`.
    Memory,
    /// More time on the processor than `limits.cpu`.
    Cpu,
}

/// A store's state that carries its budget.
pub trait Metered {
    /// Its own.
    fn budget(&mut self) -> &mut Budget;
}

impl Budget {
    /// A whole one, its time counted by `meter`.
    pub fn new(limits: &GuestLimits, meter: Arc<Meter>) -> Self {
        Self {
            meter,
            cpu: limits.cpu,
            memory: limits.memory,
            used: 0,
            overrun: None,
        }
    }

    /// What ran out, if anything did.
    pub fn overrun(&self) -> Option<Overrun> {
        self.overrun
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self
            .used
            .saturating_add((desired.saturating_sub(current)) as u64);
        let granted = wanted <= self.memory;
        if granted {
            self.used = wanted;
        } else {
            // The guest is told; whether it can go on without is its own affair.
            self.overrun = Some(Overrun::Memory);
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // A table takes memory of the host, and counts like the guest's own.
        let granted = desired.saturating_sub(current) * size_of::<usize>();
        Ok(desired <= TABLE && self.memory_growing(0, granted, None)?)
    }
}
