//! A guest that misbehaves costs its own connection and nothing else: while it does, its neighbours
//! go on being echoed, and the log says how it ended.

mod support;

use std::io::{Read, Write as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::Value;
use support::{Client, Host, verb};

/// How many misbehave at once: more than this machine is likely to have processors.
const CROWD: usize = 8;

/// Has a crowd of clients each do `provoke` to the trigger `bad`, whose guest and limits are given,
/// while a neighbour that was there before is echoed again and again, and a newcomer after it;
/// gives the log lines of the crowd's ends.
fn crowd(bad: &str, provoke: impl Fn(Client) + Sync) -> (Host, Vec<Value>) {
    crowd_of(CROWD, bad, provoke)
}

fn crowd_of(count: usize, bad: &str, provoke: impl Fn(Client) + Sync) -> (Host, Vec<Value>) {
    let host = Host::start(&format!(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{{guest:echo}}"
        [trigger.bad]
        listen = "127.0.0.1:0"
        {bad}
        "#
    ));
    let mut neighbour = host.connect("echo");
    neighbour.echo(b"here first");
    let over = AtomicBool::new(false);
    let ends = thread::scope(|scope| {
        let neighbour = scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                neighbour.echo(b"still here");
            }
            neighbour.echo(b"here last");
        });
        for _ in 0..count {
            scope.spawn(|| provoke(host.connect("bad")));
        }
        let ends = host.logged_times(count, "the crowd's end", |line| {
            verb(line) == "end" && line["trigger"] == "bad"
        });
        over.store(true, Ordering::Release);
        neighbour.join().unwrap();
        ends
    });
    assert_eq!(host.ask("echo", b"newcomer"), b"newcomer");
    (host, ends)
}

/// Expects each of the crowd to have ended so.
fn all(ends: &[Value], outcome: &str) {
    for end in ends {
        assert_eq!(end["outcome"], outcome, "{end}");
    }
}

/// Waits for the end of the connection, without a word.
fn listen(mut client: Client) {
    client.heard();
}

#[test]
fn a_guest_that_traps_ends_as_trap_and_the_log_says_why() {
    let (_host, ends) = crowd(r#"wasm = "{guest:trap}""#, |mut client| {
        client.write_all(b"now").unwrap();
        assert_eq!(client.heard(), b"");
    });
    all(&ends, "trap");
    for end in ends {
        assert_eq!(end["level"], "WARN");
        assert_eq!(
            end["reason"],
            "wasm trap: wasm `unreachable` instruction executed"
        );
    }
}

#[test]
fn a_guest_that_spins_ends_as_cpu() {
    let (_host, ends) = crowd(
        r#"
        wasm = "{guest:spin}"
        limits = { cpu = "200ms" }
        "#,
        listen,
    );
    all(&ends, "cpu");
}

#[test]
fn a_guest_that_calls_deeper_than_its_stack_ends_as_trap() {
    let deep = |stack| {
        Host::start(&format!(
            r#"
            [trigger.deep]
            listen = "127.0.0.1:0"
            wasm = "{{guest:deep}}"
            limits = {{ stack = "{stack}" }}
            "#
        ))
    };
    let small = deep("64KiB");
    for _ in 0..CROWD {
        let steps = small.connect("deep").heard();
        assert!((10..5000).contains(&steps.len()), "{}", steps.len());
        assert!(steps.iter().all(|step| *step == b'.'));
    }
    let ends = small.logged_times(CROWD, "all ends", |line| verb(line) == "end");
    all(&ends, "trap");
    for end in &ends {
        assert_eq!(end["reason"], "wasm trap: call stack exhausted");
    }
    let large = deep("64MiB");
    assert_eq!(
        large.connect("deep").rest(),
        [&[b'.'; 5000][..], b"up"].concat()
    );
    assert_eq!(large.outcome("deep"), "done");
}

#[test]
fn the_largest_stack_of_a_plan_is_that_of_all_its_guests() {
    let host = Host::start(
        r#"
        [trigger.small]
        listen = "127.0.0.1:0"
        wasm = "{guest:deep}"
        limits = { stack = "64KiB" }
        [trigger.large]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        limits = { stack = "8MiB" }
        "#,
    );
    assert!(host.connect("small").rest().ends_with(b"up"));
    assert_eq!(host.ask("large", b"hi"), b"hi");
}

#[test]
fn neighbours_and_newcomers_are_served_while_a_crowd_spins() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.component]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-stdio.component}"
        [trigger.spin]
        listen = "127.0.0.1:0"
        wasm = "{guest:spin}"
        limits = { cpu = "1h" }
        "#,
    );
    let mut neighbours = [host.connect("echo"), host.connect("component")];
    let _crowd: Vec<_> = (0..CROWD).map(|_| host.connect("spin")).collect();
    host.logged_times(CROWD, "the crowd", |line| {
        verb(line) == "accept" && line["trigger"] == "spin"
    });
    for _ in 0..20 {
        for neighbour in &mut neighbours {
            neighbour.echo(b"still here");
        }
        for trigger in ["echo", "component"] {
            assert_eq!(host.ask(trigger, b"newcomer"), b"newcomer");
        }
    }
    assert!(
        !host
            .log()
            .iter()
            .any(|line| verb(line) == "end" && line["trigger"] == "spin")
    );
}

#[test]
fn a_guest_that_eats_memory_ends_as_memory_having_got_no_more_than_its_limit() {
    let (host, ends) = crowd(
        r#"
        wasm = "{guest:grow}"
        limits = { memory = "16MiB" }
        "#,
        listen,
    );
    all(&ends, "memory");
    for (_, line) in host.said("bad") {
        // The first page or two were its own.
        assert!(
            ["grow: refused after 14 MiB", "grow: refused after 15 MiB"].contains(&&*line),
            "{line}"
        );
    }
}

