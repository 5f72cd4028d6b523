//! How many instructions the host takes for one connection, outside the kernel, and whether that is
//! still what `benches/budget.toml` allows. Counted by valgrind's callgrind: unlike time, a count does
//! not depend on what else the machine does. Prints one table, and fails when a count is more than 5 %
//! off. `cargo bench --bench budget`, or with `-- --accept` to write down the counts as the new budget.
//! Needs valgrind and `guests/build --all`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::{env, fs};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

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
        let wasm = root.join(format!("guests/target/wasm/{guest}.wasm"));
        let (few, many) = (run(&wasm, FEW)?, run(&wasm, MANY)?);
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

/// Instructions of a host that serves so many connections, from its start to its end.
fn run(wasm: &Path, connections: u64) -> anyhow::Result<u64> {
    let dir = tempfile::tempdir()?;
    let triggers = format!(
        "[host]\ncache = \"cache\"\nlimits.connections = 16\n\
         [trigger.echo]\nlisten = \"127.0.0.1:0\"\nwasm = '{}'\n",
        wasm.display()
    );
    fs::write(dir.path().join("triggers.toml"), triggers)?;
    // Compiled by itself, at full speed, and in neither count.
    let compiled = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["compile", "triggers.toml"])
        .current_dir(dir.path())
        .output()?;
    ensure!(
        compiled.status.success(),
        "cannot compile {}: {}",
        wasm.display(),
        String::from_utf8_lossy(&compiled.stderr)
    );
    let mut host = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=out.%p"])
        .arg(env!("CARGO_BIN_EXE_portcullis"))
        .args(["run", "triggers.toml"])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(fs::File::create(dir.path().join("log"))?)
        .spawn()
        .context("cannot start valgrind (Debian: apt install valgrind)")?;
    let served = serve(&mut host, connections);
    // The host drains and ends, and callgrind writes what it has counted.
    let id = Pid::from_raw(i32::try_from(host.id())?);
    kill(id, Signal::SIGTERM)?;
    let status = host.wait()?;
    let log = fs::read_to_string(dir.path().join("log"))?;
    served.with_context(|| log.clone())?;
    ensure!(status.success(), "the host ended with {status}: {log}");
    let out = fs::read_to_string(dir.path().join(format!("out.{id}")))?;
    let total = out.lines().find_map(|line| line.strip_prefix("totals: "));
    let total = total.context("callgrind has counted nothing")?;
    total.trim().parse().context("callgrind counts otherwise")
}

/// Waits until the host listens, and has it echo.
fn serve(host: &mut Child, connections: u64) -> anyhow::Result<()> {
    let stdout = host.stdout.take().context("the host has no output")?;
    let mut ready = String::new();
    BufReader::new(stdout).read_line(&mut ready)?;
    let Some(address) = ready.trim().rsplit(' ').next().filter(|a| !a.is_empty()) else {
        bail!("the host does not listen");
    };
    let message = [b'x'; 64];
    for _ in 0..connections {
        let mut client = TcpStream::connect(address)?;
        client.write_all(&message)?;
        let mut answer = [0; 64];
        client.read_exact(&mut answer)?;
        ensure!(answer == message, "the answer is another");
        client.shutdown(std::net::Shutdown::Write)?;
        // Closed: the connection's work is done, so that each is counted as if it were alone.
        ensure!(client.read(&mut answer)? == 0, "the answer goes on");
    }
    Ok(())
}
