//! What one connection may take: time on the processor, bytes each way, the patience for its first byte
//! and for a client that does not read. Each limit holds in every style of guest, costs its own
//! connection and nothing else, and the log says which it was. (Memory, stacks and what guests do to
//! their neighbours is told in `neighbours`.)

mod support;

use std::hint;
use std::io::Write as _;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{AtTheEnd, Client, Host, verb};

/// A guest of each style that echoes, those that never block included.
const ECHOES: [(&str, &str); 9] = [
    ("socket", "echo"),
    ("nonblocking", "tokio-echo"),
    ("polling", "c-poll-echo"),
    ("stdio", "echo-stdio"),
    ("stdio2", "echo-stdio.component"),
    ("stdio3", "echo-run3.component"),
    ("typed2", "echo-typed.component"),
    ("typed3", "echo-async.component"),
    ("deferred", "echo"),
];

/// Those of HTTP.
const HTTP: [(&str, &str); 2] = [
    ("http2", "http-echo.component"),
    ("http3", "http-async.component"),
];

/// A host that serves these over TCP and a unix socket, with these limits.
fn host(guests: &[(&str, &str)], limits: &str) -> Host {
    let triggers = guests.iter().map(|(name, guest)| {
        format!(
            r#"
            [trigger.{name}]
            listen = ["127.0.0.1:0", "unix:{{dir}}/{name}"]
            wasm = "{{guest:{guest}}}"
            defer = {}
            limits = {{ connections = 40, {limits} }}
            "#,
            *name == "deferred"
        )
    });
    Host::start(&format!(
        "[host]\nlimits = {{ connections = 40 }}\n{}",
        triggers.collect::<String>()
    ))
}

/// Tells `story` of each of these at every address, and gives the line of its end to `ended`.
fn of_each(
    guests: &[(&str, &str)],
    limits: &str,
    story: impl Fn(Client),
    ended: impl Fn(&Value, &str),
) -> Host {
    let host = host(guests, limits);
    for (name, _) in guests {
        for (count, address) in (1..).zip(host.addresses(name)) {
            story(Client::to(address));
            let ends = host.logged_times(count, "the end", |line| {
                verb(line) == "end" && line["trigger"] == *name
            });
            ended(&ends[count - 1], address);
        }
    }
    host
}

/// Expects this outcome for this reason.
fn as_told(end: &Value, outcome: &str, reason: &str) {
    assert_eq!(
        (&end["outcome"], &end["reason"]),
        (&outcome.into(), &reason.into()),
        "{end}"
    );
}

#[test]
fn a_guest_that_computes_ends_at_its_limit_of_time_on_the_processor_however_many_do() {
    let host = Host::start(
        r#"
        [trigger.burn]
        listen = "127.0.0.1:0"
        wasm = "{guest:burn}"
        limits = { cpu = "100ms" }
        "#,
    );
    let over = AtomicBool::new(false);
    let ends = thread::scope(|scope| {
        let _over = AtTheEnd(&over);
        // The machine has much else to do.
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(host.connect("burn").heard(), b"begun\n"));
        }
        host.logged_times(8, "their ends", |line| verb(line) == "end")
    });
    for end in ends {
        assert_eq!(end["outcome"], "cpu", "{end}");
        let used = end["cpu_ms"].as_u64().unwrap();
        // By less than the ticks that the clock of a busy machine may miss.
        assert!((100..200).contains(&used), "{end}");
        assert!(end["ms"].as_u64().unwrap() >= used, "{end}");
    }
}

#[test]
fn a_guest_is_not_charged_for_what_the_system_does_while_it_would_compute() {
    let host = Host::start(
        r#"
        [trigger.burn]
        listen = "127.0.0.1:0"
        wasm = "{guest:burn}"
        args = ["1500"]
        limits = { cpu = "1s" }
        "#,
    );
    let mut client = host.connect("burn");
    assert_eq!(client.line(), "begun");
    // By its own clock it computes for longer than its limit, most of which it does not run: time that passes
    // is what this is about, and nothing tells of it.
    host.signal(Signal::SIGSTOP);
    thread::sleep(Duration::from_secs(2));
    host.signal(Signal::SIGCONT);
    assert_eq!(client.rest(), b"done");
    let end = host.ended("burn");
    assert_eq!(end["outcome"], "done", "{end}");
    assert!(end["cpu_ms"].as_u64().unwrap() < 1000, "{end}");
    assert!(end["ms"].as_u64().unwrap() >= 2000, "{end}");
}

