//! Guests of the typed worlds that make of their connection what they should not, each of which costs its
//! own connection and nothing else. (What they do right is told in `typed`, what all handlers have in
//! common in `conformance`.)

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use serde_json::Value;
use support::{Client, Host, noise, verb};

/// Both clothes of a guest that misbehaves in the way its argument names.
const TYPED: &str = "unruly-typed.component";
const ASYNC: &str = "unruly-async.component";

/// A host with one trigger for each of `ways` of `guest` to misbehave, named after it, and an echo.
fn unruly(guest: &str, ways: &[&str], limits: &str) -> Host {
    let triggers = ways.iter().map(|way| {
        format!(
            r#"
            [trigger.{way}]
            listen = ["127.0.0.1:0", "unix:{{dir}}/{way}"]
            wasm = "{{guest:{guest}}}"
            args = ["{way}"]
            limits = {{ connections = 20, {limits} }}
            "#
        )
    });
    Host::start(&format!(
        r#"
        [host]
        limits = {{ connections = 20 }}
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{{guest:echo-typed.component}}"
        {}
        "#,
        triggers.collect::<String>()
    ))
}

/// The most memory that the host has ever had, in KiB.
fn peak(host: &Host) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

/// What a trigger's guests have said in the log so far, without what Rust says of every panic.
fn said(host: &Host, trigger: &str) -> Vec<String> {
    let said = host.said(trigger).into_iter();
    said.map(|(_, line)| line)
        .filter(|line| !line.is_empty() && !line.starts_with("note:"))
        .collect()
}

/// Has a client ask each of `ways` while a neighbour is echoed, and expects it to hear, after the
/// `ready` of those that say it, what is written beside it, and the log to tell its end.
fn each_ends(guest: &str, limits: &str, ways: &[(&str, &str, &str)]) -> Host {
    let names: Vec<_> = ways.iter().map(|(way, ..)| *way).collect();
    let host = unruly(guest, &names, limits);
    let mut neighbour = host.connect("echo");
    for (way, heard, outcome) in ways {
        for address in host.addresses(way) {
            let mut client = Client::to(address);
            // The guest may have ended before it is asked.
            let _ = client.write_all(b"hello");
            client.shutdown(Shutdown::Write);
            assert_eq!(
                String::from_utf8_lossy(&client.heard()),
                *heard,
                "{way} at {address}"
            );
        }
        let ends = host.logged_times(2, "its ends", |line| {
            verb(line) == "end" && line["trigger"] == *way
        });
        for end in ends {
            assert_eq!(end["outcome"], *outcome, "{end}");
        }
        neighbour.echo(b"still here");
    }
    host
}

