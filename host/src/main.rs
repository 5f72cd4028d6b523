//! The command `portcullis`: read the plan, load every handler, bind every listener, serve until
//! told to stop.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser as _;
use portcullis::attempt::Attempt;
use portcullis::check::Check;
use portcullis::cli::{Cli, Command};
use portcullis::control::{Answer, Control, Hearing, Predecessor, Request};
use portcullis::engine::{Cache, Compiler, Engine, Pool, Progress, Slot};
use portcullis::failure::{self, Failure};
use portcullis::handler::exec::Jobs;
use portcullis::host::{Host, LoadedPlan};
use portcullis::inspect::Profile;
use portcullis::listener::Inherited;
use portcullis::outcome::Outcome;
use portcullis::plan::{Location, Plan};
use portcullis::precompile::Batch;
use portcullis::scaffold::Scaffold;
use portcullis::signals::Signals;
use portcullis::spawner::{self, Spawner};
use portcullis::wasm::{Guests, Wasm};
use portcullis::workers::Workers;
use portcullis::{check as checks, cli, confine, control, log, signals};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tracing::warn;

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
        Command::Run(asked) => run(&cli, asked),
        Command::Reload(file) => reload(&file.path),
        Command::Check(asked) if asked.security => security(&asked.file.path),
        Command::Check(asked) => check(&cli, &asked.file.path),
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

/// How one is told that guests are being compiled: log lines in JSON are for a machine to read.
fn progress(cli: &Cli) -> Progress {
    Progress::new(cli.log_format == log::Format::Text && io::stderr().is_terminal())
}

fn run(cli: &Cli, asked: &cli::Run) -> Result<(), Failure> {
    let plan = plan(&asked.path)?;
    let mut inherited = Inherited::take()
        .context("cannot take the sockets of LISTEN_FDS")
        .map_err(Failure::Refused)?;
    signals::hold_reload()
        .context("cannot hold a signal back")
        .map_err(Failure::Refused)?;
    // Forked while this process is small and has one thread.
    let spawner = spawner()?;
    let ids = confine::identity(&plan).map_err(Failure::Refused)?;
    let control = control::place(&plan.control, &asked.path);
    let predecessor = predecessor(asked, control.as_deref(), &mut inherited)?;
    // While it may bind anywhere.
    let bind = |path| Control::bind(path, ids.as_ref(), &mut inherited);
    let bound_control = control.as_deref().map(bind);
    let bound = bound_control.as_ref().and_then(|it| it.as_ref().ok());
    let at = control
        .as_deref()
        .map(|path| (path, bound.map(Control::bound)));
    let confinement =
        confine::enter(&plan, &asked.path, ids, at, &mut inherited).map_err(Failure::Refused)?;
    let _log = log(cli)?;
    confinement.tell();
    let runtime = runtime(Builder::new_current_thread())?;
    let inside = runtime.enter();
    let spawner = connect(spawner)?;
    // What is asked before the host serves is done then.
    let hangup = signals::reload()
        .context("cannot handle signals")
        .map_err(Failure::Refused)?;
    let jobs = Jobs::at_hand(&plan, spawner.clone());
    // What reads guests, and then clients, can have nothing started but these.
    confinement.close(&spawner).map_err(Failure::Refused)?;
    let loaded = LoadedPlan::of(&plan, None, progress(cli), &jobs)?;
    drop(jobs);
    let mut bound = loaded.bind(&mut inherited).map_err(Failure::Refused)?;
    let (workers, threads) = Workers::start()
        .context("cannot start the threads that serve")
        .map_err(Failure::Refused)?;
    // After it the other host drains: whatever may well fail has been done.
    if let Some(predecessor) = predecessor {
        predecessor.relieve().map_err(Failure::Refused)?;
    }
    // From here on a signal drains: until then there may be another host, which serves on when this one ends.
    let signals = Signals::new(hangup)
        .context("cannot handle signals")
        .map_err(Failure::Refused)?;
    confinement.take_paths();
    bound.take_over().map_err(Failure::Refused)?;
    let (hearing, requests) = hear(control.zip(bound_control));
    let served = runtime.block_on(async {
        let host = Host::start(&asked.path, bound, inherited, spawner, workers, confinement).await;
        host.serve(signals, hearing, requests).await
    });
    // A file system that does not answer may hold a thread for ever; the host ends all the same.
    threads.stop(Duration::from_secs(1));
    drop(inside);
    runtime.shutdown_background();
    served.map_err(Failure::Refused)
}