#[test]
fn the_log_tells_the_time_on_the_processor_of_guests_and_not_of_processes() {
    let host = Host::start(
        r#"
        [trigger.burn]
        listen = "127.0.0.1:0"
        wasm = "{guest:burn}"
        args = ["50"]
        [trigger.wait]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.later]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        limits.deadline = "100ms"
        [trigger.job]
        listen = "127.0.0.1:0"
        exec = "/bin/cat"
        accept = true
        "#,
    );
    assert_eq!(host.connect("burn").rest(), b"begun\ndone");
    let burnt = host.ended("burn");
    let [used, lasted] = ["cpu_ms", "ms"].map(|key| burnt[key].as_u64().unwrap());
    // To begin takes its time, too, so it may be a little more than what the guest computes.
    assert!((1..=lasted).contains(&used), "{burnt}");
    let mut client = host.connect("wait");
    client.echo(b"hi");
    // Time that passes, and that is not to be counted.
    let _later = host.connect("later");
    host.ended("later");
    drop(client);
    let waited = host.ended("wait");
    assert!(waited["cpu_ms"].as_u64().unwrap() < 100, "{waited}");
    assert!(waited["ms"].as_u64().unwrap() >= 100, "{waited}");
    host.ask("job", b"hi");
    assert_eq!(host.ended("job")["cpu_ms"], Value::Null);
}

