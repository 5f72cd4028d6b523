//! Who is let in: connections over a trigger, a source and the whole host, and how fast they may
//! come. What is over a limit waits in the backlog or is refused, and holds no place.

mod support;

use std::io::Write as _;
use std::net::Shutdown;

use nix::sys::resource::{Resource, getrlimit};
use support::{Client, Host, verb};

/// How many connections of `trigger` were accepted so far. Asked after another trigger of the same
/// host has served a newcomer and its log line has come, so that the host has had its turn.
fn accepted(host: &Host, trigger: &str) -> usize {
    let count = |what: &str, trigger: &str| {
        let log = host.log();
        log.iter()
            .filter(|line| verb(line) == what && line["trigger"] == trigger)
            .count()
    };
    let served = count("end", "other");
    assert_eq!(host.ask("other", b"alive"), b"alive");
    host.logged_times(served + 1, "the newcomer's end", |line| {
        verb(line) == "end" && line["trigger"] == "other"
    });
    count("accept", trigger)
}

const OTHER: &str = r#"
    [trigger.other]
    listen = "127.0.0.1:0"
    wasm = "{guest:echo}"
"#;

#[test]
fn a_client_over_the_limit_of_its_trigger_waits_in_the_backlog_and_is_served_when_another_ends() {
    let host = Host::start(&format!(
        r#"{OTHER}
        [trigger.two]
        listen = ["127.0.0.1:0", "unix:{{dir}}/two"]
        wasm = "{{guest:echo}}"
        limits = {{ connections = 2 }}
        "#
    ));
    let mut first = host.connect("two");
    first.echo(b"first");
    let mut second = Client::to(&host.addresses("two")[1]);
    second.echo(b"second");
    let mut third = host.connect("two");
    third.write_all(b"third").unwrap();
    assert_eq!(accepted(&host, "two"), 2);
    first.echo(b"first again");
    drop(second);
    assert_eq!(third.bytes(5), b"third");
    assert_eq!(accepted(&host, "two"), 3);
    assert!(!host.log().iter().any(|line| verb(line) == "reject"));
}

#[test]
fn a_source_over_its_limit_is_refused_and_others_are_served() {
    let host = Host::start(
        r#"
        [trigger.one]
        listen = ["127.0.0.1:0", "unix:{dir}/one"]
        wasm = "{guest:echo}"
        limits = { per_source = 1 }
        "#,
    );
    let [inet, unix] = host.addresses("one") else {
        panic!("two addresses")
    };
    let mut first = Client::from([127, 0, 0, 1], inet);
    first.echo(b"first");
    let mut same = Client::from([127, 0, 0, 1], inet);
    assert!(same.is_over());
    Client::from([127, 0, 0, 2], inet).echo(b"another source");
    let mut user = Client::to(unix);
    user.echo(b"a user is a source, too");
    assert!(Client::to(unix).is_over());
    let rejects = host.logged_times(2, "two rejects", |line| verb(line) == "reject");
    for reject in &rejects {
        assert_eq!(
            (&reject["trigger"], &reject["reason"]),
            (&"one".into(), &"per_source".into())
        );
    }
    let Client::Tcp(same) = same else {
        panic!("inet")
    };
    assert_eq!(rejects[0]["peer"], same.local_addr().unwrap().to_string());

    first.echo(b"the first has noticed nothing");
    drop(first);
    host.logged("its end", |line| verb(line) == "end" && line["id"] == 1);
    Client::from([127, 0, 0, 1], inet).echo(b"its place is free again");
}

