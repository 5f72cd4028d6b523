//! What honest clients notice of an attack, and what it leaves behind (docs/performance.md): fifty of
//! them, each with an echo now and then, alone and beside a thousand slowloris clients, which send a
//! byte every few milliseconds and never end, and a flood of connections from twenty thousand
//! addresses, which are reset as soon as they are there. Prints one table; `cargo bench --bench hostile`,
//! or with the trigger's own word on who is let in taken away: `cargo bench --bench hostile -- open`.

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// What an operator would write for a service that the whole internet can reach.
const GUARDED: &str = r#"
    [trigger.echo]
    listen = "127.0.0.1:0"
    wasm = "echo.wasm"
    defer = true
    [trigger.echo.limits]
    connections = 1000
    per_source = { connections = 8, rate = { limit = "20/s", burst = 40 }, inet = 24 }
    idle = "30s"
    deadline = "5m"
"#;

/// The same without a word on who is let in. There are places for all of them.
const OPEN: &str = r#"
    [trigger.echo]
    listen = "127.0.0.1:0"
    wasm = "echo.wasm"
    limits = { connections = 4000, per_source = "unlimited" }
"#;

const HONEST: u8 = 50;
/// How long an honest client does something else after each echo.
const THINKS: Duration = Duration::from_millis(100);

const SLOW: u16 = 1000;
/// Networks of 256 addresses that they come from.
const SLOW_NETWORKS: u16 = 10;
const SLOW_BYTE: Duration = Duration::from_millis(5);
/// How long one that was refused waits until it tries again.
const AGAIN: Duration = Duration::from_millis(100);

const FLOOD_ADDRESSES: u32 = 20_000;
/// Connections of the flood in each millisecond, as far as its thread comes.
const FLOOD: u32 = 4;

/// Rounds of both, one after the other, so that what else this machine does meets both.
const ROUNDS: usize = 5;
const EACH: Duration = Duration::from_secs(5);
/// Until all attackers are there.
const ARRIVAL: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Attack {
    over: AtomicBool,
    /// Connections of slowloris clients that got an echo, and those that ended without one.
    let_in: AtomicU64,
    refused: AtomicU64,
    flood: AtomicU64,
}

fn main() -> io::Result<()> {
    let open = std::env::args().any(|word| word == "open");
    let (mut host, address) = start(if open { OPEN } else { GUARDED })?;
    let stderr = host.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let numbers = thread::spawn(|| numbers(stderr));
    println!(
        "{:<14} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "", "echoes", "p50 ms", "p99 ms", "max ms", "RSS MiB"
    );
    let attack = Arc::new(Attack::default());
    let mut ratios = Vec::new();
    for _ in 0..ROUNDS {
        let alone = row("alone", honest(address, EACH)?, &host)?;
        let attackers = [slowloris, flood].map(|attacker| {
            let attack = attack.clone();
            thread::spawn(move || attacker(address, &attack))
        });
        thread::sleep(ARRIVAL);
        let beside = row("under attack", honest(address, EACH)?, &host)?;
        attack.over.store(true, Relaxed);
        for attacker in attackers {
            let attacked = attacker.join();
            attacked.map_err(|_| io::Error::other("an attacker failed"))??;
        }
        attack.over.store(false, Relaxed);
        ratios.push(beside / alone);
    }
    row("afterwards", honest(address, EACH)?, &host)?;
    ratios.sort_by(f64::total_cmp);
    println!(
        "p99 under attack is that alone times {:.2} (median; {:.2} to {:.2})",
        ratios[ROUNDS / 2],
        ratios[0],
        ratios[ROUNDS - 1]
    );
    println!(
        "slowloris: {} connections let in, {} refused; flood: {} connections",
        attack.let_in.load(Relaxed),
        attack.refused.load(Relaxed),
        attack.flood.load(Relaxed)
    );
    kill(Pid::from_raw(host.id().cast_signed()), Signal::SIGTERM)?;
    host.wait()?;
    for line in numbers
        .join()
        .map_err(|_| io::Error::other("the log has failed"))?
    {
        println!("{line}");
    }
    Ok(())
}

/// What the log says at the end, and whether it lost something on the way.
fn numbers(log: ChildStderr) -> Vec<String> {
    let lines = BufReader::new(log).lines().map_while(Result::ok);
    let told = |line: &String| line.contains("drain trigger=") || line.contains("lost");
    lines.filter(told).collect()
}

fn start(triggers: &str) -> io::Result<(Child, SocketAddr)> {
    let guest = Path::new(env!("CARGO_MANIFEST_DIR")).join("guests/target/wasm/echo.wasm");
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("hostile.toml");
    fs::copy(guest, dir.path().join("echo.wasm"))?;
    fs::write(&file, triggers)?;
    let mut host = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .arg("run")
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = host.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut ready = String::new();
    BufReader::new(stdout).read_line(&mut ready)?;
    let address = ready.split_whitespace().last().unwrap_or_default();
    Ok((host, address.parse().map_err(io::Error::other)?))
}

