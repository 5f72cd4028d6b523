//! Components that export `wasi:cli/run`: their stdin and stdout are the connection. All of WASI
//! 0.2 is linked, since toolchains import much that a program never calls; what a trigger does not
//! give is refused when it is called.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use wasmtime::Store;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use super::NotStarted;
use super::watch::{Time, watch};
use crate::connection::{Connection, Local};
use crate::engine::{Budget, Engine, Metered, Overrun, begins_within};
use crate::outcome::Outcome;
use crate::output::{Channel, Lines};
use crate::plan::{GuestJob, GuestLimits};
use crate::preopen::Style;
use crate::preopen::dirs::{Dirs, FILES, guard_open_at};
use crate::preopen::env::{self, Facts, Variables};
use crate::preopen::stderr::Log;
use crate::preopen::stdio::Connected;
use crate::shutdown::Drain;

/// What a component has to export to be served.
const RUN: &str = "wasi:cli/run@0.2";

/// What one instance may hold: streams, pollables, and files, each of which is a descriptor of the
/// host.
const HANDLES: usize = FILES as usize;

/// Random bytes of one call, which nothing can interrupt.
const RANDOM: u64 = 1 << 20;

/// A loaded component.
pub struct Component {
    engine: Engine,
    pre: CommandPre<State>,
    trigger: Arc<str>,
    args: Vec<String>,
    env: Variables,
    dirs: Dirs,
    limits: GuestLimits,
}

/// One instance.
struct State {
    context: WasiCtx,
    table: ResourceTable,
    budget: Budget,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.context,
            table: &mut self.table,
        }
    }
}

impl Metered for State {
    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }
}

impl Component {
    /// Compiles and links `wasm`.
    ///
    /// # Errors
    /// When it does not compile, exports nothing that can be served, imports what the host lacks, or
    /// starts out larger than its memory limit; or when a directory cannot be opened.
    pub fn load(
        engine: &Engine,
        wasm: &[u8],
        trigger: &Arc<str>,
        job: &GuestJob,
    ) -> anyhow::Result<Self> {
        begins_within(wasm, &job.limits)?;
        let component = wasmtime::component::Component::new(engine.wasmtime(), wasm)
            .map_err(anyhow::Error::from)
            .context("it does not compile")?;
        let exports = exports(engine, &component);
        if !exports.iter().any(|export| export.starts_with(RUN)) {
            bail!(
                "it exports nothing that can serve a connection: wanted is {RUN}.x, and it exports \
                 {}",
                if exports.is_empty() {
                    "nothing".to_owned()
                } else {
                    exports.join(", ")
                }
            );
        }
        let mut linker = Linker::new(engine.wasmtime());
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)
            .and_then(|()| guard_open_at(&mut linker))
            .map_err(anyhow::Error::from)?;
        let pre = linker
            .instantiate_pre(&component)
            .and_then(CommandPre::new)
            .map_err(anyhow::Error::from)
            .context("it imports what this host lacks")?;
        Ok(Self {
            engine: engine.clone(),
            pre,
            trigger: trigger.clone(),
            args: super::args(job),
            env: job.env.clone(),
            dirs: Dirs::open(&job.dirs)?,
            limits: job.limits,
        })
    }

    /// Descriptors of the host that each of its instances may open.
    pub fn files(&self) -> u32 {
        self.dirs.files()
    }

    /// What its instances are told when their connections arrive at `local`.
    pub fn facts(&self, local: &Local) -> Facts {
        Facts::new(&self.trigger, &self.env, Style::Stdio, local)
    }

    /// Serves one connection with one fresh instance.
    pub async fn run(&self, connection: Connection, facts: &Facts, drain: &Drain) -> Outcome {
        let remote = env::remote(&connection);
        let Connection {
            id,
            stream,
            meter,
            permits,
            ..
        } = connection;
        let wire = Connected::new(stream, meter.clone());
        let mut context = WasiCtxBuilder::new();
        context
            .args(&self.args)
            .envs(&facts.variables)
            .envs(&remote)
            .stdin(wire.clone())
            .stdout(wire.clone())
            .stderr(Log::new(Lines::new(
                self.trigger.clone(),
                id,
                Channel::Stderr,
            )))
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(RANDOM);
        let mut context = context.build();
        self.dirs.give(&mut context);
        let budget = Budget::new(&self.limits, meter.clone());
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        let mut store = self.engine.store(State {
            context,
            table,
            budget,
        });
        let time = Time {
            deadline: Some(self.limits.deadline),
            idle: Some(self.limits.idle),
        };
        let ended = tokio::select! {
            biased;
            ended = meter.run(wire.sending(self.call(&mut store, &wire))) => Ok(ended),
            outcome = watch(time, &meter, drain) => Err(outcome),
        };
        let outcome = match ended {
            Ok(ended) => outcome(ended, &wire, store.data_mut()),
            Err(outcome) => outcome,
        };
        drop(store);
        drop(wire);
        drop(permits);
        outcome
    }

    async fn call(&self, store: &mut Store<State>, wire: &Connected) -> wasmtime::Result<i32> {
        let command = self.pre.instantiate_async(&mut *store).await;
        let command = command.map_err(|error| error.context(NotStarted))?;
        let ended = match command.wasi_cli_run().call_run(&mut *store).await {
            Ok(Ok(())) => Ok(0),
            Ok(Err(())) => Ok(1),
            Err(error) => match error.downcast_ref::<I32Exit>() {
                Some(I32Exit(status)) => Ok(*status),
                None => Err(error),
            },
        };
        wire.finish().await;
        ended
    }
}

/// What the end of the program means.
fn outcome(ended: wasmtime::Result<i32>, wire: &Connected, state: &mut State) -> Outcome {
    let failure = match ended {
        Ok(0) => return Outcome::Done,
        Ok(status) => Outcome::Exit(status),
        Err(error) => super::trap(&error),
    };
    match state.budget.overrun() {
        Some(Overrun::Cpu) => Outcome::Cpu,
        Some(Overrun::Memory) => Outcome::Memory,
        None if wire.hangup() => Outcome::Hangup,
        None => failure,
    }
}

/// The names of what a component exports.
fn exports(engine: &Engine, component: &wasmtime::component::Component) -> Vec<String> {
    let all = component.component_type();
    all.exports(engine.wasmtime())
        .map(|(name, _)| name.to_owned())
        .collect()
}
