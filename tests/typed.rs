//! The typed world in both clothes: the host hands a guest its connection, and what a guest may do with
//! it does what the crate for guests and `wit/bridge.wit` promise. (That bytes are exact over every
//! family, and how limits end a guest, is told in `components` and `neighbours` for guests of all kinds.)

mod support;

use std::net::{Shutdown, SocketAddr};

use nix::unistd::{getgid, getuid};
use support::{Client, Host, noise, verb};

/// The clothes of WASI 0.2 and of WASI 0.3, by what the names of their guests end with.
const CLOTHES: [&str; 2] = ["typed", "async"];

/// A host with one trigger for each of these ways of a guest, named after the way.
fn ways<'a>(guest: &str, ways: impl IntoIterator<Item = &'a str>, limits: &str) -> Host {
    let triggers = ways.into_iter().map(|way| {
        format!(
            r#"
            [trigger.{way}]
            listen = "127.0.0.1:0"
            wasm = "{{guest:{guest}.component}}"
            args = ["{way}"]
            limits = {{ {limits} }}
            "#
        )
    });
    Host::start(&triggers.collect::<String>())
}

/// What the guest of `trigger` has said to the log, one line only.
fn told(host: &Host, trigger: &str) -> String {
    let line = host.logged(&format!("a word of {trigger}"), |line| {
        verb(line) == "output" && line["trigger"] == trigger
    });
    line["line"].as_str().unwrap().to_owned()
}

#[test]
fn a_typed_guest_echoes_16_mib_bit_for_bit_whoever_built_it() {
    let host = Host::start(
        r#"
        [trigger.typed]
        listen = ["127.0.0.1:0", "unix:{dir}/typed"]
        wasm = "{guest:echo-typed.component}"
        [trigger.async]
        listen = ["127.0.0.1:0", "unix:{dir}/async"]
        wasm = "{guest:echo-async.component}"
        [trigger.cargo-component]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-typed-cargo-component.component}"
        "#,
    );
    let data = noise(16 << 20);
    for trigger in ["typed", "async", "cargo-component"] {
        for address in host.addresses(trigger) {
            let mut client = Client::to(address);
            client.echo(b"Hello, World!");
            assert!(
                client.exchange(&data) == data,
                "{address} gave back something else"
            );
        }
    }
    let ends = host.logged_times(5, "five ends", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
}

#[test]
fn a_typed_guest_knows_both_ends_of_its_connection_and_its_trigger() {
    let own = std::process::id();
    for clothes in CLOTHES {
        let host = Host::start(&format!(
            r#"
            [trigger.who]
            listen = ["127.0.0.1:0", "[::1]:0", "unix:{{dir}}/who", "unix:@portcullis-who-{clothes}-{own}"]
            wasm = "{{guest:who-{clothes}.component}}"
            "#
        ));
        let [inet, inet6, path, name] = host.addresses("who") else {
            panic!("four addresses")
        };
        for address in [inet, inet6] {
            let mut client = Client::to(address);
            let peer = here(&client);
            assert_eq!(
                client.line(),
                format!("peer=inet {peer} local=inet {address} trigger=who")
            );
            assert_eq!(client.rest(), b"");
        }
        for address in [path, name] {
            let name = address.strip_prefix("unix:").unwrap();
            let mut client = Client::to(address);
            let (uid, gid) = (getuid(), getgid());
            assert_eq!(
                client.line(),
                format!("peer=unix uid={uid} gid={gid} pid={own} local=unix {name} trigger=who")
            );
            assert_eq!(client.rest(), b"");
        }
    }
}

fn here(client: &Client) -> SocketAddr {
    let Client::Tcp(stream) = client else {
        panic!("not over TCP")
    };
    stream.local_addr().unwrap()
}

