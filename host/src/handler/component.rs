//! Components. What one exports decides how it finds its connections: as bytes, by our typed world or
//! as stdin and stdout, or as HTTP requests. All of WASI is linked, since toolchains import much that a
//! program never calls; what a trigger does not give is refused when it is called.

mod bytes;
mod http;
mod state;

use std::sync::Arc;

use anyhow::Context as _;
use wasmtime::component::Linker;
use wasmtime_wasi::I32Exit;

use super::NotStarted;
use crate::connection::{Connection, Local};
use crate::engine::{Budget, Compiler, Engine, Faults, Overrun, begins_within};
use crate::outcome::Outcome;
use crate::plan::{GuestJob, GuestLimits};
use crate::preopen::dirs::{Dirs, FILES};
use crate::preopen::env::Facts;
use crate::preopen::network::{self, Network};
use crate::preopen::{Style, bridge, dirs, requests, told};
use crate::shutdown::Drain;
use crate::wasm::{Wasm, World};
use state::{Gift, State};

/// Handles of an instance that can list no directory: each listing of WASI 0.2 is a handle, and as large as
/// the directory.
const HANDLES: usize = 1024;

/// Handles of one that can. It has enough of them for its files, their streams and what waits for those, so
/// that one more file is an error of WASI's.
const WITH_FILES: usize = 4 * FILES as usize;

/// A loaded component.
pub struct Component {
    world: World,
    entry: Entry,
    gift: Gift,
}

/// Where its instances are entered.
enum Entry {
    Bytes(bytes::Entry),
    Http(http::Entry),
}

impl Component {
    /// Compiles and links `wasm`.
    ///
    /// # Errors
    /// When it does not compile, exports nothing that can be served, imports what the host lacks, or
    /// starts out larger than its memory limit; or when a directory cannot be opened, or a name that it
    /// may reach cannot be looked up.
    pub fn load(
        compiler: &Compiler,
        wasm: &Wasm,
        trigger: &Arc<str>,
        job: &GuestJob,
    ) -> anyhow::Result<Self> {
        let limits = begins_within(wasm, &job.limits)?;
        let world = World::of(&wasm.exports)?;
        let engine = compiler.engine();
        let component = compiler.component(wasm, &job.path)?;
        let linker = linker(engine, wasm.is_concurrent()).map_err(anyhow::Error::from)?;
        let pre = linker.instantiate_pre(&component);
        let entry = pre.and_then(|pre| {
            Ok(match world {
                World::Handler => Entry::Bytes(bytes::Entry::handler(pre)?),
                World::AsyncHandler => Entry::Bytes(bytes::Entry::async_handler(pre)?),
                World::Run2 => Entry::Bytes(bytes::Entry::run2(pre)?),
                World::Run3 => Entry::Bytes(bytes::Entry::run3(pre)?),
                World::Http2 => Entry::Http(http::Entry::request(pre)?),
                World::Http3 => Entry::Http(http::Entry::connection(pre)?),
            })
        });
        let entry = entry.map_err(anyhow::Error::from);
        let entry = entry.context("it imports what this host lacks")?;
        let dirs = Dirs::open(&job.dirs)?;
        let network = Network::open(&job.network)?;
        let gift = Gift {
            engine: engine.clone(),
            trigger: trigger.clone(),
            args: super::args(job).into(),
            env: job.env.clone(),
            handles: if dirs.files() == 0 {
                HANDLES
            } else {
                WITH_FILES
            },
            dirs,
            network,
            faults: Faults::new(engine, trigger, wasm, job.path.clone()),
            config: Arc::new(job.config.iter().cloned().collect()),
            limits,
        };
        Ok(Self { world, entry, gift })
    }

    /// How it takes its connections.
    pub fn world(&self) -> World {
        self.world
    }

    /// Descriptors of the host that the instances of one connection may open.
    pub fn files(&self) -> u32 {
        self.gift.dirs.files() + self.gift.network.files()
    }

    /// What each of its instances may use.
    pub fn limits(&self) -> &GuestLimits {
        &self.gift.limits
    }

    /// What its instances are told when their connections arrive at `local`.
    pub fn facts(&self, local: &Local) -> Facts {
        Facts::new(&self.gift.trigger, &self.gift.env, Style::Stdio, local)
    }

    /// Serves one connection with a fresh instance, or a fresh one for each of its requests.
    pub async fn run(
        self: Arc<Self>,
        connection: Connection,
        facts: Arc<Facts>,
        drain: Drain,
    ) -> Outcome {
        match &self.entry {
            Entry::Bytes(entry) => entry.run(&self.gift, connection, facts, &drain).await,
            // Boxed, since it is much the larger.
            Entry::Http(entry) => Box::pin(entry.run(&self.gift, connection, facts, &drain)).await,
        }
    }
}

/// All that a component may import.
fn linker(engine: &Engine, concurrent: bool) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine.wasmtime());
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    told::answer(&mut linker, told::ENVIRONMENT)?;
    bridge::add_to_linker(&mut linker)?;
    dirs::guard_open_at(&mut linker)?;
    requests::guard(&mut linker)?;
    network::answer_lookups(&mut linker)?;
    network::count_sockets(&mut linker)?;
    wasmtime_wasi_config::add_to_linker(&mut linker, State::config)?;
    if concurrent {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
        told::answer(&mut linker, told::ENVIRONMENT_3)?;
        bridge::streams::add_to_linker(&mut linker)?;
        dirs::guard_open_at_3(&mut linker)?;
        dirs::read_directory_3(&mut linker)?;
        requests::guard_3(&mut linker)?;
        network::answer_lookups_3(&mut linker)?;
        network::count_sockets_3(&mut linker)?;
    }
    Ok(linker)
}

/// What the end of an instance means: the status it ended with, or why it did not come to that.
fn outcome(ended: &wasmtime::Result<i32>, hangup: bool, budget: &Budget) -> Outcome {
    let exited = |error: &wasmtime::Error| error.downcast_ref().map(|I32Exit(status)| *status);
    let failure = match ended {
        Ok(0) => return Outcome::Done,
        Ok(status) => Outcome::Exit(*status),
        Err(error) => match exited(error) {
            Some(0) => return Outcome::Done,
            Some(status) => Outcome::Exit(status),
            None => super::trap(error),
        },
    };
    if let Some(way) = budget.exceeded() {
        return Outcome::Bytes(way);
    }
    match budget.overrun() {
        Some(Overrun::Cpu) => Outcome::Cpu,
        Some(Overrun::Memory) => Outcome::Memory,
        None if hangup => Outcome::Hangup,
        None => failure,
    }
}

/// Marks what kept an instance from coming to run.
fn not_started(error: wasmtime::Error) -> wasmtime::Error {
    error.context(NotStarted)
}
