//! Core modules: WASI preview 1 programs, as C, Zig, Go and Rust make them. A module that imports
//! `sock_accept` finds a listener with its connection behind it, any other its connection as stdin
//! and stdout.

use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use wasmtime::{ExternType, InstancePre, Linker, ModuleExport, Store};

use super::NotStarted;
use super::watch::{Time, watch};
use crate::connection::{Connection, Local};
use crate::engine::{Budget, Compiler, Engine, Faults, Metered, Overrun, begins_within};
use crate::outcome::Outcome;
use crate::plan::{GuestJob, GuestLimits};
use crate::preopen::args::Strings;
use crate::preopen::dirs::Dirs;
use crate::preopen::env::{Facts, Variables};
use crate::preopen::guest::{Finish, Given, Guest};
use crate::preopen::{Style, add_to_linker};
use crate::shutdown::Drain;
use crate::wasm::{PREVIEW1, Wasm};

/// A loaded module: compiled, its imports resolved, its directories open.
pub struct Module {
    engine: Engine,
    pre: InstancePre<Guest>,
    start: ModuleExport,
    style: Style,
    trigger: Arc<str>,
    args: Strings,
    env: Variables,
    dirs: Dirs,
    limits: GuestLimits,
    faults: Faults,
}

impl Module {
    /// Compiles and links `wasm`.
    ///
    /// # Errors
    /// When it does not compile, is no program, imports what the host lacks, or starts out larger
    /// than its memory limit; or when a directory cannot be opened.
    pub fn load(
        compiler: &Compiler,
        wasm: &Wasm,
        trigger: &Arc<str>,
        job: &GuestJob,
    ) -> anyhow::Result<Self> {
        let limits = begins_within(wasm, &job.limits)?;
        only_for_components(job)?;
        let engine = compiler.engine();
        let module = compiler.module(wasm, &job.path)?;
        let style = style(wasm);
        let start = program(&module)?;
        let mut linker = Linker::new(engine.wasmtime());
        let memory = module.get_export_index("memory");
        let memory = memory.context("it exports no memory")?;
        add_to_linker(&mut linker, memory).map_err(anyhow::Error::from)?;
        let pre = linker
            .instantiate_pre(&module)
            .map_err(|first| missing(&module, first))?;
        Ok(Self {
            engine: engine.clone(),
            pre,
            start,
            style,
            trigger: trigger.clone(),
            args: Strings::new(super::args(job)),
            env: job.env.clone(),
            dirs: Dirs::open(&job.dirs)?,
            limits,
            faults: Faults::new(engine, trigger, wasm, job.path.clone()),
        })
    }

    /// How its instances find their connection.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Descriptors of the host that each of its instances may open.
    pub fn files(&self) -> u32 {
        self.dirs.files()
    }

    /// What each of its instances may use.
    pub fn limits(&self) -> &GuestLimits {
        &self.limits
    }

    /// What its instances are told when their connections arrive at `local`.
    pub fn facts(&self, local: &Local) -> Facts {
        Facts::new(&self.trigger, &self.env, self.style, local)
    }

    /// Serves one connection with one fresh instance.
    pub async fn run(
        self: Arc<Self>,
        connection: Connection,
        facts: Arc<Facts>,
        drain: Drain,
    ) -> Outcome {
        let Connection {
            id,
            peer,
            stream,
            meter,
            permits,
            ..
        } = connection;
        let time = Time::of_guest(&self.limits, &stream);
        let mut store = self.engine.store(Guest::new(Given {
            style: self.style,
            args: self.args.clone(),
            env: facts.block.clone(),
            peer,
            dirs: &self.dirs,
            trigger: self.trigger.clone(),
            id,
            stream,
            meter: meter.clone(),
            budget: Budget::new(&self.limits, meter.clone()),
        }));
        let ended = {
            let call = pin!(self.call(&mut store));
            tokio::select! {
                biased;
                ended = meter.run(call) => Ok(ended),
                outcome = watch(time, &meter, &drain) => Err(outcome),
            }
        };
        let (outcome, fault) = match ended {
            Ok(ended) => {
                let outcome = outcome(&ended, store.data_mut());
                let error = ended.err().filter(|_| outcome.is_fault());
                (outcome, error.and_then(|error| self.faults.note(id, error)))
            }
            Err(outcome) => (outcome, None),
        };
        // The socket is closed and the slot of the instance free before the place is given back.
        let Some(fault) = fault else {
            drop(store);
            drop(permits);
            return outcome;
        };
        let fault = Box::pin(fault.dump(store)).await;
        drop(permits);
        Box::pin(fault.tell()).await;
        outcome
    }

