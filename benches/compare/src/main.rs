//! Measures the host beside plain servers and its peers, and tells what was promised with what was measured.
//! `run` in the folder above brings what this needs.

mod bench;
mod client;
mod cpu;
mod draw;
mod launch;
mod load;
mod measured;
mod memory;
mod outcome;
mod peer;
mod places;
mod process;
mod reference;
mod report;
mod row;
mod run;
mod server;
mod spread;
mod start;
mod triggers;

use std::collections::BTreeMap;
use std::fs;
use std::path::{PathBuf, absolute};
use std::time::Duration;

use anyhow::bail;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};

use crate::bench::Bench;
use crate::outcome::Outcome;
use crate::places::Places;
use crate::reference::{bridge, epoll_echo, tokio_echo};
use crate::row::{Row, TABLE};
use crate::run::Pace;

/// Measures Portcullis beside plain servers and its peers
#[derive(Parser)]
#[command(args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure the rows of the table
    Rows(Options),
    /// Serve as plain tokio does
    TokioEcho,
    /// Serve as one thread with epoll does
    EpollEcho,
    /// Serve as upstart-socket-bridge did
    Bridge {
        /// The job that is started
        job: PathBuf,
    },
}

#[derive(Args)]
struct Options {
    /// Half a second for each run: shows that it works, and says little
    #[arg(long)]
    quick: bool,

    /// These rows only
    #[arg(long, num_args = 1.., value_name = "ROW", value_parser = PossibleValuesParser::new(TABLE.iter().map(|row| row.name)))]
    only: Vec<String>,

    /// How often everything is measured [default: 5, or 2 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,

    /// Where compare.md and compare.svg are written
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    /// The host
    #[arg(long, value_name = "PATH")]
    host: PathBuf,

    /// The compiled guests
    #[arg(long, value_name = "DIR")]
    guests: PathBuf,

    /// Native jobs, and guests that wasmtime compiled; trigger files, caches and logs are written there
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
}

const FULL: Pace = Pace {
    warm_up: Duration::from_millis(300),
    window: Duration::from_secs(3),
    hold: Duration::from_secs(1),
    fewer: 1,
};

const QUICK: Pace = Pace {
    warm_up: Duration::from_millis(100),
    window: Duration::from_millis(500),
    hold: Duration::from_millis(200),
    fewer: 10,
};

fn main() -> anyhow::Result<()> {
    let command = Cli::parse().command;
    // Open connections are descriptors, here and in the servers.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    match command {
        Command::Rows(options) => rows(&options)?,
        Command::TokioEcho => tokio_echo::serve()?,
        Command::EpollEcho => epoll_echo::serve()?,
        Command::Bridge { job } => bridge::serve(&job)?,
    }
    Ok(())
}

fn rows(options: &Options) -> anyhow::Result<()> {
    let (pace, rounds) = if options.quick { (QUICK, 2) } else { (FULL, 5) };
    let rounds = options.rounds.unwrap_or(rounds);
    let all = TABLE
        .iter()
        .filter(|row| options.only.is_empty() || options.only.contains(&row.name.to_owned()));
    let rows: Vec<_> = all.collect();
    fs::create_dir_all(&options.out)?;
    let places = Places {
        host: absolute(&options.host)?,
        guests: absolute(&options.guests)?,
        work: absolute(&options.work)?,
    };

    // One thread: the processors are for the servers.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let measured = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut bench = Bench {
            places,
            pace,
            servers: BTreeMap::new(),
        };
        // However it ends, the servers end with it.
        tokio::select! {
            measured = bench.rounds(&rows, rounds) => Ok(measured),
            _ = terminated.recv() => bail!("terminated"),
            _ = ctrl_c() => bail!("interrupted"),
        }
    })?;

    let outcome = |row: &&'static Row| Outcome::of(row, row.load.at(&pace), &measured);
    let outcomes: Vec<_> = rows.iter().map(outcome).collect();
    let so = if options.quick {
        ", which is --quick and says little"
    } else {
        ""
    };
    let how = format!(
        "rounds: {rounds}, of {:?} for each server and load{so}.",
        pace.window
    );
    let report = report::page(&outcomes, &measured, &how)?;
    print!("{report}");
    fs::write(options.out.join("compare.md"), report)?;
    draw::rows(&outcomes, &options.out.join("compare.svg"))
}
