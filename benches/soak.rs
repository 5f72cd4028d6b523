//! Mixed abuse for as long as one likes, beside honest clients, with the trigger file read again every tenth of a second; and what is
//! left of it when it is over. `cargo bench --bench soak -- 30m`; a minute without an argument. Everything is on this machine.

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::{Client, Host, Usage};

/// A trigger for each kind of handler, and for each way to misbehave. The first is the honest one's.
const TRIGGERS: &str = r#"
    [host]
    grace = "5s"
    [trigger.echo]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo}"
    limits = { connections = 500 }
    [trigger.component]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo-stdio.component}"
    limits = { connections = 200, idle = "2s" }
    [trigger.http]
    listen = "127.0.0.1:0"
    wasm = "{guest:http-echo.component}"
    limits = { connections = 200, idle = "2s" }
    [trigger.native]
    listen = "127.0.0.1:0"
    exec = "{native:exec-echo}"
    accept = true
    limits = { connections = 50 }
    [trigger.killed]
    listen = "127.0.0.1:0"
    script = "kill -KILL $$"
    accept = true
    limits = { connections = 20 }
    [trigger.trap]
    listen = "127.0.0.1:0"
    wasm = "{guest:trap}"
    [trigger.spin]
    listen = "127.0.0.1:0"
    wasm = "{guest:spin}"
    limits = { connections = 8, cpu = "100ms" }
    [trigger.grow]
    listen = "127.0.0.1:0"
    wasm = "{guest:grow}"
    limits = { connections = 8, memory = "16MiB" }
    [trigger.flood]
    listen = "127.0.0.1:0"
    wasm = "{guest:flood}"
    limits = { connections = 20, idle = "1s", deadline = "5s" }
    [trigger.silent]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo}"
    defer = true
    limits = { connections = 300, idle = "3s", deadline = "10s" }
"#;

/// Beside these, every other time.
const MORE: &str = r#"
    [trigger.more]
    listen = "127.0.0.1:0"
    wasm = "{guest:hello}"
"#;

/// Honest clients.
const HONEST: usize = 4;

/// What 999 of a thousand of their echoes take at most, from connect to answer, whatever the others do.
const BOUND: Duration = Duration::from_millis(500);

/// Of a source of chance that needs no seed to be kept.
fn chance(below: usize) -> usize {
    static STATE: AtomicU64 = AtomicU64::new(0x9E37_79B9_7F4A_7C15);
    let mut state = STATE.fetch_add(0x9E37_79B9_7F4A_7C15, Relaxed);
    state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    usize::try_from(state >> 33).unwrap_or_default() % below
}

/// Latencies in microseconds, by how often they were seen.
#[derive(Default)]
struct Latencies(BTreeMap<u128, u64>);

impl Latencies {
    fn quantile(&self, permille: u64) -> u128 {
        let all: u64 = self.0.values().sum();
        let mut left = all * permille / 1000;
        for (micros, count) in &self.0 {
            if *count > left {
                return *micros;
            }
            left -= count;
        }
        self.0.keys().next_back().copied().unwrap_or_default()
    }
}

fn main() {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let lasts = wanted.map_or(Duration::from_mins(1), |word| {
        humantime::parse_duration(&word).expect("a duration such as 30m is wanted")
    });
    let host = Host::start_with(TRIGGERS, |command| {
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut quiet = support::portcullis();
        // What is logged here is how many lines there are; nobody reads them.
        quiet.args(args.iter().map(|word| {
            if word == "debug" {
                "warn".as_ref()
            } else {
                word.as_os_str()
            }
        }));
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                quiet.env(name, value);
            }
        }
        quiet.stdin(std::process::Stdio::null());
        quiet.stdout(std::process::Stdio::piped());
        quiet.stderr(std::process::Stdio::null());
        *command = quiet;
    });
    let alone = calm(&host);
    println!("alone: {}", figures(&alone));
    // What a host has after its first load it keeps: pools, arenas, threads.
    let begun = Instant::now();
    abuse(&host, lasts / 10, &Mutex::default());
    let before = settled(&host);
    println!("after {:?}: {before:?}", begun.elapsed());
    let beside = Mutex::default();
    abuse(&host, lasts, &beside);
    let after = settled(&host);
    println!("after {:?}: {after:?}", begun.elapsed());
    let beside = beside.into_inner().unwrap();
    println!("beside abuse: {}", figures(&beside));
    assert!(after.descriptors <= before.descriptors + 8, "descriptors");
    assert!(after.threads <= before.threads + 4, "threads");
    assert!(after.maps <= before.maps + before.maps / 10, "mappings");
    assert!(after.resident <= before.resident + (32 << 10), "memory");
    assert!(
        beside.quantile(999) < BOUND.as_micros(),
        "a neighbour had to wait"
    );
    // Each place can still be had.
    let mut all: Vec<_> = (0..500).map(|_| host.connect("echo")).collect();
    for client in &mut all {
        client.echo(b"place");
    }
    println!("500 of 500 places are there");
    drop(all);
    assert_eq!(host.stop().code(), Some(0));
}

