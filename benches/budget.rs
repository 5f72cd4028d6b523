//! How many instructions a handler takes for one connection, outside the kernel, and whether that is
//! still what `benches/budget.toml` allows. Counted by valgrind's callgrind: unlike time, a count does
//! not depend on what else the machine does. Prints one table, and fails when a count is more than 5 %
//! off. `cargo bench --bench budget`, or with `-- --accept` to write down the counts as the new budget.
//! Needs valgrind and `guests/build --all`.

#[path = "support/echo.rs"]
mod echo;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context as _, ensure};
use portcullis::connection::Local;
use portcullis::outcome::Outcome;
use portcullis::shutdown::Shutdown as Stop;
use serde::{Deserialize, Serialize};
use tokio::runtime::Builder;

/// How far a count may be off, as a share of its budget: more up, or more down, is to be noticed.
const TOLERANCE: f64 = 0.05;

/// Connections of the two runs whose difference is counted: what the start costs is in both.
const FEW: u64 = 200;
const MANY: u64 = 1200;

/// What is counted: a guest of `guests/` for each kind of handler.
const GUESTS: [&str; 4] = ["c-echo", "echo", "echo-stdio", "echo-typed.component"];

/// Instructions for each connection, by guest.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Budget(BTreeMap<String, u64>);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    if let [_, mode, guest, count, ..] = &arguments[..]
        && mode == "--serve"
    {
        serve(guest, count.parse().expect("a count"));
        return ExitCode::SUCCESS;
    }
    match measure(env::args().any(|argument| argument == "--accept")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("budget: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(accept: bool) -> anyhow::Result<bool> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = root.join("benches/budget.toml");
    let text = fs::read_to_string(&file).unwrap_or_default();
    let allowed: Budget = toml::from_str(&text).context("cannot read benches/budget.toml")?;
    let mut counted = Budget::default();
    let mut within = true;
    println!("| guest | instructions for each connection | budget | |");
    println!("|---|---|---|---|");
    for guest in GUESTS {
        let (few, many) = (run(guest, FEW)?, run(guest, MANY)?);
        let each = many.saturating_sub(few) / (MANY - FEW);
        let (budget, off) = match allowed.0.get(guest) {
            Some(budget) => {
                #[expect(clippy::cast_precision_loss, reason = "a share, to be shown")]
                let off = each as f64 / *budget as f64 - 1.0;
                (budget.to_string(), off)
            }
            None => ("none".to_owned(), f64::INFINITY),
        };
        within &= off.abs() <= TOLERANCE;
        println!("| {guest} | {each} | {budget} | {:+.1} % |", off * 100.0);
        counted.0.insert(guest.to_owned(), each);
    }
    if accept {
        let text = toml::to_string(&counted).context("cannot write the budget")?;
        fs::write(&file, text).context("cannot write benches/budget.toml")?;
        return Ok(true);
    }
    if !within {
        eprintln!(
            "budget: a count is more than {} % off; look at what has changed, and if it is meant, \
             write it down with `cargo bench --bench budget -- --accept`",
            TOLERANCE * 100.0
        );
    }
    Ok(within)
}

/// Instructions of a process that serves so many connections, from its start to its end.
fn run(guest: &str, connections: u64) -> anyhow::Result<u64> {
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("out");
    let counted = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe()?)
        .args(["--serve", guest, &connections.to_string()])
        .output()
        .context("cannot start valgrind (Debian: apt install valgrind)")?;
    ensure!(
        counted.status.success(),
        "cannot serve {guest}: {}",
        String::from_utf8_lossy(&counted.stderr)
    );
    let out = fs::read_to_string(out)?;
    let total = out.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.context("callgrind has counted nothing")?;
    total.trim().parse().context("callgrind counts otherwise")
}

/// Serves so many connections, one after the other and each by a pair of sockets: what a network has to
/// do with it would depend on the moment.
fn serve(guest: &str, connections: u64) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let stop = Stop::new();
    let handler = echo::handler(guest);
    let facts = Arc::new(handler.facts(&Local::Unnamed));
    for _ in 0..connections {
        let (_client, connection) = echo::connection();
        let run = handler.run(connection, facts.clone(), stop.drain());
        assert_eq!(runtime.block_on(run), Outcome::Done);
    }
}
