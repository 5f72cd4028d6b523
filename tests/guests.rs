//! Guests in every language that makes WASI programs: each finds the socket it was written for, and
//! serves unchanged.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Client, Host, noise, verb};
use tempfile::TempDir;

/// More than all the buffers hold between a client and a guest and back.
const MUCH: usize = 16 << 20;

/// Serves `guest` over every family, has it echo a little and then `count` bytes both ways at once,
/// and expects each of its instances to end as done.
fn echoes_over_every_family(guest: &str, count: usize) {
    let name = format!("{guest}-{}", std::process::id());
    let host = Host::start(&format!(
        r#"
        [trigger.echo]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{{dir}}/echo", "unix:@portcullis-{name}"]
        wasm = "{{guest:{guest}}}"
        "#
    ));
    let data = noise(count);
    for address in host.addresses("echo") {
        let mut client = Client::to(address);
        client.echo(b"Hello, World!");
        assert!(
            client.exchange(&data) == data,
            "{address} gave back something else"
        );
    }
    let ends = host.logged_times(4, "four ends", |line| verb(line) == "end");
    for end in ends {
        assert_eq!(end["outcome"], "done", "{end}");
        assert_eq!(
            (&end["rx"], &end["tx"]),
            (&(13 + count).into(), &(13 + count).into())
        );
    }
    assert_eq!(host.said("echo"), [], "an echo has nothing to complain of");
    assert!(host.stop().success());
}

#[test]
fn a_rust_guest_of_the_standard_library_echoes_16_mib_bit_for_bit_over_every_family() {
    echoes_over_every_family("echo", MUCH);
}

#[test]
fn a_rust_guest_in_stdio_style_echoes_16_mib_bit_for_bit_over_every_family() {
    echoes_over_every_family("echo-stdio", MUCH);
}

#[test]
fn a_tokio_guest_echoes_over_every_family_and_is_done_when_it_polls_for_another_client() {
    echoes_over_every_family("tokio-echo", 1 << 20);
}

#[test]
fn a_c_guest_that_polls_selects_peeks_and_never_blocks_echoes_over_every_family() {
    echoes_over_every_family("c-poll-echo", 1 << 20);
}

#[test]
fn a_c_guest_in_stdio_style_echoes_over_every_family() {
    echoes_over_every_family("c-exec-echo", 1 << 20);
}

#[test]
fn a_go_guest_echoes_over_every_family_and_is_done_when_it_polls_for_another_client() {
    echoes_over_every_family("go-echo", 1 << 20);
}

#[test]
fn a_zig_guest_echoes_over_every_family() {
    echoes_over_every_family("zig-echo", MUCH);
}

#[test]
fn the_message_service_in_rust_and_in_c_answers_over_every_family() {
    for guest in ["message", "c-message"] {
        let name = format!("{guest}-{}", std::process::id());
        let host = Host::start(&format!(
            r#"
            [trigger.message]
            listen = ["127.0.0.1:0", "[::1]:0", "unix:{{dir}}/message", "unix:@portcullis-{name}"]
            wasm = "{{guest:{guest}}}"
            "#
        ));
        for address in host.addresses("message") {
            let mut client = Client::to(address);
            // Not half-closed: the service answers after one read, and closes by itself.
            client.write_all(b"Hello, World!").unwrap();
            assert_eq!(
                client.rest(),
                b"I got your message: Hello, World!",
                "{guest} at {address}"
            );
        }
        let ends = host.logged_times(4, "four ends", |line| verb(line) == "end");
        assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
    }
}

#[test]
fn netcat_is_answered_by_the_message_service() {
    let host = Host::start(
        r#"
        [trigger.rust]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/rust"]
        wasm = "{guest:message}"
        [trigger.c]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{dir}/c"]
        wasm = "{guest:c-message}"
        "#,
    );
    for address in host.addresses("rust").iter().chain(host.addresses("c")) {
        let mut nc = Command::new("nc");
        if let Some(path) = address.strip_prefix("unix:") {
            nc.args(["-N", "-U", path]);
        } else {
            let (host, port) = address.rsplit_once(':').unwrap();
            nc.args(["-N", host.trim_matches(['[', ']']), port]);
        }
        let started = nc.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut nc = started.expect("netcat-openbsd has to be installed");
        nc.stdin
            .take()
            .unwrap()
            .write_all(b"Hello, World!")
            .unwrap();
        let ended = nc.wait_with_output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&ended.stdout),
            "I got your message: Hello, World!",
            "at {address}"
        );
        assert!(ended.status.success());
    }
}

