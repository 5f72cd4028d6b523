//! Components that export `wasi:cli/run`: stdin and stdout are the connection, stderr is the log.
//! (What they cannot do is told in `sandbox`, how they misbehave in `neighbours`.)

mod support;

use std::io::Write as _;
use std::net::Shutdown;

use support::{Client, Host, noise, verb};

#[test]
fn a_component_echoes_16_mib_bit_for_bit_over_every_family() {
    let host = Host::start(&format!(
        r#"
        [trigger.echo]
        listen = ["127.0.0.1:0", "[::1]:0", "unix:{{dir}}/echo", "unix:@portcullis-component-{}"]
        wasm = "{{guest:echo-stdio.component}}"
        "#,
        std::process::id()
    ));
    let data = noise(16 << 20);
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
        let bytes = 13 + data.len();
        assert_eq!(
            (&end["outcome"], &end["rx"], &end["tx"]),
            (&"done".into(), &bytes.into(), &bytes.into())
        );
    }
    assert_eq!(host.said("echo"), []);
    assert!(host.stop().success());
}

#[test]
fn what_a_component_has_written_reaches_a_client_that_reads_only_after_it_has_ended() {
    let host = Host::start(
        r#"
        [trigger.pry]
        listen = "127.0.0.1:0"
        wasm = "{guest:pry.component}"
        "#,
    );
    let mut client = host.connect("pry");
    assert_eq!(host.outcome("pry"), "done");
    let report = String::from_utf8(client.rest()).unwrap();
    assert!(report.starts_with("listen: denied: "), "{report}");
    assert!(
        report.contains("variable PROTO: GOT \"inet\"\n"),
        "{report}"
    );
}

#[test]
fn a_component_finds_the_variables_of_the_contract_and_no_other() {
    let host = Host::start_with(
        r#"
        [trigger.pry]
        listen = ["127.0.0.1:0", "unix:{dir}/pry"]
        wasm = "{guest:pry.component}"
        env = { GREETING = "good day" }
        "#,
        |command| {
            command.env("PORTCULLIS_SECRET", "hidden");
        },
    );
    let [inet, unix] = host.addresses("pry") else {
        panic!("two addresses")
    };
    let variables = |mut client: Client| {
        let report = String::from_utf8(client.rest()).unwrap();
        let lines = report
            .lines()
            .filter_map(|line| line.strip_prefix("variable "));
        let mut variables: Vec<_> = lines
            .map(|line| line.replace(": GOT ", "=").replace('"', ""))
            .collect();
        variables.sort();
        variables
    };
    let client = Client::to(inet);
    let Client::Tcp(stream) = &client else {
        panic!("inet")
    };
    let remote = stream.local_addr().unwrap().port();
    let port = inet.rsplit_once(':').unwrap().1;
    assert_eq!(
        variables(client),
        [
            "ADDR=127.0.0.1",
            "GREETING=good day",
            &format!("PORT={port}"),
            "PROTO=inet",
            "REMOTE_ADDR=127.0.0.1",
            &format!("REMOTE_PORT={remote}"),
            "UPSTART_EVENTS=socket",
            "UPSTART_INSTANCE=",
            "UPSTART_JOB=pry",
        ]
    );
    assert_eq!(
        variables(Client::to(unix)),
        [
            "GREETING=good day",
            "PROTO=unix",
            &format!("SOCKET_PATH={}", unix.strip_prefix("unix:").unwrap()),
            "UPSTART_EVENTS=socket",
            "UPSTART_INSTANCE=",
            "UPSTART_JOB=pry",
        ]
    );
}

#[test]
fn a_component_that_echoes_to_a_client_that_does_not_read_stops_reading_and_ends_as_idle() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-stdio.component}"
        limits = { idle = "500ms" }
        "#,
    );
    let mut client = host.connect("echo");
    // Until the host takes no more and closes at last.
    let mut sent = 0;
    while let Ok(count) = client.write(&vec![b'x'; 64 * 1024]) {
        sent += count;
    }
    let end = host.ended("echo");
    assert_eq!(end["outcome"], "idle");
    assert!(
        end["rx"].as_u64().unwrap() <= end["tx"].as_u64().unwrap() + 256 * 1024,
        "{end}"
    );
    assert!(sent < 64 << 20, "more than the kernel's buffers hold");
}

#[test]
fn a_component_answers_a_client_that_has_half_closed_at_once() {
    let host = Host::start(
        r#"
        [trigger.echo]
        listen = ["127.0.0.1:0", "unix:{dir}/echo"]
        wasm = "{guest:echo-stdio.component}"
        "#,
    );
    for address in host.addresses("echo") {
        let mut client = Client::to(address);
        client.shutdown(Shutdown::Write);
        assert_eq!(client.rest(), b"");
        assert_eq!(Client::to(address).ask(b"last word"), b"last word");
    }
    let ends = host.logged_times(4, "four ends", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"), "{ends:#?}");
}

#[test]
fn what_cargo_component_builds_serves_like_what_plain_cargo_builds() {
    let host = Host::start(
        r#"
        [trigger.cargo-component]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-cargo-component.component}"
        [trigger.cargo]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-stdio.component}"
        "#,
    );
    for trigger in ["cargo-component", "cargo"] {
        assert_eq!(host.ask(trigger, b"Hello, World!"), b"Hello, World!");
        assert_eq!(host.outcome(trigger), "done");
    }
}
