//! Handlers: jobs that are loaded and ready. Everything that can be wrong with one is found here,
//! before anything is bound; running one gives an outcome and never an error.

pub mod component;
pub mod exec;
pub mod module;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tracing::{info, warn};

use crate::connection::{Connection, Local};
use crate::engine::Compiler;
use crate::limits::Door;
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::plan::{Admission, GuestJob, GuestLimits, Job, NativeJob, NativeStyle, Trigger};
use crate::preopen::Style;
use crate::preopen::env::{self, Facts};
use crate::shutdown::Drain;
use crate::wasm::{Guests, Kind, Wasm};
use crate::workers::Work;
use component::Component;
use exec::{Exec, Jobs};
use module::Module;
use watch::{Time, watch};

/// What serves a trigger.
pub enum Handler {
    /// A core module.
    Module(Arc<Module>),
    /// A component.
    Component(Arc<Component>),
    /// A plain executable, one process a connection.
    Exec(Arc<Exec>),
}

/// What is loaded for a trigger, and why it is this where the trigger names two.
pub struct Loaded {
    /// What serves.
    pub serving: Serving,
    /// Why the guest could not be loaded, when the fallback serves in its place.
    pub fallback: Option<String>,
}

/// Who accepts.
pub enum Serving {
    /// The host, for this handler, as far as its door lets them in.
    Accept(Handler, Door),
    /// The job, which gets the listener.
    HandOver(Exec),
}

impl Loaded {
    /// Tells the log that it is ready.
    pub fn tell(&self, trigger: &str) {
        let handler = self.serving.describe();
        if let Some(reason) = &self.fallback {
            warn!(%trigger, handler, reason, "start");
        } else {
            info!(%trigger, handler, "start");
        }
    }
}

impl Serving {
    /// What it is, in a few words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Accept(Handler::Module(module), _) => match module.style() {
                Style::Socket => "module, socket style",
                Style::Stdio => "module, stdio style",
            },
            Self::Accept(Handler::Component(component), _) => component.world().describe(),
            Self::Accept(Handler::Exec(_), _) => "native, one process a connection",
            Self::HandOver(_) => "native, the job accepts",
        }
    }
}