#[test]
fn a_guest_answers_after_the_client_has_said_its_last_word() {
    let host = Host::start(
        r#"
        [trigger.hello]
        listen = "127.0.0.1:0"
        wasm = "{guest:hello}"
        env = { GREETING = "good day" }
        "#,
    );
    let mut client = host.connect("hello");
    assert_eq!(client.line(), "good day, who is there?");
    client.write_all(b"World").unwrap();
    client.shutdown(Shutdown::Write);
    assert_eq!(client.rest(), b"good day, World from 127.0.0.1\n");
    assert_eq!(host.outcome("hello"), "done");
}

#[test]
fn a_guest_goes_on_reading_after_it_has_said_its_last_word() {
    let host = Host::start(
        r#"
        [trigger.half]
        listen = ["127.0.0.1:0", "unix:{dir}/half"]
        wasm = "{guest:half-close}"
        "#,
    );
    for address in host.addresses("half") {
        let mut client = Client::to(address);
        assert_eq!(client.rest(), b"bye");
        client.write_all(b"and to you").unwrap();
        client.shutdown(Shutdown::Write);
    }
    host.logged_times(2, "two ends", |line| {
        verb(line) == "end" && line["outcome"] == "done"
    });
    let heard = (
        "stderr".to_owned(),
        "half-close: 10 bytes after bye".to_owned(),
    );
    assert_eq!(host.said("half"), [heard.clone(), heard]);
}

#[test]
fn a_peek_leaves_what_it_shows_and_waitall_waits_for_all() {
    let host = Host::start(
        r#"
        [trigger.peek]
        listen = ["127.0.0.1:0", "unix:{dir}/peek"]
        wasm = "{guest:peek}"
        "#,
    );
    for address in host.addresses("peek") {
        let mut client = Client::to(address);
        client.write_all(b"ABCD").unwrap();
        client.write_all(b"EF").unwrap();
        client.write_all(b"GH").unwrap();
        assert_eq!(client.line(), "peeked ABCD took ABCDEFGH");
    }
    let mut client = host.connect("peek");
    client.write_all(b"ABCDEF").unwrap();
    client.shutdown(Shutdown::Write);
    assert_eq!(
        client.line(),
        "peeked ABCD took ABCDEF",
        "the end of input ends the wait, too"
    );
}

#[test]
fn a_second_blocking_accept_is_the_end_whether_the_connection_is_closed_or_not() {
    let host = Host::start(
        r#"
        [trigger.closed]
        listen = "127.0.0.1:0"
        wasm = "{guest:second-accept}"
        [trigger.open]
        listen = "127.0.0.1:0"
        wasm = "{guest:second-accept-open}"
        "#,
    );
    assert_eq!(host.ask("closed", b"once"), b"once");
    assert_eq!(host.outcome("closed"), "done");
    assert_eq!(host.connect("open").rest(), b"open");
    assert_eq!(host.outcome("open"), "done");
    for trigger in ["closed", "open"] {
        assert_eq!(host.said(trigger), [], "nothing runs after that accept");
    }
}

#[test]
fn what_would_block_says_so_to_a_guest_that_asked_not_to_wait() {
    let host = Host::start(
        r#"
        [trigger.nonblocking]
        listen = "127.0.0.1:0"
        wasm = "{guest:nonblocking}"
        "#,
    );
    let mut client = host.connect("nonblocking");
    assert_eq!(client.line(), "accept: eagain");
    assert_eq!(client.line(), "read: eagain");
    client.write_all(b"now").unwrap();
    assert_eq!(client.line(), "read: 3 bytes");
    assert_eq!(host.outcome("nonblocking"), "done");
}

#[test]
fn a_poll_tells_the_listener_the_connection_and_the_clock_apart() {
    let host = Host::start(
        r#"
        [trigger.poll]
        listen = ["127.0.0.1:0", "unix:{dir}/poll"]
        wasm = "{guest:poll}"
        "#,
    );
    for address in host.addresses("poll") {
        let mut client = Client::to(address);
        assert_eq!(client.line(), "before accept: listener");
        assert_eq!(client.line(), "writable: write");
        assert_eq!(client.line(), "quiet: clock");
        client.write_all(b"seven b").unwrap();
        assert_eq!(client.line(), "data: connection:7");
        // The end of input is no hangup, as with poll(2): the client still listens.
        client.shutdown(Shutdown::Write);
        assert_eq!(client.line(), "end: connection:0");
    }
}

#[test]
fn a_connection_that_is_renumbered_serves_on_under_its_new_number() {
    let host = Host::start(
        r#"
        [trigger.renumber]
        listen = "127.0.0.1:0"
        wasm = "{guest:renumber}"
        "#,
    );
    let mut client = host.connect("renumber");
    assert_eq!(
        [client.line(), client.line(), client.line()],
        ["to 17: ok", "to 3: ok", "old: BADF"]
    );
    client.echo(b"still here");
    assert_eq!(client.ask(b" and here"), b" and here");
    assert_eq!(host.outcome("renumber"), "done");
}