/// The host whose place this one is to take, whose listeners are then among the `inherited`.
fn predecessor(
    asked: &cli::Run,
    control: Option<&Path>,
    inherited: &mut Inherited,
) -> Result<Option<Predecessor>, Failure> {
    if !asked.upgrade {
        return Ok(None);
    }
    let path = control.context(
        "cannot upgrade: this trigger file has no control socket, so a host that runs it cannot be found; give one in \
         `control` of [host], or end that host and start another",
    );
    let path = path.map_err(Failure::Asked)?;
    let found = Predecessor::find(path, inherited);
    found
        .with_context(|| format!("cannot take the place of the host at {}", path.display()))
        .map_err(Failure::Refused)
}

/// Hears what the host is to do. It serves all the same when it cannot be told.
fn hear(
    control: Option<(PathBuf, anyhow::Result<Control>)>,
) -> (Option<Hearing>, mpsc::Receiver<Request>) {
    let deaf = || (None, mpsc::channel(1).1);
    let Some((path, control)) = control else {
        return deaf();
    };
    match control.and_then(Control::hear) {
        Ok((hearing, requests)) => (Some(hearing), requests),
        Err(error) => {
            let path = path.display();
            let reason = format!("nothing can be told to this host at {path}: {error:#}");
            warn!(reason, "start");
            deaf()
        }
    }
}

/// Has the host that runs a trigger file read it again.
fn reload(path: &Path) -> Result<(), Failure> {
    let plan = Plan::load(path);
    // The host may read a file that its caller cannot, or have another by now.
    let location = plan.as_ref().map_or(&Location::Usual, |plan| &plan.control);
    let answer = control::place(location, path)
        .context(
            "this trigger file has no control socket: give one in `control` of [host], or send SIGHUP",
        )
        .map_err(Failure::Asked)
        .and_then(|place| control::reload(&place).map_err(Failure::Refused));
    match (answer, plan) {
        // A host that has been taken over may say anything.
        (Ok(Answer::Done(text)), _) => print(&format!("{}\n", failure::printable(&text))),
        (Ok(Answer::Asked(text)), _) => Err(Failure::Asked(anyhow!("{text}"))),
        (Ok(Answer::Refused(text)), _) => Err(Failure::Refused(anyhow!("{text}"))),
        // Who cannot read the file does not know where the host is, either.
        (Err(_), Err(wrong)) => Err(Failure::Asked(wrong.into())),
        (Err(failure), Ok(_)) => Err(failure),
    }
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

fn check(cli: &Cli, path: &Path) -> Result<(), Failure> {
    let plan = plan(path)?;
    let spawner = spawner()?;
    let _log = log(cli)?;
    let runtime = runtime(Builder::new_multi_thread())?;
    let _inside = runtime.enter();
    let guests = Guests::of(&plan);
    let pool = Pool::of_one(Slot::of(&plan, &guests));
    let engine = Engine::new(&pool, plan.coredumps.as_ref()).map_err(Failure::Refused)?;
    let compiler = Compiler::new(engine, Cache::find(&plan.cache), progress(cli));
    let jobs = Jobs::on_demand(connect(spawner)?);
    let check = Check::of(&plan, &guests, &compiler, &jobs);
    print(&check.report)?;
    check.verdict().map_err(Failure::Asked)
}

fn security(path: &Path) -> Result<(), Failure> {
    print(&checks::security::report(&plan(path)?).to_string())
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
