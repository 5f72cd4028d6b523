//! Ten thousand at once, on two processors and with a hard limit of twenty thousand descriptors.

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use support::{Host, PATIENCE, Usage, verb};

const MANY: usize = 10_000;

/// Opens `count` connections one after the other, has each of them echo, then each of them again
/// when all are open; gives what the host uses then, and waits until all have ended.
fn hold(host: &Host, count: usize, ended: &mut usize) -> Usage {
    let begun = Instant::now();
    let ping = |client: &mut TcpStream, word: &[u8; 4]| {
        client.write_all(word).unwrap();
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, word);
    };
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        let mut client = TcpStream::connect(&host.addresses("hold")[0]).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        ping(&mut client, b"ping");
        clients.push(client);
    }
    let opened = begun.elapsed();
    for client in &mut clients {
        ping(client, b"pong");
    }
    println!(
        "{count} opened in {opened:?}, all echoed in {:?}",
        begun.elapsed().saturating_sub(opened)
    );
    let usage = Usage::of(host);
    for client in &mut clients {
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
    // A socket is closed and its slot is free before its line is written.
    *ended += count;
    let ends = host.logged_times(*ended, "all ends", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"));
    usage
}

#[test]
fn ten_thousand_connections_are_held_open_and_echo_and_leave_nothing_behind() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let host = Host::start(
        r#"
        [host]
        limits = { connections = 10000 }
        [trigger.hold]
        listen = "127.0.0.1:0"
        wasm = "{guest:hold}"
        limits = { connections = 10000 }
        "#,
    );
    let mut ended = 0;
    hold(&host, 200, &mut ended);
    let at_first = Usage::of(&host);
    println!("at first {at_first:?}");
    // The pool keeps the mappings of a slot that was used, and its pages, for the next instance:
    // the first ten thousand fill it, and what it takes then is all that it will ever take.
    println!("during   {:?}", hold(&host, MANY, &mut ended));
    let before = Usage::of(&host);
    println!("before   {before:?}");
    assert_eq!(
        (before.descriptors, before.threads),
        (at_first.descriptors, at_first.threads)
    );
    // Beside its stack an instance has four mappings, and fifteen pages with it.
    assert!(before.maps <= at_first.maps + 4 * MANY, "{before:?}");
    assert!(
        before.resident <= at_first.resident + 60 * MANY,
        "{before:?}"
    );
    for _ in 0..3 {
        println!("during   {:?}", hold(&host, MANY, &mut ended));
        let after = Usage::of(&host);
        println!("after    {after:?}");
        assert_eq!(
            (after.descriptors, after.threads),
            (before.descriptors, before.threads)
        );
        assert!(after.maps <= before.maps + 100, "{after:?}");
        // A stack keeps the pages it has come to use, and one that a tick meets is used deeper.
        assert!(after.resident <= before.resident + 32 * MANY, "{after:?}");
    }
    assert!(host.stop().success());
}
