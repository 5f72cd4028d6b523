//! Guests whose memory cannot grow, so that the host lays their memories side by side: as many as the
//! machine has descriptors for, and none sees another's bytes.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::Shutdown;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use portcullis::wasm::Wasm;
use support::{Client, Host, guest, untried, verb};

/// What the default of `vm.max_map_count` carries at two mappings each, and more than at four.
const MANY: u64 = 19_000;

/// Descriptors that a process needs beside those of its connections.
const OWN: u64 = 500;

/// Clients of one address before the next is taken: an address has some twenty-eight thousand ports,
/// and those of closed connections are not free at once.
const EACH: u64 = 10_000;

/// A trigger whose guest has all the memory that it may have from its beginning.
fn packed(name: &str, wasm: &str, more: &str) -> String {
    let memories = Wasm::read(Path::new(&guest(wasm))).unwrap().memories;
    let [memory] = memories[..] else {
        panic!("{wasm} has {} memories", memories.len())
    };
    let kibibytes = memory >> 10;
    format!(
        r#"
        [trigger.{name}]
        listen = "0.0.0.0:0"
        wasm = "{{guest:{wasm}}}"
        limits = {{ memory = "{kibibytes}KiB", {more} }}
        "#
    )
}

fn mappings(host: &Host) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{}/maps", host.pid())).unwrap();
    maps.lines().count() as u64
}

#[test]
fn nineteen_thousand_connections_are_held_at_two_mappings_each_and_all_echo() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let count = MANY.min(hard.saturating_sub(OWN));
    if count < MANY {
        untried(&format!(
            "{MANY} connections, but {count}: there may be {hard} descriptors"
        ));
    }
    let triggers = packed("echo", "c-echo", &format!("connections = {count}"));
    let host = Host::start(&format!("[host]\nlimits.connections = {count}\n{triggers}"));
    let (_, port) = host.addresses("echo")[0].rsplit_once(':').unwrap();
    let at_first = mappings(&host);
    let mut clients: Vec<_> = (0..count)
        .map(|number| {
            let mut client = Client::to(&format!("127.0.0.{}:{port}", 2 + number / EACH));
            client.echo(b"ping");
            client
        })
        .collect();
    // Those of the stacks were made at the start.
    let held = mappings(&host);
    println!("{count} held: {at_first} mappings at first, {held} then");
    assert!(held < at_first + count / 10, "{at_first} became {held}");
    assert!(held < 3 * count, "{held}");
    for (number, client) in clients.iter_mut().enumerate() {
        client.echo(&number.to_le_bytes());
    }
    for client in &mut clients {
        client.shutdown(Shutdown::Write);
        assert_eq!(client.rest(), b"");
    }
    let ends = host.logged_times(clients.len(), "all ends", |line| verb(line) == "end");
    assert!(ends.iter().all(|end| end["outcome"] == "done"));
    assert!(host.stop().success());
}

/// Guests of one host, each with a mark of its own all over a page.
struct Crowd {
    host: Host,
    clients: Vec<(Client, u8)>,
}

impl Crowd {
    fn new() -> Self {
        let host = Host::start(&packed("edge", "edge", "connections = 40"));
        let clients = (1..=20).map(|mark| (connect(&host), mark)).collect();
        let mut crowd = Self { host, clients };
        for (client, mark) in &mut crowd.clients {
            assert_eq!(tell(client, &format!("mark {mark}")), "0");
        }
        crowd
    }

    /// Every guest has in its memory what it has put there.
    fn is_whole(&mut self) {
        for (client, mark) in &mut self.clients {
            assert_eq!(tell(client, &format!("check {mark}")), "0");
        }
    }
}

fn connect(host: &Host) -> Client {
    let (_, port) = host.addresses("edge")[0].rsplit_once(':').unwrap();
    Client::to(&format!("127.0.0.1:{port}"))
}

fn tell(client: &mut Client, order: &str) -> String {
    writeln!(client, "{order}").unwrap();
    let answer = client.line();
    let (verb, _) = order.split_once(' ').unwrap();
    answer
        .strip_prefix(&format!("{verb}: "))
        .unwrap_or_else(|| panic!("{order} gave {answer}"))
        .to_owned()
}

/// Around the end of memory, and where the neighbours' memories would begin, end and have their mark.
fn offsets() -> impl Iterator<Item = i64> {
    let size = i64::try_from(Wasm::read(Path::new(&guest("edge"))).unwrap().memories[0]).unwrap();
    let around = [-7, -1, 0, 1, 4088, 4096, 65_528, 65_536, 131_072];
    let neighbours = (1..=3).flat_map(move |next| {
        let begin = (next - 1) * size;
        [begin - 4, begin, begin + size / 2, begin + size - 65_536]
    });
    let last = (1_i64 << 32) - size;
    let all = around.into_iter().chain(neighbours);
    all.filter(|offset| *offset >= -7)
        .chain([(1 << 31) - size, last - 65_536, last - 8])
}

#[test]
fn a_guest_that_reads_or_writes_beyond_its_memory_traps_and_its_neighbours_keep_theirs() {
    let mut crowd = Crowd::new();
    let mut last = connect(&crowd.host);
    let own = tell(&mut last, "read -8");
    assert_eq!(own.split(' ').count(), 8, "{own}");
    assert_eq!(last.ask(b""), b"");
    let mut ended = 1;
    for verb in ["read", "write"] {
        for offset in offsets() {
            let mut client = connect(&crowd.host);
            writeln!(client, "{verb} {offset}").unwrap();
            client.shutdown(Shutdown::Write);
            assert_eq!(client.heard(), b"", "{verb} {offset}");
            ended += 1;
            let ends = crowd.host.logged_times(ended, "the end", is_end);
            let end = &ends[ended - 1];
            assert_eq!(end["outcome"], "trap", "{verb} {offset}: {end}");
            let why = end["reason"].as_str().unwrap();
            assert!(why.contains("out of bounds memory access"), "{why}");
        }
        crowd.is_whole();
    }
}

#[test]
fn the_host_neither_reads_nor_writes_for_a_guest_beyond_its_memory() {
    let mut crowd = Crowd::new();
    let mut ended = 0;
    for verb in ["send", "receive"] {
        for offset in offsets() {
            let mut client = connect(&crowd.host);
            let order = format!("{verb} {offset}\n\x55\x55\x55\x55\x55\x55\x55\x55");
            client.write_all(order.as_bytes()).unwrap();
            client.shutdown(Shutdown::Write);
            assert_eq!(client.heard(), b"", "{verb} {offset}");
            ended += 1;
            let ends = crowd.host.logged_times(ended, "the end", is_end);
            assert_eq!(ends[ended - 1]["outcome"], "trap", "{verb} {offset}");
        }
        crowd.is_whole();
    }
}

#[test]
fn a_memory_that_had_another_guest_before_is_empty() {
    let crowd = Crowd::new();
    let count = crowd.clients.len();
    for round in 1..=4 {
        let mut clients: Vec<_> = (0..count).map(|_| connect(&crowd.host)).collect();
        for client in &mut clients {
            assert_eq!(tell(client, "mark 170"), "0", "round {round}");
        }
        for client in clients {
            assert_eq!(client.ask(b""), b"");
        }
        crowd.host.logged_times(round * count, "their ends", is_end);
    }
}

fn is_end(line: &serde_json::Value) -> bool {
    verb(line) == "end"
}