#[test]
fn a_client_that_says_nothing_is_ended_when_the_first_byte_was_waited_for_long_enough() {
    let silent = |mut client: Client| assert!(client.is_over());
    let ended = |end: &Value, _: &str| as_told(end, "idle", "first_byte");
    of_each(&ECHOES, r#"first_byte = "100ms""#, silent, ended);
    of_each(&HTTP, r#"first_byte = "100ms""#, silent, ended);
    // A process is started at the first byte, which the host waits for.
    let host = Host::start(
        r#"
        [trigger.job]
        listen = ["127.0.0.1:0", "unix:{dir}/job"]
        script = "echo started >&2; exec cat"
        accept = true
        defer = true
        limits = { first_byte = "100ms" }
        "#,
    );
    for (count, address) in (1..).zip(host.addresses("job")) {
        silent(Client::to(address));
        let ends = host.logged_times(count, "the end", |line| verb(line) == "end");
        ended(&ends[count - 1], address);
    }
    assert_eq!(host.said("job"), []);
}

#[test]
fn a_client_that_has_begun_may_take_its_time() {
    let host = host(&ECHOES, r#"first_byte = "1s""#);
    let addresses = || ECHOES.iter().flat_map(|(name, _)| host.addresses(name));
    let begin = |address: &String| {
        let mut client = Client::to(address);
        client.write_all(b"h").unwrap();
        client
    };
    let clients: Vec<_> = addresses().map(begin).collect();
    // Who comes after them at each address and says nothing is ended, so the time of the others is over, too.
    let silent: Vec<_> = addresses().map(|address| Client::to(address)).collect();
    host.logged_times(silent.len(), "the ends of the silent", |line| {
        verb(line) == "end" && line["reason"] == "first_byte"
    });
    for mut client in clients {
        assert_eq!(client.bytes(1), b"h");
        assert_eq!(client.ask(b"ello"), b"ello");
    }
    assert!(host.stop().success());
}

#[test]
fn what_a_client_has_said_counts_though_its_guest_reads_nothing() {
    let host = Host::start(
        r#"
        [trigger.deaf]
        listen = ["127.0.0.1:0", "unix:{dir}/deaf"]
        wasm = "{guest:never-read}"
        limits = { first_byte = "100ms", deadline = "400ms" }
        "#,
    );
    for (count, address) in (1..).zip(host.addresses("deaf")) {
        let mut client = Client::to(address);
        client.write_all(b"hello").unwrap();
        assert!(client.is_over());
        let ends = host.logged_times(count, "the end", |line| verb(line) == "end");
        assert_eq!(ends[count - 1]["outcome"], "deadline", "{address}");
    }
    // To have said that nothing will come is to have begun.
    let count = host.addresses("deaf").len() + 1;
    let mut client = host.connect("deaf");
    client.shutdown(Shutdown::Write);
    assert!(client.is_over());
    let ends = host.logged_times(count, "the end", |line| verb(line) == "end");
    assert_eq!(ends[count - 1]["outcome"], "deadline");
}

#[test]
fn a_client_may_send_as_much_as_it_may_and_not_a_byte_more() {
    of_each(
        &ECHOES,
        r#"rx = "10B""#,
        |client| assert_eq!(client.ask(b"ten bytes!"), b"ten bytes!"),
        |end, address| {
            assert_eq!(end["outcome"], "done", "{end} at {address}");
            assert_eq!((&end["rx"], &end["tx"]), (&10.into(), &10.into()));
        },
    );
    of_each(
        &ECHOES,
        r#"rx = "10B""#,
        |mut client| {
            client.echo(b"ten ");
            client.echo(b"bytes!");
            client.write_all(b"x").unwrap();
            assert_eq!(client.heard(), b"");
        },
        |end, address| {
            as_told(end, "bytes", "rx");
            assert_eq!(end["level"], "INFO");
            assert_eq!(end["rx"], 10, "{end} at {address}");
        },
    );
    // However it comes.
    of_each(
        &ECHOES,
        r#"rx = "10B""#,
        |mut client| {
            client.write_all(&vec![b'x'; 100_000]).unwrap();
            let heard = client.heard();
            assert!(b"xxxxxxxxxx".starts_with(&heard), "{heard:?}");
        },
        |end, address| {
            as_told(end, "bytes", "rx");
            assert_eq!(end["rx"], 10, "{end} at {address}");
        },
    );
}

#[test]
fn a_guest_may_send_as_much_as_it_may_and_not_a_byte_more() {
    of_each(
        &ECHOES,
        r#"tx = "10B""#,
        |client| assert_eq!(client.ask(b"ten bytes!"), b"ten bytes!"),
        |end, address| assert_eq!(end["outcome"], "done", "{end} at {address}"),
    );
    of_each(
        &ECHOES,
        r#"tx = "10B""#,
        |mut client| {
            client.echo(b"ten ");
            client.write_all(b"bytes!xxxxxxx").unwrap();
            assert_eq!(client.heard(), b"bytes!");
        },
        |end, address| {
            as_told(end, "bytes", "tx");
            assert_eq!(end["tx"], 10, "{end} at {address}");
        },
    );
}

#[test]
fn an_http_client_is_bounded_by_its_bytes_heads_and_all() {
    let asks = |mut client: Client| {
        client
            .write_all(b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        client.heard()
    };
    of_each(
        &HTTP,
        r#"tx = "40B""#,
        |client| assert_eq!(asks(client).len(), 40),
        |end, address| {
            as_told(end, "bytes", "tx");
            assert_eq!(end["tx"], 40, "{end} at {address}");
        },
    );
    of_each(
        &HTTP,
        r#"rx = "20B""#,
        |client| assert_eq!(asks(client), b""),
        |end, address| {
            as_told(end, "bytes", "rx");
            assert_eq!(end["rx"], 20, "{end} at {address}");
        },
    );
    let body = |mut client: Client| {
        let head =
            b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n";
        client.write_all(head).unwrap();
        // Until it is too much.
        while client.write_all(&[b'x'; 1000]).is_ok() && client.write_all(b"\r\n3e8\r\n").is_ok() {}
    };
    of_each(
        &HTTP,
        r#"rx = "100KB", idle = "10s""#,
        body,
        |end, address| {
            // An echo waits for a client that does not read, who is told nothing of his bytes then.
            assert_eq!(end["outcome"], "bytes", "{end} at {address}");
            assert_eq!(end["rx"], 100_000, "{end} at {address}");
        },
    );
}

#[test]
fn a_client_that_does_not_read_is_waited_for_as_long_as_it_may_be_idle_and_takes_little_memory() {
    of_each(
        &ECHOES,
        r#"idle = "500ms""#,
        |mut client| {
            // Until the host takes no more and closes at last.
            let mut sent = 0;
            while let Ok(count) = client.write(&vec![b'x'; 64 * 1024]) {
                sent += count;
            }
            assert!(sent < 64 << 20, "more than the kernel's buffers hold");
        },
        |end, address| {
            assert_eq!(end["outcome"], "idle", "{end} at {address}");
            assert_eq!(end["reason"], Value::Null);
            let kept = end["rx"].as_u64().unwrap() - end["tx"].as_u64().unwrap();
            // What the guest has read and not yet given to the host, and what the host may keep of it. Buffers of the
            // kernel are in neither number.
            let own = match end["trigger"].as_str().unwrap() {
                "stdio3" | "typed2" | "typed3" => 64 << 10,
                _ => 16 << 10,
            };
            assert!(kept <= own + (64 << 10), "{end} at {address}");
        },
    );
}