fn figures(latencies: &Latencies) -> String {
    let all: u64 = latencies.0.values().sum();
    let (p50, p99, p999) = (
        latencies.quantile(500),
        latencies.quantile(990),
        latencies.quantile(999),
    );
    let most = latencies.0.keys().next_back().copied().unwrap_or_default();
    format!("{all} echoes, p50 {p50} µs, p99 {p99} µs, p99.9 {p999} µs, most {most} µs")
}

/// Honest clients by themselves.
fn calm(host: &Host) -> Latencies {
    let (over, seen) = (AtomicBool::new(false), Mutex::default());
    thread::scope(|scope| {
        for _ in 0..HONEST {
            scope.spawn(|| honest(host, &over, &seen));
        }
        thread::sleep(Duration::from_secs(5));
        over.store(true, Relaxed);
    });
    seen.into_inner().unwrap()
}

/// One client after the other, each timed from its connect to its answer.
fn honest(host: &Host, over: &AtomicBool, seen: &Mutex<Latencies>) {
    while !over.load(Relaxed) {
        let began = Instant::now();
        let mut client = host.connect("echo");
        client.echo(&[7; 64]);
        let micros = began.elapsed().as_micros();
        *seen.lock().unwrap().0.entry(micros).or_default() += 1;
        client.shutdown(Shutdown::Write);
        assert!(client.is_over());
    }
}

/// Everything at once.
fn abuse(host: &Host, lasts: Duration, seen: &Mutex<Latencies>) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..HONEST {
            scope.spawn(|| honest(host, &over, seen));
        }
        // Resets at any byte.
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let kind = ["echo", "component", "http", "native"][chance(4)];
                let mut client = host.connect(kind);
                let request = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n12345678";
                let sent = chance(request.len() + 1);
                let _ = client.write_all(&request[..sent]);
                client.reset();
            }
        });
        // Clients that say nothing, or a byte now and then.
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let kinds = ["silent", "component", "http"];
                let mut slow: Vec<_> = (0..100).map(|n| host.connect(kinds[n % 3])).collect();
                for _ in 0..10 {
                    thread::sleep(Duration::from_millis(100));
                    for client in &mut slow {
                        if chance(3) == 0 {
                            let _ = client.write_all(b"G");
                        }
                    }
                }
            }
        });
        // Guests and jobs that misbehave.
        for kinds in [["trap", "killed"], ["spin", "spin"], ["grow", "trap"]] {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Relaxed) {
                    let mut client = host.connect(kinds[chance(2)]);
                    let _ = client.write_all(b"x");
                    client.heard();
                }
            });
        }
        // Output that nobody reads.
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let mut clients: Vec<_> = (0..10).map(|_| host.connect("flood")).collect();
                thread::sleep(Duration::from_millis(chance(1500) as u64));
                let _ = clients[0].read(&mut [0; 4096]);
            }
        });
        // And what an operator may do.
        scope.spawn(|| {
            let more = format!("{TRIGGERS}{MORE}");
            let other = TRIGGERS.replace("idle = \"2s\"", "idle = \"3s\"");
            let plans = [more.as_str(), &other, TRIGGERS];
            for plan in plans.iter().cycle() {
                if over.load(Relaxed) {
                    break;
                }
                host.rewrite(plan);
                host.signal(Signal::SIGHUP);
                thread::sleep(Duration::from_millis(100));
            }
        });
        let begun = Instant::now();
        while begun.elapsed() < lasts {
            thread::sleep(Duration::from_mins(1).min(lasts.saturating_sub(begun.elapsed())));
            println!("{:?} of {lasts:?}: {:?}", begun.elapsed(), Usage::of(host));
        }
        over.store(true, Relaxed);
    });
    // The last plan is the first.
    assert_eq!(host.reload(TRIGGERS).code, Some(0));
}

/// What the host holds when nobody is connected.
fn settled(host: &Host) -> Usage {
    let mut least = Usage::of(host);
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(100));
        let now = Usage::of(host);
        if now.descriptors < least.descriptors {
            least = now;
        }
    }
    Client::to(&host.addresses("echo")[0]).ask(b"calm");
    Usage::of(host)
}
