//! What goes wrong around a host: clients that reset, guests that trap, disks that are full, memory that is not there. Each costs the
//! connection it happens to, and nothing is left of it.

mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::{Resource, Rlimit, prlimit};
use support::{Host, PATIENCE, Usage, verb};

/// A handler of each kind, which all send back what they get.
const ECHOES: &str = r#"
    [trigger.module]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo}"
    [trigger.stdio]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo-stdio}"
    [trigger.component]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo-stdio.component}"
    [trigger.typed]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo-typed.component}"
    [trigger.streams]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo-async.component}"
    [trigger.http]
    listen = "127.0.0.1:0"
    wasm = "{guest:http-echo.component}"
    [trigger.native]
    listen = "127.0.0.1:0"
    exec = "{native:exec-echo}"
    accept = true
"#;

const KINDS: [&str; 7] = [
    "module",
    "stdio",
    "component",
    "typed",
    "streams",
    "http",
    "native",
];

/// Waits until the host holds no more descriptors than it did: the last connection is closed after its line is logged.
fn settles(host: &Host, before: Usage) {
    let patience = Instant::now() + PATIENCE;
    loop {
        let now = Usage::of(host);
        if now.descriptors <= before.descriptors {
            return;
        }
        assert!(Instant::now() < patience, "{before:?}, {now:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_resets_at_any_byte_costs_its_own_connection_alone() {
    let host = Host::start(ECHOES);
    let plain = b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\n12345678";
    let ask = |kind: &str| match kind {
        "http" => host.ask(kind, b"GET / HTTP/1.0\r\n\r\n"),
        kind => host.ask(kind, b"neighbour"),
    };
    for kind in KINDS {
        assert!(!ask(kind).is_empty());
    }
    host.logged_times(KINDS.len(), "the first ends", |line| verb(line) == "end");
    let before = Usage::of(&host);
    let mut count = KINDS.len();
    for kind in KINDS {
        for sent in 0..=plain.len() {
            // Before anything has come back, and in the middle of that.
            for heard in [0, 1] {
                let mut client = host.connect(kind);
                client.write_all(&plain[..sent]).unwrap();
                let answers = kind != "http" || sent == plain.len();
                if heard > 0 && sent > 0 && answers {
                    client.read_exact(&mut vec![0; heard]).unwrap();
                }
                client.reset();
                count += 1;
            }
        }
        assert!(!ask(kind).is_empty(), "{kind}");
        count += 1;
    }
    let ends = host.logged_times(count, "the ends", |line| verb(line) == "end");
    for end in &ends {
        let outcome = end["outcome"].as_str().unwrap();
        // What a reset does to a handler that was writing, or had yet to read, is its own affair; the host has not failed.
        assert!(
            ["done", "hangup", "exit(1)", "trap"].contains(&outcome),
            "{end}"
        );
    }
    settles(&host, before);
}

#[test]
fn guests_that_trap_and_jobs_that_are_killed_leave_nothing_behind() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.trap]
        listen = "127.0.0.1:0"
        wasm = "{guest:trap}"
        [trigger.abort]
        listen = "127.0.0.1:0"
        wasm = "{guest:unruly.component}"
        args = ["trap"]
        [trigger.killed]
        listen = "127.0.0.1:0"
        script = "kill -KILL $$"
        accept = true
        "#,
    );
    let mut neighbour = host.connect("echo");
    neighbour.echo(b"here");
    let bad = ["trap", "abort", "killed"];
    let round = |rounds: usize| {
        for _ in 0..rounds {
            let clients = bad.map(|kind| host.connect(kind));
            for mut client in clients {
                // Killed already, maybe.
                let _ = client.write_all(b"x");
                client.heard();
            }
        }
    };
    round(20);
    let ends = |count| host.logged_times(count, "ends", |line| verb(line) == "end");
    ends(20 * bad.len());
    let before = Usage::of(&host);
    round(200);
    for end in ends(220 * bad.len()) {
        let expected = if end["trigger"] == "killed" {
            "signal(9)"
        } else {
            "trap"
        };
        assert_eq!(end["outcome"], expected, "{end}");
    }
    neighbour.echo(b"still here");
    settles(&host, before);
    let after = Usage::of(&host);
    assert!(after.maps <= before.maps + 64, "{before:?}, {after:?}");
    // A child that nobody has waited for is a zombie of the host or of its spawner.
    let children = format!("/proc/{0}/task/{0}/children", host.pid());
    for spawner in fs::read_to_string(children).unwrap().split_whitespace() {
        let children = format!("/proc/{spawner}/task/{spawner}/children");
        assert_eq!(fs::read_to_string(children).unwrap(), "");
    }
}

