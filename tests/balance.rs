//! Connections that stay are shared out between the processors, wherever they arrive, and guests that
//! compute for long leave the threads that serve to others.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Instant;

use support::{Client, Host, PATIENCE, noise, verb};

/// More than a worker keeps while another has none.
const CONNECTIONS: usize = 400;

/// Ticks on the processor, a hundredth of a second each, that each worker is to have had.
const SHARE: u64 = 5;

/// What each thread of the host whose name begins so has spent on the processor, in ticks.
fn spent(host: &Host, name: &str) -> Vec<u64> {
    let mut spent = Vec::new();
    for thread in fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap() {
        let thread = thread.unwrap().path();
        // One that has ended meanwhile is none of those.
        let Ok(stat) = fs::read_to_string(thread.join("stat")) else {
            continue;
        };
        let (own, rest) = stat.rsplit_once(") ").unwrap();
        if own.split_once('(').unwrap().1.starts_with(name) {
            // The fields are those from the third on: 14 and 15 are wanted.
            let times = rest.split(' ').skip(11).take(2);
            spent.push(times.map(|ticks| ticks.parse::<u64>().unwrap()).sum());
        }
    }
    spent
}

/// Opens connections to the only listener of a host, and has them echo until every worker has had its
/// share of that.
fn is_shared_out(host: &Host) {
    let address = &host.addresses("echo")[0];
    let mut clients: Vec<_> = (0..CONNECTIONS).map(|_| Client::to(address)).collect();
    let data = noise(32 << 10);
    let patience = Instant::now() + PATIENCE;
    loop {
        for client in &mut clients {
            client.echo(&data);
        }
        let spent = spent(host, "worker-");
        assert!(!spent.is_empty());
        if spent.iter().all(|ticks| *ticks >= SHARE) {
            return;
        }
        assert!(Instant::now() < patience, "{address}: {spent:?}");
    }
}

fn echo_at(listen: &str) -> String {
    format!("[trigger.echo]\nlisten = \"{listen}\"\nwasm = \"{{guest:echo}}\"\n")
}

#[test]
fn connections_of_one_listener_are_shared_out_between_the_workers() {
    let name = format!("portcullis-balance-{}", std::process::id());
    for listen in [
        "127.0.0.1:0",
        "[::1]:0",
        "unix:{dir}/echo",
        &format!("unix:@{name}"),
    ] {
        is_shared_out(&Host::start(&echo_at(listen)));
    }
}

#[test]
fn those_of_an_inherited_socket_are_as_well() {
    let dir = tempfile::tempdir().unwrap();
    is_shared_out(&Host::inheriting(
        TcpListener::bind("127.0.0.1:0").unwrap().into(),
        &echo_at("fd:web"),
    ));
    let path = UnixListener::bind(dir.path().join("echo")).unwrap();
    is_shared_out(&Host::inheriting(path.into(), &echo_at("fd:web")));
}

#[test]
fn a_crowd_that_computes_leaves_the_workers_to_others() {
    let host = Host::start(
        r#"
        [trigger.one]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.other]
        listen = "127.0.0.1:0"
        wasm = "{guest:echo}"
        [trigger.spin]
        listen = "127.0.0.1:0"
        wasm = "{guest:spin}"
        limits = { cpu = "1h" }
        "#,
    );
    let mut neighbours = [host.connect("one"), host.connect("other")];
    let _crowd: Vec<_> = (0..8).map(|_| host.connect("spin")).collect();
    let sum = |name| spent(&host, name).iter().sum::<u64>();
    let patience = Instant::now() + PATIENCE;
    while sum("long") < 100 {
        for neighbour in &mut neighbours {
            neighbour.echo(b"still here");
        }
        assert!(
            Instant::now() < patience,
            "workers: {:?}, others: {:?}",
            spent(&host, "worker-"),
            spent(&host, "long")
        );
    }
    assert!(!host.log().iter().any(|line| verb(line) == "end"));
}
