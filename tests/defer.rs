//! A handler that waits for the first byte: until then a client costs a descriptor and nothing else,
//! and from then on it is served like any other.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;

use nix::sys::signal::Signal;
use support::{Client, Host, verb};

/// More than the mappings of a host that does nothing vary by.
const CROWD: usize = 100;

/// Waits until this many connections of `trigger` are accepted.
fn accepted(host: &Host, trigger: &str, count: usize) {
    host.logged_times(count, "those that were accepted", |line| {
        verb(line) == "accept" && line["trigger"] == trigger
    });
}

/// Mappings of the host's memory: each instance has its own.
fn mappings(host: &Host) -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", host.pid())).unwrap();
    maps.lines().count()
}

/// Processes whose parent is one of the host's own.
fn children(host: &Host) -> usize {
    let mut count = 0;
    let mut parents = vec![host.pid().to_string()];
    while let Some(parent) = parents.pop() {
        for thread in fs::read_dir(format!("/proc/{parent}/task"))
            .into_iter()
            .flatten()
        {
            let list = fs::read_to_string(thread.unwrap().path().join("children"));
            let list = list.unwrap_or_default();
            count += list.split_whitespace().count();
            parents.extend(list.split_whitespace().map(str::to_owned));
        }
    }
    count
}

#[test]
fn silent_clients_have_no_instance_and_each_gets_one_with_its_first_byte() {
    let host = Host::start(
        r#"
        [trigger.early]
        listen = "127.0.0.1:0"
        wasm = "{guest:hold}"
        [trigger.late]
        listen = "127.0.0.1:0"
        wasm = "{guest:hold}"
        defer = true
        "#,
    );
    // What the host takes for itself it has taken now.
    assert_eq!(host.ask("early", b"alive"), b"alive");
    assert_eq!(host.ask("late", b"alive"), b"alive");
    let before = mappings(&host);
    let mut silent: Vec<_> = (0..CROWD).map(|_| host.connect("late")).collect();
    accepted(&host, "late", CROWD + 1);
    assert_eq!(host.ask("early", b"alive"), b"alive");
    let waiting = mappings(&host);
    assert!(waiting < before + CROWD / 2, "{before} became {waiting}");
    for client in &mut silent {
        client.echo(b"now");
    }
    let served = mappings(&host);
    assert!(served > before + CROWD, "{before} became {served}");
    for client in silent {
        assert_eq!(client.ask(b"more"), b"more");
    }
    let ends = host.logged_times(CROWD + 1, "their ends", |line| {
        verb(line) == "end" && line["trigger"] == "late"
    });
    // Nothing of what was waited for is lost, or counted twice.
    for end in &ends[1..] {
        assert_eq!(
            (&end["outcome"], &end["rx"], &end["tx"]),
            (&"done".into(), &7.into(), &7.into())
        );
    }
}

#[test]
fn a_process_of_one_connection_is_started_at_the_first_byte() {
    let host = Host::start(
        r#"
        [trigger.job]
        listen = ["127.0.0.1:0", "unix:{dir}/job"]
        script = "echo up; exec cat"
        accept = true
        defer = true
        "#,
    );
    let before = children(&host);
    let addresses = host.addresses("job");
    let mut silent: Vec<_> = addresses
        .iter()
        .map(|address| Client::to(address))
        .collect();
    accepted(&host, "job", 2);
    assert_eq!(children(&host), before);
    for client in &mut silent {
        client.write_all(b"now").unwrap();
        assert_eq!(client.bytes(6), b"up\nnow");
    }
    assert_eq!(children(&host), before + 2);
}