#[test]
fn a_log_that_cannot_be_written_costs_its_lines_and_nothing_else() {
    for nowhere in ["/dev/full", "closed"] {
        let host = Host::start_with(ECHOES, |command| {
            let stderr: OwnedFd = match nowhere {
                // A pipe that nobody reads any more.
                "closed" => rustix::pipe::pipe().unwrap().1,
                path => File::options().write(true).open(path).unwrap().into(),
            };
            command.stderr(Stdio::from(stderr));
        });
        for _ in 0..50 {
            for kind in KINDS {
                let asked: &[u8] = if kind == "http" {
                    b"GET / HTTP/1.0\r\n\r\n"
                } else {
                    b"hello"
                };
                assert!(!host.ask(kind, asked).is_empty(), "{nowhere}: {kind}");
            }
        }
        assert_eq!(host.stop().code(), Some(0), "{nowhere}");
    }
}

#[test]
fn a_guest_that_fills_a_disk_is_told_so_and_its_neighbours_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let host = Host::start_in(
        dir,
        r#"
        [host]
        cache = "disk/cache"
        [trigger.fill]
        listen = "127.0.0.1:0"
        wasm = "{guest:dirs}"
        dirs = { "/data" = { path = "disk", access = "rw" } }
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        "#,
        |command| {
            // In a mount namespace, so that the disk goes with the host.
            let prepare =
                "mount -t tmpfs -o size=64k tmpfs \"$0\" && echo here > \"$0/hello.txt\" &&
                ! head -c 1M /dev/zero > \"$0/full\" 2>/dev/null && exec \"$@\"";
            let mut inside = Command::new("unshare");
            inside
                .args(["--mount", "--map-root-user", "sh", "-c", prepare])
                .arg(&disk)
                .arg(command.get_program())
                .args(command.get_args())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            for (name, value) in command.get_envs() {
                match value {
                    Some(value) => inside.env(name, value),
                    None => inside.env_remove(name),
                };
            }
            *command = inside;
        },
    );
    let warned = host.logged("that nothing can be kept", |line| {
        line["level"] == "WARN"
            && line["reason"]
                .as_str()
                .is_some_and(|why| why.contains("cache"))
    });
    assert_eq!(verb(&warned), "start");
    for _ in 0..2 {
        let said = String::from_utf8(host.ask("fill", b"")).unwrap();
        assert!(said.contains("read hello.txt: ok here"), "{said}");
        assert!(
            said.contains("write new.txt: denied: No space left"),
            "{said}"
        );
        assert_eq!(host.ask("echo", b"neighbour"), b"neighbour");
    }
}

#[test]
fn without_memory_connections_fail_and_are_served_when_there_is_some_again() {
    const AT_ONCE: usize = 16;
    let host = Host::start(ECHOES);
    for kind in ["module", "component", "native"] {
        assert_eq!(host.ask(kind, b"before"), b"before");
    }
    let pid = rustix::process::Pid::from_raw(host.pid().as_raw());
    // No mapping can be made any more, as when vm.max_map_count is reached.
    let before = prlimit(
        pid,
        Resource::As,
        Rlimit {
            current: Some(1 << 20),
            maximum: rustix::process::getrlimit(Resource::As).maximum,
        },
    )
    .unwrap();
    for kind in ["module", "component", "native"] {
        // More than there were, so that what those have left is not enough.
        let mut clients: Vec<_> = (0..AT_ONCE).map(|_| host.connect(kind)).collect();
        for client in &mut clients {
            let _ = client.write_all(b"x");
        }
        for mut client in clients {
            client.shutdown(std::net::Shutdown::Write);
            // Served from what the host has, or ended.
            let heard = client.heard();
            assert!(heard.is_empty() || heard == b"x", "{kind}: {heard:?}");
        }
    }
    let ends = host.logged_times(3 + 3 * AT_ONCE, "the ends", |line| verb(line) == "end");
    let failed = ends.iter().filter(|end| end["outcome"] == "failed");
    let failed: Vec<_> = failed.collect();
    for end in &failed {
        let why = end["reason"].as_str().unwrap();
        assert!(why.contains("Cannot allocate memory"), "{end}");
    }
    for kind in ["module", "component"] {
        let some = failed.iter().any(|end| end["trigger"] == kind);
        assert!(some, "none of {kind} failed: {ends:#?}");
    }
    prlimit(pid, Resource::As, before).unwrap();
    for kind in ["module", "component", "native"] {
        assert_eq!(host.ask(kind, b"after"), b"after", "{kind}");
    }
}
