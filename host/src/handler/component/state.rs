//! What all instances of one component are given, and the state of one of them: its context, its table
//! of handles and its budget.

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_config::{WasiConfig, WasiConfigVariables};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::connection::Peer;
use crate::engine::{Budget, Engine, Fault, Faults, Metered};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::output::{Channel, Lines};
use crate::plan::GuestLimits;
use crate::preopen::dirs::{Dirs, Files, Opening};
use crate::preopen::env::{Facts, Variables};
use crate::preopen::network::{Held, Network, Networked, Outbound, Outlet};
use crate::preopen::stderr::Log;
use crate::preopen::told::{Informed, Told};
use crate::preopen::wire::Connected;

/// Random bytes of one call, which nothing can interrupt.
const RANDOM: u64 = 1 << 20;

/// Handles that an instance may have of any kind, those of resources, streams and futures of its own
/// included: each is memory of the host, which `limits.memory` does not count.
const ALL_HANDLES: usize = 10_000;

/// Bytes that an instance may hand to the host in one call.
const HANDED_OVER: usize = 2 << 20;

/// Bytes of the headers of one request or answer, with what the host adds to keep them.
const HEADERS: usize = 64 * 1024;

/// What every instance of one component gets.
pub struct Gift {
    pub engine: Engine,
    pub trigger: Arc<str>,
    pub args: Arc<[String]>,
    pub env: Variables,
    pub dirs: Dirs,
    pub network: Network,
    pub config: Arc<WasiConfigVariables>,
    pub limits: GuestLimits,
    /// What they are ended by.
    pub faults: Faults,
    /// What one instance may hold at once: files, streams, pollables, bodies and sockets.
    pub handles: usize,
}

/// What the instances that serve one connection say in the log.
pub struct Said {
    stdout: Lines,
    stderr: Lines,
}

/// Where the stdin and stdout of an instance lead.
pub enum Stdio {
    /// To the client.
    Connection(Connected),
    /// Nowhere, and to the log.
    Log,
}

/// The state of one instance.
pub struct State {
    told: Told,
    context: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
    held: Held,
    files: Files,
    config: Arc<WasiConfigVariables>,
    table: ResourceTable,
    budget: Budget,
}

impl Gift {
    /// For those that serve the connection with this `id`.
    pub fn said(&self, id: u64) -> Said {
        let lines = |channel| Lines::new(self.trigger.clone(), id, channel);
        Said {
            stdout: lines(Channel::Stdout),
            stderr: lines(Channel::Stderr),
        }
    }

    /// What the instances of a connection are told.
    pub fn told(&self, facts: Arc<Facts>, peer: Peer) -> Told {
        Told {
            facts,
            peer,
            args: self.args.clone(),
        }
    }

    /// What ended an instance of the connection `id` in this way, if that is to be told.
    pub fn fault(&self, id: u64, ended: wasmtime::Result<i32>, outcome: &Outcome) -> Option<Fault> {
        let error = ended.err().filter(|_| outcome.is_fault())?;
        self.faults.note(id, error)
    }

    /// A store for one instance that goes out by its `outlet`, its time on the processor counted by
    /// `meter`.
    pub fn store(
        &self,
        told: Told,
        stdio: Stdio,
        outlet: Outlet,
        said: &Said,
        meter: &Arc<Meter>,
    ) -> Store<State> {
        let mut context = WasiCtxBuilder::new();
        context
            .stderr(Log::new(said.stderr.another()))
            .max_random_size(RANDOM);
        outlet.give(&mut context);
        match stdio {
            Stdio::Connection(wire) => context.stdin(wire.clone()).stdout(wire),
            Stdio::Log => context.stdout(Log::new(said.stdout.another())),
        };
        let mut context = context.build();
        self.dirs.give(&mut context);
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.handles);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(HEADERS);
        let mut store = self.engine.store(State {
            told,
            context,
            http,
            outbound: Outbound::new(outlet),
            held: Held::default(),
            files: Files::default(),
            config: self.config.clone(),
            table,
            budget: Budget::new(&self.limits, meter.clone()),
        });
        store.set_max_component_handles(ALL_HANDLES);
        store.set_hostcall_fuel(HANDED_OVER);
        if let Some(concurrent) = store.concurrent_resource_table() {
            concurrent.set_max_capacity(ALL_HANDLES);
        }
        store
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

impl Opening for State {
    fn files(&mut self) -> &mut Files {
        &mut self.files
    }
}

impl Informed for State {
    fn told(&self) -> &Told {
        &self.told
    }
}

impl Networked for State {
    fn outlet(&self) -> &Outlet {
        self.outbound.outlet()
    }

    fn held(&mut self) -> &mut Held {
        &mut self.held
    }
}

impl State {
    /// Its settings.
    pub fn config(&mut self) -> WasiConfig<'_> {
        WasiConfig::new(&self.config)
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.outbound,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

impl Metered for State {
    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }
}
