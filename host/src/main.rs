//! The command `portcullis`: read the plan, load every handler, bind every listener, serve until
//! told to stop.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser as _;
use portcullis::attempt::Attempt;
use portcullis::capacity::Capacity;
use portcullis::check::Check;
use portcullis::cli::{Cli, Command};
use portcullis::engine::{Cache, Compiler, Engine, Pool, Progress, Slot};
use portcullis::failure::Failure;
use portcullis::handler::{Handler, Loaded};
use portcullis::inspect::Profile;
use portcullis::limits::HostLimit;
use portcullis::listener::{Bound, Inherited};
use portcullis::outcome::Outcome;
use portcullis::plan::{Plan, Trigger};
use portcullis::precompile::Batch;
use portcullis::scaffold::Scaffold;
use portcullis::serve::Service;
use portcullis::shutdown::{Drained, Shutdown, Signals};
use portcullis::spawner::{self, Spawner};
use portcullis::wasm::{Guests, Wasm};
use portcullis::workers::Workers;
use portcullis::{cli, crew, log};
use sd_notify::NotifyState;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::{info, warn};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap sends help and the version to stdout, and errors to stderr.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 100 } else { 0 });
        }
    };
    let done = match &cli.command {
        Command::Run(file) => run(&cli, &file.path),
        Command::Check(file) => check(&cli, &file.path),
        Command::Try(guest) => attempt(&cli, guest),
        Command::Inspect(guest) => inspect(&guest.guest),
        Command::Compile(guests) => compile(&cli, &guests.paths),
        Command::New(guest) => begin(guest),
    };
    done.map_or_else(Failure::tell, |()| ExitCode::SUCCESS)
}

/// The plan in the trigger file at `path`.
fn plan(path: &Path) -> Result<Plan, Failure> {
    Plan::load(path).map_err(|error| Failure::Asked(error.into()))
}

/// The compiler for the guests of a plan, whose engine has room for as many instances as there may be.
fn compiler(cli: &Cli, plan: &Plan, pool: &Pool) -> Result<Compiler, Failure> {
    let engine = Engine::new(pool).map_err(Failure::Refused)?;
    Ok(Compiler::new(
        engine,
        Cache::find(&plan.cache),
        progress(cli),
    ))
}

/// How one is told that guests are being compiled: log lines in JSON are for a machine to read.
fn progress(cli: &Cli) -> Progress {
    Progress::new(cli.log_format == log::Format::Text && io::stderr().is_terminal())
}

fn run(cli: &Cli, path: &Path) -> Result<(), Failure> {
    let plan = plan(path)?;
    let inherited = Inherited::take()
        .context("cannot take the sockets of LISTEN_FDS")
        .map_err(Failure::Refused)?;
    // Forked while this process is small and has one thread.
    let spawner = spawner()?;
    let _log = log(cli)?;
    let guests = Guests::of(&plan);
    let slot = Slot::of(&plan, &guests);
    let capacity = Capacity::of(&plan, &slot).map_err(Failure::Refused)?;
    let runtime = runtime(Builder::new_current_thread())?;
    let inside = runtime.enter();
    let spawner = connect(spawner)?;
    let compiler = compiler(cli, &plan, &capacity.pool(slot))?;
    let handlers = load(&plan, &guests, &compiler, &spawner)?;
    // From here on a signal drains: what is bound is also unbound.
    let mut signals = Signals::new()
        .context("cannot handle signals")
        .map_err(Failure::Refused)?;
    let sites = bind(&plan, handlers, inherited).map_err(Failure::Refused)?;
    let (workers, threads) = Workers::start()
        .context("cannot start the threads that serve")
        .map_err(Failure::Refused)?;
    let served = serve(&plan, capacity, &spawner, &mut signals, sites, &workers);
    let served = runtime.block_on(served);
    // A file system that does not answer may hold a thread for ever; the host ends all the same.
    threads.stop(Duration::from_secs(1));
    drop(inside);
    runtime.shutdown_background();
    served.map_err(Failure::Refused)
}