/// Why the first connection of `trigger` was trapped.
fn reason(host: &Host, trigger: &str) -> String {
    host.ended(trigger)["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_guest_ends_as_what_it_did() {
    // The second returns before it has said a word.
    for (guest, returned) in [(TYPED, "ready\n"), (ASYNC, "")] {
        let host = each_ends(
            guest,
            "",
            &[
                ("return", returned, "done"),
                ("err", "ready\n", "exit(1)"),
                ("exit", "ready\n", "exit(1)"),
                ("trap", "ready\n", "trap"),
                ("panic", "ready\n", "trap"),
                ("forget", "ready\n", "done"),
                ("drop", "ready\nhello", "done"),
            ],
        );
        assert_eq!(said(&host, "err"), ["as it was told to"; 2]);
        assert_eq!(said(&host, "panic")[1], "as it was told to");
        assert_eq!(
            reason(&host, "trap"),
            "wasm trap: wasm `unreachable` instruction executed"
        );
    }
}

#[test]
fn the_bytes_of_a_client_can_be_given_back_unread() {
    let host = each_ends(ASYNC, "", &[("loop", "hello", "done")]);
    assert_eq!(said(&host, "loop"), ["sent: Ok(()), received: Ok(())"; 2]);
}

#[test]
fn a_guest_that_takes_more_than_it_may_is_stopped() {
    let host = each_ends(
        TYPED,
        "",
        &[
            ("handles", "ready\n", "trap"),
            ("beyond", "ready\n", "trap"),
            ("unasked", "ready\n", "trap"),
            ("orphan", "ready\n", "trap"),
        ],
    );
    assert_eq!(reason(&host, "handles"), "resource table has no free keys");
    assert_eq!(
        reason(&host, "beyond"),
        "wrote more than check-write allowed"
    );
    assert_eq!(
        reason(&host, "unasked"),
        "too much data is being copied between the host and the guest: fuel allocated for hostcalls \
         has been exhausted"
    );
    assert_eq!(reason(&host, "orphan"), "resource has children");
    assert_eq!(said(&host, "beyond"), [""; 0]);

    let host = unruly(ASYNC, &["return", "handles"], "");
    host.ask("return", b"");
    let before = peak(&host);
    for _ in 0..8 {
        host.connect("handles").heard();
    }
    let ends = host.logged_times(8, "their ends", |line| {
        verb(line) == "end" && line["trigger"] == "handles"
    });
    assert!(ends.iter().all(|end| end["outcome"] == "trap"), "{ends:#?}");
    assert_eq!(reason(&host, "handles"), "resource table has no free keys");
    // A stream takes more than a KiB of the host.
    assert!(
        peak(&host) < before + (16 << 10),
        "{} KiB, and {before} before",
        peak(&host)
    );
}

#[test]
fn a_guest_that_goes_on_for_ever_is_ended_by_its_limits() {
    let limits = r#"cpu = "200ms", memory = "16MiB""#;
    each_ends(
        TYPED,
        limits,
        &[("spin", "ready\n", "cpu"), ("grow", "ready\n", "memory")],
    );
    // The second has returned, and computes on in a task of its own.
    each_ends(
        ASYNC,
        limits,
        &[("spin", "ready\n", "cpu"), ("haunt", "ready\n", "cpu")],
    );
    // It waits for a word on how its client ended, and reads nothing that would tell.
    each_ends(ASYNC, r#"idle = "300ms""#, &[("ending", "ready\n", "idle")]);
    each_ends(
        ASYNC,
        r#"deadline = "300ms""#,
        &[("ending", "ready\n", "deadline")],
    );
}

#[test]
fn a_guest_of_03_that_has_returned_goes_on_with_its_connection() {
    let host = unruly(ASYNC, &["linger"], "");
    for address in host.addresses("linger") {
        let mut client = Client::to(address);
        assert_eq!(client.line(), "ready");
        let data = noise(1 << 20);
        client.echo(b"long after");
        assert!(client.exchange(&data) == data);
    }
    let ends = host.logged_times(2, "two ends", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
}

#[test]
fn a_guest_that_has_ended_its_direction_still_hears_all_that_its_client_says() {
    let data = noise(1 << 20);
    for (guest, report) in [
        (TYPED, "received 1048576 bytes"),
        (ASYNC, "sent: Ok(()), received 1048576 bytes: Ok(())"),
    ] {
        let host = unruly(guest, &["finish"], "");
        for address in host.addresses("finish") {
            let mut client = Client::to(address);
            // The client hears the end before it has said a word.
            assert_eq!(client.rest(), b"ready\n");
            client.write_all(&data).unwrap();
            client.shutdown(Shutdown::Write);
        }
        let ends = host.logged_times(2, "two ends", |line| verb(line) == "end");
        assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
        assert!(ends.iter().all(|end| end["rx"] == data.len()), "{ends:#?}");
        assert_eq!(said(&host, "finish"), [report; 2]);
    }
}

#[test]
fn to_end_both_directions_twice_and_to_write_then_is_told_as_closed() {
    let host = unruly(TYPED, &["shutdown"], "");
    for address in host.addresses("shutdown") {
        let mut client = Client::to(address);
        assert_eq!(client.rest(), b"ready\n");
    }
    let ends = host.logged_times(2, "two ends", |line| verb(line) == "end");
    assert!(
        ends.iter()
            .all(|end| end["outcome"] == "done" && end["tx"] == 6),
        "{ends:#?}"
    );
    let closed = ["read", "check", "write"].map(|what| format!("{what}: Err(StreamError::Closed)"));
    assert_eq!(said(&host, "shutdown"), [closed.clone(), closed].concat());
}

#[test]
fn a_guest_is_told_that_its_client_has_reset_the_connection_and_not_that_it_has_finished() {
    let host = Host::start(
        r#"
        [trigger.typed]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-typed.component}"
        [trigger.async]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-async.component}"
        "#,
    );
    for trigger in ["typed", "async"] {
        let mut client = host.connect(trigger);
        client.echo(b"in the middle of");
        client.reset();
        assert_eq!(host.outcome(trigger), "hangup");
        let said = said(&host, trigger);
        assert!(
            said.len() == 1 && said[0].contains("reset"),
            "{trigger}: {said:?}"
        );
    }
}

#[test]
fn a_client_that_does_not_read_holds_its_guest_back_and_takes_no_memory_of_the_host() {
    for guest in [TYPED, ASYNC, "unruly.component"] {
        let host = unruly(guest, &["flood"], r#"idle = "300ms""#);
        // All that the first takes once and for all.
        let mut first = host.connect("flood");
        Client::bytes(&mut first, 1 << 20);
        drop(first);
        host.ended("flood");
        let before = peak(&host);
        let silent: Vec<_> = (0..8).map(|_| host.connect("flood")).collect();
        let ends = host.logged_times(9, "all ends", |line| verb(line) == "end");
        for end in &ends[1..] {
            assert_eq!(end["outcome"], "idle", "{end}");
            let sent = end["tx"].as_u64().unwrap();
            assert!(
                (1..64 << 20).contains(&sent),
                "more than the kernel's buffers hold: {end}"
            );
        }
        // Beside the guests' own memory, of which each has a little more than a MiB.
        assert!(
            peak(&host) < before + (24 << 10),
            "{} KiB, and {before} before",
            peak(&host)
        );
        drop(silent);
    }
}

#[test]
fn a_hundred_mib_reach_a_client_that_reads_slowly_and_take_no_memory_of_the_host() {
    let much: usize = 100 << 20;
    for guest in [TYPED, ASYNC] {
        let host = unruly(guest, &["flood"], "");
        let mut client = host.connect("flood");
        assert_eq!(client.line(), "ready");
        let before = peak(&host);
        let mut left = much;
        // By pieces that are no multiple of any buffer's size.
        let mut into = vec![0; 9973];
        while left > 0 {
            let count = client.read(&mut into).unwrap();
            assert!(into[..count].iter().all(|byte| b"x\n".contains(byte)));
            left = left.saturating_sub(count);
        }
        assert!(
            peak(&host) < before + (8 << 10),
            "{} KiB, and {before} before",
            peak(&host)
        );
        drop(client);
        assert_eq!(host.outcome("flood"), "hangup");
    }
}

#[test]
fn a_client_that_goes_away_while_it_is_answered_ends_both_clothes_as_hangup() {
    for guest in [TYPED, ASYNC] {
        let host = unruly(guest, &["flood"], "");
        for address in host.addresses("flood") {
            let mut client = Client::to(address);
            Client::bytes(&mut client, 1 << 20);
        }
        let ends = host.logged_times(2, "two ends", |line: &Value| verb(line) == "end");
        assert!(
            ends.iter().all(|end| end["outcome"] == "hangup"),
            "{ends:#?}"
        );
        assert!(
            said(&host, "flood")
                .iter()
                .any(|line| line.contains("the client reads"))
        );
    }
}