#[test]
fn what_a_guest_writes_to_stdout_and_stderr_is_in_the_log_of_its_connection_and_stdin_is_empty() {
    let host = Host::start(
        r#"
        [trigger.said]
        listen = "127.0.0.1:0"
        wasm = "{guest:stdio-log}"
        "#,
    );
    for id in 1..=2 {
        assert_eq!(host.connect("said").rest(), b"stdin: 0 bytes\n");
        host.logged("its end", |line| verb(line) == "end" && line["id"] == id);
        let log = host.log();
        let mut said: Vec<_> = log
            .iter()
            .filter(|line| verb(line) == "output" && line["id"] == id)
            .map(|line| {
                [&line["trigger"], &line["stream"], &line["line"]].map(|v| v.as_str().unwrap())
            })
            .collect();
        said.sort_unstable();
        assert_eq!(
            said,
            [
                ["said", "stderr", "a line on standard error"],
                ["said", "stdout", "a line on standard output"],
                ["said", "stdout", "the end of standard output"],
            ]
        );
    }
}

/// A folder with `data` in it, which holds a file, and a link that leads out to another.
fn data() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("deeper")).unwrap();
    fs::create_dir(dir.path().join("more")).unwrap();
    fs::write(data.join("hello.txt"), "hello").unwrap();
    fs::write(dir.path().join("hello.txt"), "out of reach").unwrap();
    std::os::unix::fs::symlink("../hello.txt", data.join("escape")).unwrap();
    dir
}

#[test]
fn directories_behind_the_socket_are_found_by_wasi_libc_and_by_go() {
    let host = Host::start_in(
        data(),
        r#"
        [trigger.c]
        listen = "127.0.0.1:0"
        wasm = "{guest:c-poll-echo}"
        env = { SHOW_DIR = "/data" }
        dirs = { "/more" = "more", "/data" = "data" }
        [trigger.go]
        listen = "127.0.0.1:0"
        wasm = "{guest:go-echo}"
        env = { SHOW_DIR = "/data" }
        dirs = { "/more" = "more", "/data" = "data" }
        "#,
        |_| {},
    );
    for trigger in ["c", "go"] {
        let mut client = host.connect(trigger);
        let mut shown = [client.line(), client.line(), client.line()];
        shown.sort_unstable();
        assert_eq!(
            shown,
            ["dir deeper", "dir escape", "dir hello.txt"],
            "{trigger}"
        );
        client.echo(b"and then the echo");
        drop(client);
        assert_eq!(host.outcome(trigger), "done");
    }
}

/// What the guest `dirs` reports of `data`, given with this access; a refusal without its reason.
fn report(host: &Host, trigger: &str) -> Vec<String> {
    let report = String::from_utf8(host.connect(trigger).rest()).unwrap();
    let result = |line: &str| {
        line.split_once(": denied")
            .map_or(line, |(what, _)| what)
            .to_owned()
    };
    let denied = |line: &str| {
        if line.contains(": denied") {
            ": denied"
        } else {
            ""
        }
    };
    report
        .lines()
        .map(|line| result(line) + denied(line))
        .collect()
}

#[test]
fn a_directory_can_be_written_only_where_the_trigger_says_so_and_never_left() {
    let host = Host::start_in(
        data(),
        r#"
        [trigger.ro]
        listen = "127.0.0.1:0"
        wasm = "{guest:dirs}"
        [trigger.ro.dirs]
        "/data" = { path = "data", access = "ro" }
        "/more" = "more"

        [trigger.rw]
        listen = "127.0.0.1:0"
        wasm = "{guest:dirs}"
        [trigger.rw.dirs]
        "/data" = { path = "data", access = "rw" }
        "#,
        |_| {},
    );
    let written = |dir: &Path| fs::read_to_string(dir.join("data/new.txt")).ok();
    assert_eq!(
        report(&host, "ro"),
        [
            "fd 3: tag 1",
            "fd 4: dir /data",
            "fd 5: dir /more",
            "fd 6: BADF",
            "list: ok deeper escape hello.txt",
            "read hello.txt: ok hello",
            "write new.txt: denied",
            "read ../hello.txt: denied",
            "read escape: denied",
            "read /etc/passwd: denied",
        ]
    );
    assert_eq!(written(host.dir.path()), None);
    assert_eq!(
        report(&host, "rw"),
        [
            "fd 3: tag 1",
            "fd 4: dir /data",
            "fd 5: BADF",
            "list: ok deeper escape hello.txt",
            "read hello.txt: ok hello",
            "write new.txt: ok",
            "read ../hello.txt: denied",
            "read escape: denied",
            "read /etc/passwd: denied",
        ]
    );
    assert_eq!(
        written(host.dir.path()).as_deref(),
        Some("written by a guest\n")
    );
}