#[test]
fn a_guest_that_floods_a_client_that_never_reads_waits_for_it_and_ends_as_idle() {
    let open = Mutex::new(Vec::new());
    let (_host, ends) = crowd(
        r#"
        wasm = "{guest:flood}"
        limits = { idle = "300ms" }
        "#,
        // Kept open, and never read.
        |client| open.lock().unwrap().push(client),
    );
    all(&ends, "idle");
    for end in ends {
        let sent = end["tx"].as_u64().unwrap();
        assert!(
            (1..64 << 20).contains(&sent),
            "more than the kernel's buffers hold: {end}"
        );
    }
}

#[test]
fn a_guest_that_floods_a_client_that_reads_ends_as_deadline() {
    let (_host, ends) = crowd(
        r#"
        wasm = "{guest:flood}"
        limits = { deadline = "300ms" }
        "#,
        |mut client| {
            let mut into = vec![0; 64 * 1024];
            while !matches!(client.read(&mut into), Ok(0) | Err(_)) {}
        },
    );
    all(&ends, "deadline");
}

#[test]
fn a_guest_that_floods_the_log_is_heard_up_to_a_bound_and_ends_as_cpu() {
    // What all of them are allowed together is less than the log holds before it loses lines.
    let (host, ends) = crowd_of(
        CROWD,
        r#"
        wasm = "{guest:flood-log}"
        limits = { cpu = "500ms" }
        "#,
        listen,
    );
    all(&ends, "cpu");
    for end in &ends {
        let log = host.log();
        let mut said = log.iter().filter(|line| line["id"] == end["id"]);
        let bytes: usize = said
            .clone()
            .map(|line| line["line"].as_str().map_or(0, str::len))
            .sum();
        assert!((1..=256 * 1024).contains(&bytes), "{bytes}");
        assert!(
            said.any(|line| line["reason"] == "it says too much, and is not heard for a while")
        );
    }
}

#[test]
fn a_guest_that_never_reads_ends_as_idle_however_much_its_client_sends() {
    let (_host, ends) = crowd(
        r#"
        wasm = "{guest:never-read}"
        limits = { idle = "300ms" }
        "#,
        |mut client| while client.write(&vec![0; 64 * 1024]).is_ok() {},
    );
    all(&ends, "idle");
    assert!(ends.iter().all(|end| end["rx"] == 0), "{ends:#?}");
}

#[test]
fn a_conversation_that_never_ends_ends_as_deadline() {
    let (_host, ends) = crowd(
        r#"
        wasm = "{guest:hold}"
        limits = { deadline = "300ms" }
        "#,
        |mut client| {
            while client.write_all(b"and").is_ok() && client.read_exact(&mut [0; 3]).is_ok() {}
        },
    );
    all(&ends, "deadline");
}

#[test]
fn a_conversation_that_falls_silent_ends_as_idle() {
    let (_host, ends) = crowd(
        r#"
        wasm = "{guest:hold}"
        limits = { idle = "300ms" }
        "#,
        |mut client| {
            client.echo(b"and then");
            assert!(client.is_over());
        },
    );
    all(&ends, "idle");
    assert!(
        ends.iter().all(|end| end["rx"] == 8 && end["tx"] == 8),
        "{ends:#?}"
    );
}

#[test]
fn a_guest_that_ends_with_a_status_ends_as_that() {
    let (_host, ends) = crowd(r#"wasm = "{guest:exit7}""#, listen);
    all(&ends, "exit(7)");
}

#[test]
fn a_client_that_resets_its_connection_ends_it_as_hangup() {
    for guest in ["echo", "c-poll-echo", "echo-stdio", "echo-stdio.component"] {
        let (_host, ends) = crowd(&format!(r#"wasm = "{{guest:{guest}}}""#), |mut client| {
            client.echo(b"in the middle of");
            client.reset();
        });
        all(&ends, "hangup");
    }
}

#[test]
fn a_client_that_goes_away_while_it_is_answered_ends_it_as_hangup() {
    for guest in ["flood", "unruly.component"] {
        let bad = format!("wasm = \"{{guest:{guest}}}\"\nargs = [\"flood\"]");
        let (_host, ends) = crowd(&bad, |mut client| drop(Client::bytes(&mut client, 100)));
        all(&ends, "hangup");
    }
}

#[test]
fn a_component_that_misbehaves_ends_as_a_module_does() {
    for (how, limits, outcome) in [
        ("trap", "", "trap"),
        ("spin", r#"cpu = "200ms""#, "cpu"),
        ("grow", r#"memory = "16MiB""#, "memory"),
        ("flood", r#"deadline = "300ms""#, "deadline"),
        ("log", r#"cpu = "500ms""#, "cpu"),
        ("sleep", r#"idle = "300ms""#, "idle"),
        ("sleep", r#"deadline = "300ms""#, "deadline"),
        ("exit", "", "exit(1)"),
    ] {
        let bad = format!(
            r#"
            wasm = "{{guest:unruly.component}}"
            args = ["{how}"]
            limits = {{ {limits} }}
            "#
        );
        let (_host, ends) = crowd(&bad, |mut client| {
            assert_eq!(client.line(), "ready", "{how}");
            let mut into = vec![0; 64 * 1024];
            while !matches!(client.read(&mut into), Ok(0) | Err(_)) {}
        });
        all(&ends, outcome);
    }
}