#[test]
fn the_crate_for_guests_reads_and_writes_as_rust_does() {
    let text = format!("ada\nb\n\n{}\nno end", "long".repeat(50_000));
    let numbered: Vec<_> = (1..)
        .zip(text.lines())
        .map(|(number, line)| format!("{number} {line}\n"))
        .collect();
    let numbered = numbered.concat();
    let data = noise(3 << 20);
    let few = noise(1001);
    for clothes in CLOTHES {
        let host = ways(&format!("probe-{clothes}"), ["lines", "all", "small"], "");
        assert_eq!(host.ask("lines", b""), b"");
        let answer = host.connect("lines").exchange(text.as_bytes());
        assert!(answer == numbered.as_bytes(), "{clothes}");
        assert_eq!(host.connect("all").exchange(&data), b"3145728 3145728\n");
        assert_eq!(host.ask("all", b""), b"0 0\n");
        assert_eq!(host.connect("small").exchange(&few), few);
        let ends = host.logged_times(5, "five ends", |line| verb(line) == "end");
        assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
    }
}

#[test]
fn an_async_guest_may_use_what_others_have_made_and_change_its_mind() {
    let host = ways("probe-async", ["copy", "fickle"], "");
    let data = noise(3 << 20);
    for trigger in ["copy", "fickle"] {
        assert!(host.connect(trigger).exchange(&data) == data, "{trigger}");
        let mut client = host.connect(trigger);
        for _ in 0..20 {
            client.echo(b"and");
        }
        client.shutdown(Shutdown::Write);
        assert_eq!(client.rest(), b"");
    }
    let ends = host.logged_times(4, "four ends", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
}

#[test]
fn tasks_of_an_async_guest_outlive_its_handler() {
    let host = ways("probe-async", ["tasks"], "");
    let mut client = host.connect("tasks");
    assert_eq!(client.bytes(14), b"one\ntwo\nthree\n");
    assert_eq!(client.ask(b"abc"), b"");
    assert_eq!(told(&host, "tasks"), "read Ok(3)");
    assert_eq!(host.outcome("tasks"), "done");
}

#[test]
fn a_typed_guest_that_has_ended_its_direction_reads_on_and_cannot_write() {
    for clothes in CLOTHES {
        let host = ways(&format!("probe-{clothes}"), ["half"], "");
        let mut client = host.connect("half");
        assert_eq!(client.rest(), b"bye\n");
        assert_eq!(client.ask(b"ten bytes."), b"");
        assert_eq!(told(&host, "half"), "read 10, wrote Err(BrokenPipe)");
        assert_eq!(host.outcome("half"), "done");
    }
}

#[test]
fn a_typed_guest_that_receives_no_more_still_answers() {
    for (clothes, answer) in CLOTHES.into_iter().zip(["read 0", "deaf"]) {
        let host = ways(&format!("probe-{clothes}"), ["deaf"], "");
        assert_eq!(host.connect("deaf").line(), answer);
        assert_eq!(host.outcome("deaf"), "done");
    }
}

#[test]
fn a_client_that_resets_is_an_error_to_who_reads_and_to_who_writes() {
    for clothes in CLOTHES {
        let host = ways(&format!("probe-{clothes}"), ["wait", "push"], "");
        let mut client = host.connect("wait");
        assert_eq!(client.line(), "ready");
        client.reset();
        assert_eq!(told(&host, "wait"), "read Err(ConnectionReset)");
        let mut client = host.connect("push");
        client.bytes(1);
        client.reset();
        let why = told(&host, "push");
        assert!(
            ["wrote ConnectionReset", "wrote BrokenPipe"].contains(&&*why),
            "{why}"
        );
    }
}

#[test]
fn the_error_of_a_handler_is_a_line_of_the_log() {
    for clothes in CLOTHES {
        let host = ways(&format!("probe-{clothes}"), ["nothing", "debug"], "");
        assert_eq!(host.connect("nothing").heard(), b"");
        assert_eq!(host.outcome("nothing"), "exit(1)");
        assert_eq!(told(&host, "nothing"), r#"no way to try Some("nothing")"#);
        let mut client = host.connect("debug");
        let (peer, local) = (here(&client), &host.addresses("debug")[0]);
        assert_eq!(
            client.line(),
            format!(
                r#"Connection {{ peer: Inet({peer}), local: Inet({local}), trigger: "debug" }}"#
            )
        );
    }
}

#[test]
fn an_unruly_guest_ends_as_it_must() {
    let both = [
        ("trap", "trap"),
        ("panic", "trap"),
        ("err", "exit(1)"),
        ("exit", "exit(1)"),
        ("return", "done"),
        ("forget", "done"),
        ("handles", "trap"),
    ];
    let typed = [
        ("grow", "memory"),
        ("beyond", "trap"),
        ("unasked", "trap"),
        ("orphan", "trap"),
    ];
    ends("unruly-typed", both.into_iter().chain(typed), "");
    ends("unruly-async", both, "");
    ends("unruly-typed", [("spin", "cpu")], r#"cpu = "300ms""#);
    ends(
        "unruly-async",
        [("spin", "cpu"), ("haunt", "cpu")],
        r#"cpu = "300ms""#,
    );
    ends("unruly-async", [("ending", "idle")], r#"idle = "300ms""#);
}

/// Has a guest end in each of these ways, all at once, and checks with which outcome.
fn ends(guest: &str, all: impl IntoIterator<Item = (&'static str, &'static str)>, limits: &str) {
    let all: Vec<_> = all.into_iter().collect();
    let host = ways(guest, all.iter().map(|(way, _)| *way), limits);
    let mut clients: Vec<_> = all.iter().map(|(way, _)| host.connect(way)).collect();
    for ((way, outcome), client) in all.iter().zip(&mut clients) {
        assert_eq!(host.outcome(way), *outcome, "{guest} {way}");
        let silent = *way == "return" && guest == "unruly-async";
        let ready: &[u8] = if silent { b"" } else { b"ready\n" };
        assert_eq!(client.heard(), ready, "{guest} {way}");
    }
}

#[test]
fn a_guest_that_has_let_its_connection_go_keeps_its_streams() {
    let host = ways("unruly-typed", ["drop"], "");
    assert_eq!(host.ask("drop", b"still there"), b"ready\nstill there");
    assert_eq!(host.outcome("drop"), "done");
    let host = ways("unruly-async", ["drop", "linger"], "");
    for way in ["drop", "linger"] {
        assert_eq!(host.ask(way, b"still there"), b"ready\nstill there");
        assert_eq!(host.outcome(way), "done");
    }
}

#[test]
fn two_handles_to_the_input_share_its_bytes() {
    let host = ways("unruly-typed", ["share"], "");
    assert_eq!(
        host.ask("share", b"abcd"),
        b"ready\n[97] [98]\n[99] [100]\n"
    );
}

#[test]
fn a_direction_that_a_guest_has_ended_is_closed_to_it() {
    let host = ways("unruly-typed", ["shutdown", "deaf"], "");
    assert_eq!(host.connect("shutdown").heard(), b"ready\n");
    assert_eq!(host.outcome("shutdown"), "done");
    let lines: Vec<_> = host
        .said("shutdown")
        .into_iter()
        .map(|(_, line)| line)
        .collect();
    assert_eq!(
        lines,
        [
            "read: Err(StreamError::Closed)",
            "check: Err(StreamError::Closed)",
            "write: Err(StreamError::Closed)"
        ]
    );
    let answer = b"ready\nErr(StreamError::Closed)\n";
    assert_eq!(host.connect("deaf").heard(), answer);
    let host = ways("unruly-async", ["deaf"], "");
    assert_eq!(host.connect("deaf").heard(), b"ready\nOk(())\n");
}

#[test]
fn a_connection_is_sent_one_stream_and_that_may_be_its_own() {
    let host = ways("unruly-async", ["twice", "loop"], "");
    let answer = b"ready\nErr(ErrorCode::Io), 5 bytes left\n";
    assert_eq!(host.connect("twice").rest(), answer);
    let data = noise(1 << 20);
    assert!(host.connect("loop").exchange(&data) == data);
    assert_eq!(told(&host, "loop"), "sent: Ok(()), received: Ok(())");
    assert_eq!(host.outcome("loop"), "done");
}

#[test]
fn a_typed_guest_that_floods_a_client_that_never_reads_waits_for_it() {
    for clothes in CLOTHES {
        let host = ways(&format!("unruly-{clothes}"), ["flood"], r#"idle = "300ms""#);
        let _client = host.connect("flood");
        let end = host.ended("flood");
        assert_eq!(end["outcome"], "idle");
        let sent = end["tx"].as_u64().unwrap();
        assert!((1..64 << 20).contains(&sent), "{end}");
    }
}