/// Begins to log, until what this returns is dropped.
fn log(cli: &Cli) -> Result<log::Writer, Failure> {
    log::start(cli.log_format, cli.log_level)
        .context("cannot start the log")
        .map_err(Failure::Refused)
}

fn spawner() -> Result<Spawner, Failure> {
    Spawner::start()
        .context("cannot start the spawner")
        .map_err(Failure::Refused)
}

fn runtime(mut builder: Builder) -> Result<Runtime, Failure> {
    builder
        .enable_all()
        .build()
        .context("cannot start the runtime")
        .map_err(Failure::Refused)
}

fn connect(spawner: Spawner) -> Result<spawner::Handle, Failure> {
    spawner
        .connect()
        .context("cannot reach the spawner")
        .map_err(Failure::Refused)
}

/// Loads what is to serve each trigger.
fn load(
    plan: &Plan,
    guests: &Guests,
    compiler: &Compiler,
    spawner: &spawner::Handle,
) -> Result<Vec<Loaded>, Failure> {
    let inside = Handle::current();
    let loaded = crew::until_failure(&plan.triggers, |trigger| {
        let _inside = inside.enter();
        Handler::load(trigger, guests, compiler, spawner)
    });
    compiler.sweep();
    loaded.map_err(Failure::Asked)
}

/// A trigger with what serves it and where it listens.
struct Site<'a> {
    trigger: &'a Trigger,
    loaded: Loaded,
    listeners: Vec<Bound>,
}

/// Binds every listener of the plan, or none.
fn bind(
    plan: &Plan,
    handlers: Vec<Loaded>,
    mut inherited: Inherited,
) -> anyhow::Result<Vec<Site<'_>>> {
    let mut sites = Vec::new();
    for (trigger, loaded) in plan.triggers.iter().zip(handlers) {
        let mut listeners = Vec::new();
        for address in &trigger.listen {
            let bound = Bound::bind(address, &trigger.socket, &mut inherited)
                .with_context(|| format!("trigger `{}`", trigger.name))?;
            listeners.extend(bound);
        }
        sites.push(Site {
            trigger,
            loaded,
            listeners,
        });
    }
    for name in inherited.unclaimed() {
        warn!(name, reason = "no trigger listens on fd:NAME", "listen");
    }
    Ok(sites)
}

/// Serves until a signal comes, then drains.
async fn serve(
    plan: &Plan,
    capacity: Capacity,
    spawner: &spawner::Handle,
    signals: &mut Signals,
    sites: Vec<Site<'_>>,
    workers: &Workers,
) -> anyhow::Result<()> {
    let shutdown = Shutdown::new();
    let host = HostLimit::new(capacity.connections, capacity.files);
    let native = sites.iter().any(|site| site.loaded.serving.is_native());
    let mut ready = String::new();
    for site in sites {
        start(site, &host, &shutdown, workers, &mut ready)?;
    }
    // Whoever started this may not listen; that is no reason not to serve.
    let _ = io::stdout()
        .write_all(ready.as_bytes())
        .and_then(|()| io::stdout().flush());
    notify(NotifyState::Ready);

    let stopped = tokio::select! {
        signal = signals.next() => Ok(signal),
        () = spawner.gone(), if native => {
            Err(anyhow!("the spawner has died, so no job can be started; start the host again"))
        }
    };
    let reason = stopped
        .as_ref()
        .map_or("the spawner has died", |signal| *signal);
    info!(reason, grace_ms = plan.grace.as_millis(), "drain");
    notify(NotifyState::Stopping);
    let patience = plan.longest_kill_timeout() + Duration::from_secs(1);
    let drained = shutdown.stop(plan.grace, patience, signals).await;
    info!(cut = drained == Drained::Cut, "exit");
    stopped.map(|_| ())
}

