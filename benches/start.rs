//! How long a plan of twenty guests, two of them of 15 MB, takes to listen: with a cache that is empty
//! and with one that is warm (docs/operations.md). Prints one table; `cargo bench --bench start`, or
//! with guests of one's own in place of the two: `cargo bench --bench start -- a.wasm b.wasm`.

#[path = "../tests/support/heavy.rs"]
mod heavy;

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use heavy::heavy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const GUESTS: usize = 20;
const WARM: usize = 11;

fn main() -> io::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut guests: Vec<PathBuf> = env::args_os()
        .skip(1)
        .map(PathBuf::from)
        .filter(|path| path.extension().is_some_and(|end| end == "wasm"))
        .map(|path| path.canonicalize())
        .collect::<io::Result<_>>()?;
    for number in guests.len()..GUESTS {
        // Twelve kilobytes, as a small program in C has, or fifteen megabytes.
        let functions = if number < 2 { 3_500 } else { 3 };
        let path = dir.path().join(format!("{number}.wasm"));
        fs::write(&path, heavy(&number.to_string(), functions, 0))?;
        guests.push(path);
    }
    let mut triggers = "[host]\ncache = \"cache\"\n".to_owned();
    for (number, path) in guests.iter().enumerate() {
        let path = path.display();
        let trigger = format!(
            "[trigger.t{number}]\nlisten = \"127.0.0.1:0\"\nwasm = '{path}'\n\
             limits.memory = \"256MiB\"\n"
        );
        triggers.write_str(&trigger).map_err(io::Error::other)?;
    }
    let file = dir.path().join("triggers.toml");
    fs::write(&file, triggers)?;

    let size: u64 = guests
        .iter()
        .map(|path| fs::metadata(path).map(|found| found.len()))
        .sum::<io::Result<_>>()?;
    println!("{GUESTS} guests, {} MB", size / 1_000_000);
    println!("cold  {:>8.3} s", start(&file)?.as_secs_f64());
    let mut warm = (0..WARM)
        .map(|_| start(&file))
        .collect::<io::Result<Vec<_>>>()?;
    warm.sort_unstable();
    let kept: u64 = fs::read_dir(dir.path().join("cache"))?
        .map(|entry| Ok(entry?.metadata()?.len()))
        .sum::<io::Result<_>>()?;
    println!(
        "warm  {:>8.3} s (median of {WARM}; {:.3} to {:.3}), from {} MB",
        warm[WARM / 2].as_secs_f64(),
        warm[0].as_secs_f64(),
        warm[WARM - 1].as_secs_f64(),
        kept / 1_000_000
    );
    Ok(())
}

/// From the start of the process to its last ready line.
fn start(file: &Path) -> io::Result<Duration> {
    let began = Instant::now();
    let mut host = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("run")
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let stdout = host.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let ready = BufReader::new(stdout).lines().take(GUESTS).count();
    let took = began.elapsed();
    kill(Pid::from_raw(host.id().cast_signed()), Signal::SIGTERM)?;
    host.wait()?;
    if ready < GUESTS {
        return Err(io::Error::other("the host did not start"));
    }
    Ok(took)
}