/// Prints a row of the table, and gives its p99 in milliseconds.
fn row(name: &str, mut echoes: Vec<Duration>, host: &Child) -> io::Result<f64> {
    echoes.sort_unstable();
    let part = |of_thousand: usize| {
        let at = (echoes.len() * of_thousand / 1000).min(echoes.len().saturating_sub(1));
        echoes.get(at).copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    let status = fs::read_to_string(format!("/proc/{}/status", host.id()))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|line| line.split_whitespace().next()?.parse::<u32>().ok());
    println!(
        "{name:<14} {:>8} {:>8.2} {:>8.2} {:>8.2} {:>10.1}",
        echoes.len(),
        part(500),
        part(990),
        part(1000),
        f64::from(resident.unwrap_or_default()) / 1024.0
    );
    Ok(part(990))
}

/// How long each echo of the honest clients takes, from before the connection to its end. One that
/// fails is an error.
fn honest(address: SocketAddr, time: Duration) -> io::Result<Vec<Duration>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let end = Instant::now() + time;
    runtime.block_on(async {
        let clients = (1..=HONEST).map(|last| {
            tokio::spawn(async move {
                let mut echoes = Vec::new();
                // Not all at the same moment.
                sleep(THINKS * u32::from(last) / u32::from(HONEST)).await;
                while Instant::now() < end {
                    let begun = Instant::now();
                    let mut client = connect(Ipv4Addr::new(127, 1, last, 1), address).await?;
                    client.write_all(&[b'x'; 64]).await?;
                    client.shutdown().await?;
                    let mut answer = Vec::with_capacity(64);
                    client.read_to_end(&mut answer).await?;
                    echoes.push(begun.elapsed());
                    if answer != [b'x'; 64] {
                        return Err(io::Error::other("no echo"));
                    }
                    sleep(THINKS).await;
                }
                Ok(echoes)
            })
        });
        let mut all = Vec::new();
        for client in clients.collect::<Vec<_>>() {
            all.extend(client.await.map_err(io::Error::other)??);
        }
        Ok(all)
    })
}

/// Clients that are never done, and come again when they are sent away.
fn slowloris(address: SocketAddr, attack: &Arc<Attack>) -> io::Result<()> {
    attacker()?.block_on(async {
        let clients = (0..SLOW).map(|number| {
            let attack = attack.clone();
            let [_, network] = (number % SLOW_NETWORKS).to_be_bytes();
            let [_, last] = (number / SLOW_NETWORKS + 1).to_be_bytes();
            tokio::spawn(async move {
                while !attack.over.load(Relaxed) {
                    // Whatever becomes of it, it tries again.
                    if let Ok(client) =
                        connect(Ipv4Addr::new(127, 66, network, last), address).await
                    {
                        drip(client, &attack).await;
                    }
                    sleep(AGAIN).await;
                }
            })
        });
        for client in clients.collect::<Vec<_>>() {
            client.await.map_err(io::Error::other)?;
        }
        Ok(())
    })
}

async fn drip(mut client: TcpStream, attack: &Attack) {
    let mut bytes = interval(SLOW_BYTE);
    bytes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut echoed = false;
    while !attack.over.load(Relaxed) {
        bytes.tick().await;
        let sent = client.write_all(b"x").await;
        let came = match sent {
            Ok(()) => client.read(&mut [0; 1]).await,
            Err(error) => Err(error),
        };
        if !matches!(came, Ok(1)) {
            break;
        }
        if !echoed {
            attack.let_in.fetch_add(1, Relaxed);
            echoed = true;
        }
    }
    if !echoed {
        attack.refused.fetch_add(1, Relaxed);
    }
}

/// Connections from ever other addresses, each reset at once.
fn flood(address: SocketAddr, attack: &Arc<Attack>) -> io::Result<()> {
    attacker()?.block_on(async {
        let mut next = 0;
        let mut turns = interval(Duration::from_millis(1));
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !attack.over.load(Relaxed) {
            turns.tick().await;
            for _ in 0..FLOOD {
                next = (next + 1) % FLOOD_ADDRESSES;
                let [_, _, high, low] = next.to_be_bytes();
                if let Ok(client) = connect(Ipv4Addr::new(127, 77, high, low), address).await {
                    client.set_zero_linger()?;
                    attack.flood.fetch_add(1, Relaxed);
                }
            }
        }
        Ok(())
    })
}

/// A thread of an attacker. Attackers have processors of their own, and here they leave those of this
/// machine to the others as far as that can be.
fn attacker() -> io::Result<tokio::runtime::Runtime> {
    rustix::process::nice(19)?;
    Builder::new_current_thread().enable_all().build()
}

async fn connect(from: Ipv4Addr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(address).await
}