/// Starts to serve one trigger at each of its listeners, and adds their ready lines.
fn start(
    site: Site<'_>,
    host: &HostLimit,
    shutdown: &Shutdown,
    workers: &Workers,
    ready: &mut String,
) -> anyhow::Result<()> {
    let Site {
        trigger,
        loaded: Loaded { serving, fallback },
        listeners,
    } = site;
    let name = &trigger.name;
    let handler = serving.describe();
    if let Some(reason) = fallback {
        warn!(trigger = %name, handler, reason, "start");
    } else {
        info!(trigger = %name, handler, "start");
    }
    let service = Service::new(trigger, serving, host);
    for bound in listeners {
        let local = bound.local.clone();
        service
            .serve(bound, shutdown.drain(), workers)
            .with_context(|| format!("cannot watch {local}"))?;
        info!(trigger = %name, address = %local, "listen");
        writeln!(ready, "listening {name} {local}")?;
    }
    Ok(())
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(reason = %format!("cannot tell the service manager: {error}"), "start");
    }
}

fn check(cli: &Cli, path: &Path) -> Result<(), Failure> {
    let plan = plan(path)?;
    let spawner = spawner()?;
    let _log = log(cli)?;
    let runtime = runtime(Builder::new_multi_thread())?;
    let _inside = runtime.enter();
    let spawner = connect(spawner)?;
    let guests = Guests::of(&plan);
    let pool = Pool::of_one(Slot::of(&plan, &guests));
    let compiler = compiler(cli, &plan, &pool)?;
    let check = Check::of(&plan, &guests, &compiler, &spawner);
    print(&check.report)?;
    check.verdict().map_err(Failure::Asked)
}

fn attempt(cli: &Cli, guest: &cli::Try) -> Result<(), Failure> {
    let _log = log(cli)?;
    let attempt = Attempt {
        guest: guest.guest.clone(),
        args: guest.args.clone(),
        env: guest.env.clone(),
        dirs: guest
            .dir
            .iter()
            .map(|(guest, host)| (guest.clone(), host.into()))
            .collect(),
    };
    let loaded = attempt.load(progress(cli)).map_err(Failure::Asked)?;
    let runtime = runtime(Builder::new_multi_thread())?;
    let outcome = runtime.block_on(loaded.run()).map_err(Failure::Refused)?;
    // A read of the terminal may be under way, and cannot be called off.
    runtime.shutdown_background();
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Exit(status) => Err(Failure::Ended(u8::try_from(status).unwrap_or(u8::MAX))),
        other => {
            let why = other
                .reason()
                .map(|why| format!(": {why}"))
                .unwrap_or_default();
            Err(Failure::Refused(anyhow!(
                "the guest ended with {other}{why}"
            )))
        }
    }
}

fn inspect(path: &Path) -> Result<(), Failure> {
    let wasm = Wasm::read(path).with_context(|| format!("cannot inspect {}", path.display()));
    let profile = wasm.map(Profile::of).map_err(Failure::Asked)?;
    print(&profile.report(path).to_string())
}

fn compile(cli: &Cli, paths: &[PathBuf]) -> Result<(), Failure> {
    let _log = log(cli)?;
    let mut failed = None;
    for path in paths {
        let batch = if Batch::names_triggers(path) {
            Batch::of_plan(&plan(path)?)
        } else {
            Batch::of_guest(path).map_err(Failure::Asked)?
        };
        for prepared in batch.prepare(progress(cli)).map_err(Failure::Refused)? {
            print(&format!("{prepared}\n"))?;
            if let Err(failure) = prepared.verdict() {
                failed.get_or_insert(failure);
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn begin(guest: &cli::New) -> Result<(), Failure> {
    let here = Path::new(".");
    let scaffold = Scaffold::new(&guest.name, guest.lang, guest.world).map_err(Failure::Asked)?;
    scaffold.fits(here).map_err(Failure::Asked)?;
    scaffold.write(here).map_err(Failure::Refused)?;
    print(&scaffold.to_string())
}

fn print(report: &str) -> Result<(), Failure> {
    let written = io::stdout().write_all(report.as_bytes());
    written
        .context("cannot write to stdout")
        .map_err(Failure::Refused)
}
