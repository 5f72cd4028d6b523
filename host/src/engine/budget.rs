//! What one instance may use of memory and of time on the processor.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use wasmtime::ResourceLimiter;

use crate::meter::Meter;
use crate::outcome::Way;
use crate::plan::GuestLimits;
use crate::wasm::Wasm;

/// Elements of the largest table. Addresses only, until a guest uses them.
pub(super) const TABLE: usize = 200_000;

/// Bytes of one.
const ELEMENT: usize = size_of::<usize>();

/// Tables of one guest at most: more than the toolchains make of one program.
pub(super) const TABLES: u32 = 16;

/// Checks that a guest has room for the memory it starts out with: before it is compiled, since the
/// pool has no slot for what is larger than every limit, and its error speaks of slots. Gives its
/// limits with room for the tables it starts out with, which count only by what they grow.
///
/// # Errors
/// When a memory of it starts out larger than all it may have.
pub fn begins_within(wasm: &Wasm, limits: &GuestLimits) -> anyhow::Result<GuestLimits> {
    let words = |bytes| bytesize::ByteSize(bytes).display().iec();
    for initial in &wasm.memories {
        ensure!(
            *initial <= limits.memory,
            "it starts with {} of memory, and limits.memory is {}",
            words(*initial),
            words(limits.memory)
        );
    }
    let elements = wasm.tables.iter().map(|table| table.initial);
    let tables = elements.fold(0, u64::saturating_add);
    Ok(GuestLimits {
        memory: limits.memory + tables.min(TABLE as u64 * u64::from(TABLES)) * ELEMENT as u64,
        ..*limits
    })
}

/// What an instance may use, and which of it ran out.
#[derive(Debug)]
pub struct Budget {
    pub(super) meter: Arc<Meter>,
    pub(super) cpu: Duration,
    memory: u64,
    used: u64,
    pub(super) overrun: Option<Overrun>,
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

    /// Whether more bytes wanted to go over the connection than may, and which way.
    pub fn exceeded(&self) -> Option<Way> {
        self.meter.exceeded()
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
        let granted = desired.saturating_sub(current) * ELEMENT;
        Ok(desired <= TABLE && self.memory_growing(0, granted, None)?)
    }
}