/// Where what a handler may take is written.
enum Limits<'a> {
    Guest(&'a GuestLimits),
    Native(&'a Exec),
}

impl Handler {
    /// Loads what is to serve `trigger`: its guest, or the fallback when that cannot be loaded.
    ///
    /// # Errors
    /// When nothing can serve; the error says what was attempted.
    pub fn load(
        trigger: &Trigger,
        guests: &Guests,
        compiler: &Compiler,
        jobs: &Jobs,
    ) -> anyhow::Result<Loaded> {
        let door = |admission: &Admission| {
            Door::of(admission)
                .with_context(|| format!("trigger `{}`: cannot say who is let in", trigger.name))
        };
        let native = |job: &NativeJob, fallback| {
            let exec = jobs
                .load(trigger, job)
                .with_context(|| format!("trigger `{}`: cannot run its job", trigger.name))?;
            let serving = match &job.style {
                NativeStyle::Connection(admission) => {
                    Serving::Accept(Self::Exec(exec.into()), door(admission)?)
                }
                NativeStyle::Listener { .. } => Serving::HandOver(exec),
            };
            Ok(Loaded { serving, fallback })
        };
        match &trigger.job {
            Job::Native(job) => native(job, None),
            Job::Guest {
                guest,
                admission,
                fallback,
            } => {
                let wasm = guests.get(&guest.path);
                let loaded =
                    wasm.and_then(|wasm| Self::guest(&trigger.name, guest, wasm, compiler));
                let loaded = loaded.with_context(|| {
                    format!(
                        "trigger `{}`: cannot load {}",
                        trigger.name,
                        guest.path.display()
                    )
                });
                match (loaded, fallback) {
                    (Ok(handler), _) => {
                        let serving = Serving::Accept(handler, door(admission)?);
                        Ok(Loaded {
                            serving,
                            fallback: None,
                        })
                    }
                    (Err(error), None) => Err(error),
                    (Err(error), Some(job)) => native(job, Some(format!("{error:#}"))),
                }
            }
        }
    }

    /// Loads a guest.
    ///
    /// # Errors
    /// When it cannot be served.
    pub fn guest(
        trigger: &Arc<str>,
        job: &GuestJob,
        wasm: &Wasm,
        compiler: &Compiler,
    ) -> anyhow::Result<Self> {
        Ok(match wasm.kind {
            Kind::Module => Self::Module(Module::load(compiler, wasm, trigger, job)?.into()),
            Kind::Component => {
                Self::Component(Component::load(compiler, wasm, trigger, job)?.into())
            }
        })
    }

    /// What serves one connection. Each kind has a box of its own size.
    pub fn run(&self, connection: Connection, facts: Arc<Facts>, drain: Drain) -> Work<Outcome> {
        match self {
            Self::Module(module) => Box::pin(module.clone().run(connection, facts, drain)),
            Self::Component(component) => Box::pin(component.clone().run(connection, facts, drain)),
            Self::Exec(exec) => {
                let exec = exec.clone();
                Box::pin(async move { native(&exec, connection, &facts, &drain).await })
            }
        }
    }

    /// Waits for what starts it for `connection`, where it waits for the first byte.
    ///
    /// # Errors
    /// Why it is not to start any more.
    pub async fn first_byte(&self, connection: &Connection, drain: &Drain) -> Result<(), Outcome> {
        let Connection { stream, meter, .. } = connection;
        let time = match self.limits() {
            Limits::Guest(limits) => Time::of_guest(limits, stream),
            Limits::Native(exec) => Time {
                deadline: exec.time_limit(),
                idle: None,
                first_byte: exec.first_byte().map(|limit| (limit, stream.ear())),
            },
        };
        watch::first_byte(stream, time, meter, drain).await
    }

    /// What counts a connection that was accepted then.
    pub fn meter(&self, since: Instant) -> Meter {
        match self.limits() {
            Limits::Guest(limits) => Meter::within(since, limits.rx, limits.tx),
            Limits::Native(_) => Meter::new(since),
        }
    }

    fn limits(&self) -> Limits<'_> {
        match self {
            Self::Module(module) => Limits::Guest(module.limits()),
            Self::Component(component) => Limits::Guest(component.limits()),
            Self::Exec(exec) => Limits::Native(exec),
        }
    }

    /// Descriptors of the host that each of its instances may open.
    pub fn files(&self) -> u32 {
        match self {
            Self::Module(module) => module.files(),
            Self::Component(component) => component.files(),
            Self::Exec(_) => 0,
        }
    }

    /// What it is told when its connections arrive at `local`.
    pub fn facts(&self, local: &Local) -> Facts {
        match self {
            Self::Module(module) => module.facts(local),
            Self::Component(component) => component.facts(local),
            Self::Exec(exec) => exec.facts(local),
        }
    }
}

/// Serves one connection with one process.
async fn native(exec: &Exec, connection: Connection, facts: &Facts, drain: &Drain) -> Outcome {
    let mut told = facts.variables.clone();
    told.extend(env::remote(&connection.peer));
    let Connection {
        id,
        stream,
        meter,
        permits,
        ..
    } = connection;
    let outcome = match stream.into_fd() {
        Ok(socket) => {
            let time = Time {
                deadline: exec.time_limit(),
                ..Time::default()
            };
            exec.run(socket, &told, id, watch(time, &meter, drain))
                .await
        }
        Err(error) => Outcome::Failed(format!("cannot hand over the connection: {error}")),
    };
    drop(permits);
    outcome
}

/// The arguments of a guest, its own name first.
fn args(job: &GuestJob) -> Vec<String> {
    let name = job
        .path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    name.into_iter().chain(job.args.iter().cloned()).collect()
}

/// Marks the error of an instance that did not come to run.
#[derive(Debug)]
struct NotStarted;

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot start an instance")
    }
}

/// What stopped a guest, on one line. One that did not come to run, and not by its own doing, was
/// failed by the host.
fn trap(error: &wasmtime::Error) -> Outcome {
    let why = error.root_cause().to_string();
    if error.is::<NotStarted>() && !error.is::<wasmtime::Trap>() {
        return Outcome::Failed(why);
    }
    Outcome::Trap(why)
}