#[test]
fn connections_that_come_faster_than_the_rate_wait_in_the_backlog() {
    let host = Host::start(&format!(
        r#"{OTHER}
        [trigger.slow]
        listen = "127.0.0.1:0"
        wasm = "{{guest:echo}}"
        limits = {{ rate = "2/h" }}
        "#
    ));
    assert_eq!(host.ask("slow", b"first"), b"first");
    assert_eq!(host.ask("slow", b"second"), b"second");
    let mut third = host.connect("slow");
    third.write_all(b"third").unwrap();
    assert_eq!(accepted(&host, "slow"), 2);
    let Client::Tcp(third) = third else {
        panic!("inet")
    };
    third.set_nonblocking(true).unwrap();
    let unheard = third.peek(&mut [0]).unwrap_err();
    assert_eq!(
        unheard.kind(),
        std::io::ErrorKind::WouldBlock,
        "neither served nor refused"
    );
}

#[test]
fn a_rate_lets_everybody_in_after_a_while() {
    let host = Host::start(
        r#"
        [trigger.rate]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        limits = { rate = "1/20ms" }
        "#,
    );
    let clients: Vec<_> = (0..10).map(|_| host.connect("rate")).collect();
    for client in clients {
        assert_eq!(client.ask(b"in the end"), b"in the end");
    }
}

#[test]
fn the_limit_of_the_host_is_over_all_triggers_and_idle_triggers_hold_no_place() {
    let host = Host::start(
        r#"
        [host]
        limits = { connections = 2 }
        [trigger.a]
        listen = ["127.0.0.1:0", "unix:{dir}/a"]
        wasm = "{guest:echo}"
        [trigger.b]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-stdio.component}"
        [trigger.c]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo-stdio}"
        [trigger.d]
        listen = "127.0.0.1:0"
        script = "exec cat"
        accept = true
        "#,
    );
    for trigger in ["a", "b", "c", "d"] {
        let mut client = host.connect(trigger);
        client.echo(b"alone");
        host.connect(trigger).echo(b"together");
    }
    // Both places are free again when the log says so.
    host.logged_times(8, "their ends", |line| verb(line) == "end");
    let mut first = host.connect("a");
    first.echo(b"first");
    let mut second = host.connect("b");
    second.echo(b"second");
    let mut waiting: Vec<_> = ["c", "d", "a"]
        .iter()
        .map(|trigger| host.connect(trigger))
        .collect();
    for client in &mut waiting {
        client.write_all(b"now").unwrap();
        client.shutdown(Shutdown::Write);
    }
    first.echo(b"first again");
    second.echo(b"second again");
    assert_eq!(
        host.logged_times(10, "ten in all", |line| verb(line) == "accept")
            .len(),
        10
    );
    // One place serves all that wait, one after the other.
    drop(first);
    for mut client in waiting {
        assert_eq!(client.rest(), b"now");
    }
    second.echo(b"second at last");
}

/// Connections of one echo, over the host and of its trigger.
fn plan_of(connections: u64) -> String {
    format!(
        r#"
        [host]
        limits.connections = {connections}
        [trigger.echo]
        listen = "127.0.0.1:0"
        wasm = "{{guest:echo}}"
        limits.connections = {connections}
        "#
    )
}

/// The number that stands behind `words` in what the host says of a plan that is too big.
fn raise(connections: u64, words: &str) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let said = support::command("run", &plan_of(connections), dir.path());
    assert_eq!(said.code, Some(111), "{}", said.stderr);
    assert_eq!(said.stdout, "");
    let (_, rest) = said.stderr.split_once(words).unwrap();
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap()
}

#[test]
fn a_plan_that_is_too_big_for_the_machine_is_told_at_the_start_what_to_raise_and_how_far() {
    let (_, descriptors) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let far = raise(descriptors, "raise it to ");
    assert!(
        (descriptors + 1..descriptors + 1000).contains(&far),
        "{far}"
    );
    let mappings = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap();
    let mappings: u64 = mappings.trim().parse().unwrap();
    // Each takes six. Where files run out before mappings do, there is no such plan.
    let many = (mappings / 5).min(descriptors - 500);
    if many * 6 > mappings {
        let far = raise(many, "sysctl -w vm.max_map_count=");
        assert!((many * 6..many * 6 + 10_000).contains(&far), "{far}");
    }
}