    async fn call(&self, store: &mut Store<Guest>) -> wasmtime::Result<()> {
        // Boxed, since it is large and soon over, and the call that follows may wait for hours.
        let instance = Box::pin(self.pre.instantiate_async(&mut *store)).await;
        let instance = instance.map_err(|error| error.context(NotStarted))?;
        let start = instance
            .get_module_export(&mut *store, &self.start)
            .and_then(wasmtime::Extern::into_func)
            .ok_or_else(|| wasmtime::format_err!("the module exports no _start"))?;
        start.typed::<(), ()>(&*store)?.call_async(store, ()).await
    }
}

/// What the end of the program means.
fn outcome(ended: &wasmtime::Result<()>, guest: &mut Guest) -> Outcome {
    let failure = match (guest.finish(), ended) {
        (Some(Finish::Served | Finish::Exit(0)), _) | (None, Ok(())) => return Outcome::Done,
        (Some(Finish::Exit(status)), _) => Outcome::Exit(status),
        (None, Err(error)) => super::trap(error),
    };
    if let Some(way) = guest.budget().exceeded() {
        return Outcome::Bytes(way);
    }
    let hangup = guest.hangup();
    match guest.budget().overrun() {
        Some(Overrun::Cpu) => Outcome::Cpu,
        Some(Overrun::Memory) => Outcome::Memory,
        None if hangup => Outcome::Hangup,
        None => failure,
    }
}

/// Refuses what preview 1 has no way to give.
fn only_for_components(job: &GuestJob) -> anyhow::Result<()> {
    let given = [
        ("network", !job.network.is_empty()),
        ("config", !job.config.is_empty()),
    ];
    for (key, given) in given {
        if given {
            bail!(
                "it is a core module, and WASI preview 1 has no way to use `{key}`: build it as a \
                 component, or leave `{key}` out"
            );
        }
    }
    Ok(())
}

/// How the module wants its connection: one that can accept, does.
fn style(wasm: &Wasm) -> Style {
    if wasm.takes_preview1("sock_accept") {
        Style::Socket
    } else {
        Style::Stdio
    }
}

/// Where the program starts.
fn program(module: &wasmtime::Module) -> anyhow::Result<ModuleExport> {
    if !matches!(module.get_export("memory"), Some(ExternType::Memory(_))) {
        bail!("it exports no memory, so it is no WASI program");
    }
    match module.get_export("_start") {
        Some(ExternType::Func(start)) if start.params().len() + start.results().len() == 0 => {}
        _ if module.get_export("_initialize").is_some() => bail!(
            "it is a library (a WASI reactor, with _initialize) and not a program with _start; \
             build it as a program, in Rust with a main function and no crate-type"
        ),
        _ => bail!("it exports no function _start, so it is no WASI program"),
    }
    module
        .get_export_index("_start")
        .context("it exports no function _start")
}

/// The error that names every import the host lacks, given the one that names the first.
fn missing(module: &wasmtime::Module, first: wasmtime::Error) -> anyhow::Error {
    let lacking: Vec<String> = module
        .imports()
        .filter(|import| import.module() != PREVIEW1)
        .map(|import| format!("{}.{}", import.module(), import.name()))
        .collect();
    if lacking.is_empty() {
        return anyhow::Error::from(first).context("its imports do not fit this host's");
    }
    anyhow::anyhow!("it imports what this host lacks: {}", lacking.join(", "))
}