/// Every kind of handler that the host accepts for, each at two families, with an answer to
/// `hello\n` that begins with this.
const KINDS: [(&str, &str, &str); 6] = [
    ("module", r#"wasm = "{guest:echo}""#, "hello"),
    ("stdio", r#"wasm = "{guest:echo-stdio}""#, "hello"),
    (
        "component",
        r#"wasm = "{guest:echo-stdio.component}""#,
        "hello",
    ),
    ("typed", r#"wasm = "{guest:echo-typed.component}""#, "hello"),
    ("async", r#"wasm = "{guest:echo-async.component}""#, "hello"),
    ("native", "exec = \"/bin/cat\"\naccept = true", "hello"),
];

fn host_of_all_kinds() -> Host {
    let triggers = KINDS.map(|(name, handler, _)| {
        format!(
            "[trigger.{name}]\nlisten = [\"127.0.0.1:0\", \"unix:{{dir}}/{name}\"]\n{handler}\ndefer = true\n"
        )
    });
    Host::start(&triggers.concat())
}

#[test]
fn every_kind_of_handler_finds_what_was_sent_before_it_was_started() {
    let host = host_of_all_kinds();
    for (name, _, answer) in KINDS {
        for address in host.addresses(name) {
            let said = Client::to(address).ask(b"hello\n");
            assert!(said.starts_with(answer.as_bytes()), "{name} at {address}");
        }
    }
}

#[test]
fn a_client_that_half_closes_without_a_byte_is_served() {
    let host = host_of_all_kinds();
    for (name, ..) in KINDS {
        for address in host.addresses(name) {
            assert_eq!(Client::to(address).ask(b""), b"", "{name} at {address}");
        }
        let ends = host.logged_times(2, "both ends", |line| {
            verb(line) == "end" && line["trigger"] == name
        });
        assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
    }
    let host = Host::start(
        r#"
        [trigger.env]
        listen = ["127.0.0.1:0", "unix:{dir}/env"]
        wasm = "{guest:getenv}"
        defer = true
        "#,
    );
    for address in host.addresses("env") {
        let said = String::from_utf8(Client::to(address).ask(b"")).unwrap();
        assert!(said.contains("env UPSTART_JOB=env"), "{said}");
    }
}

#[test]
fn a_client_that_is_gone_before_its_first_byte_ends_as_hangup_and_starts_nothing() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = ["127.0.0.1:0", "unix:{dir}/echo"]
        wasm = "{guest:trap}"
        defer = true
        [trigger.job]
        listen = ["127.0.0.1:0", "unix:{dir}/job"]
        script = "echo started >&2"
        accept = true
        defer = true
        "#,
    );
    for trigger in ["echo", "job"] {
        for (count, address) in (1..).zip(host.addresses(trigger)) {
            let client = Client::to(address);
            accepted(&host, trigger, count);
            // What a client that is gone means over TCP can only be told by a reset.
            client.reset();
            let ends = host.logged_times(count, "the end", |line| {
                verb(line) == "end" && line["trigger"] == trigger
            });
            assert_eq!(ends[count - 1]["outcome"], "hangup", "{address}");
        }
        assert_eq!(host.said(trigger), []);
    }
}

#[test]
fn limits_of_time_hold_while_the_first_byte_is_waited_for() {
    let host = Host::start(
        r#"
        [trigger.idle]
        listen = "127.0.0.1:0"
        wasm = "{guest:trap}"
        defer = true
        limits = { idle = "100ms" }
        [trigger.deadline]
        listen = "127.0.0.1:0"
        wasm = "{guest:trap}"
        defer = true
        limits = { deadline = "100ms" }
        [trigger.native]
        listen = "127.0.0.1:0"
        script = "echo started"
        accept = true
        defer = true
        limits = { deadline = "100ms" }
        "#,
    );
    for (trigger, outcome) in [
        ("idle", "idle"),
        ("deadline", "deadline"),
        ("native", "deadline"),
    ] {
        assert!(host.connect(trigger).is_over(), "{trigger}");
        assert_eq!(host.outcome(trigger), outcome);
    }
}

#[test]
fn silent_clients_hold_their_place() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        defer = true
        limits = { per_source = 1 }
        "#,
    );
    let silent = host.connect("echo");
    accepted(&host, "echo", 1);
    assert!(host.connect("echo").is_over());
    host.logged("the reject", |line| verb(line) == "reject");
    assert_eq!(silent.ask(b"first"), b"first");
    host.ended("echo");
    assert_eq!(host.ask("echo", b"next"), b"next");
}

#[test]
fn a_drain_serves_those_that_begin_in_time_and_ends_those_that_stay_silent() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        defer = true
        [trigger.job]
        listen = "127.0.0.1:0"
        exec = "/bin/cat"
        accept = true
        defer = true
        "#,
    );
    let mut early = host.connect("echo");
    let mut silent = [host.connect("echo"), host.connect("job")];
    accepted(&host, "echo", 2);
    accepted(&host, "job", 1);
    host.signal(Signal::SIGTERM);
    host.logged("the drain", |line| verb(line) == "drain");
    early.echo(b"in time");
    early.shutdown(Shutdown::Write);
    assert_eq!(early.rest(), b"");
    assert_eq!(host.outcome("echo"), "done");
    // At once: nobody waits for the grace period to be over.
    host.signal(Signal::SIGTERM);
    for client in &mut silent {
        assert!(client.is_over());
    }
    assert_eq!(host.outcome("job"), "drained");
    let ends = host.logged_times(2, "both", |line| {
        verb(line) == "end" && line["trigger"] == "echo"
    });
    assert_eq!(ends[1]["outcome"], "drained");
    let mut host = host;
    assert_eq!(host.wait().code(), Some(0));
}
