//! The stages of a connection, each by itself and without a network: to be let in, to start an
//! instance that ends at once, and to serve an echo whole, from the first byte to the last. By
//! criterion: `cargo bench --bench stages`. Needs `guests/build --all`.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;
use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown};
use std::num::NonZeroU32;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use portcullis::connection::{Connection, Local, Peer, Stream};
use portcullis::engine::{Compiler, Engine, Pool, Progress, Slot};
use portcullis::handler::Handler;
use portcullis::limits::{HostLimit, Limits, Permits, Source};
use portcullis::meter::Meter;
use portcullis::outcome::Outcome;
use portcullis::plan::{Admission, GuestJob, GuestLimits, Network};
use portcullis::shutdown::Shutdown as Stop;
use portcullis::wasm::Wasm;
use tokio::runtime::Builder;

const MESSAGE: [u8; 64] = [b'x'; 64];

const LIMITS: GuestLimits = GuestLimits {
    memory: GuestLimits::MEMORY,
    stack: GuestLimits::STACK,
    cpu: Duration::from_secs(10),
    deadline: Duration::from_hours(1),
    idle: Duration::from_mins(5),
};

criterion_main!(stages);
criterion_group!(stages, admit, instances);

fn admit(criterion: &mut Criterion) {
    let many = NonZeroU32::new(1000).expect("it is not 0");
    let admission = Admission {
        connections: many,
        per_source: Some(many),
        rate: None,
        defer: false,
    };
    let limits = Limits::new(&admission, 0, HostLimit::new(many, 0));
    let source = Source::inet(Ipv4Addr::LOCALHOST.into());
    criterion.bench_function("admit", |bench| {
        bench.iter(|| {
            let places = limits.place_at_once().expect("there is room");
            black_box(limits.admit(places, source))
        });
    });
}

fn instances(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let stop = Stop::new();
    let stages = [
        ("start and end a module", "exit7", Outcome::Exit(7)),
        ("echo: module, C", "c-echo", Outcome::Done),
        ("echo: module, Rust", "echo", Outcome::Done),
        (
            "echo: component, stdio",
            "echo-stdio.component",
            Outcome::Done,
        ),
        (
            "echo: component, typed",
            "echo-typed.component",
            Outcome::Done,
        ),
    ];
    for (stage, guest, outcome) in stages {
        let handler = handler(guest);
        let facts = Arc::new(handler.facts(&Local::Unnamed));
        criterion.bench_function(stage, |bench| {
            bench.iter_batched(
                connection,
                |(client, connection)| {
                    let run = handler.run(connection, facts.clone(), stop.drain());
                    assert_eq!(runtime.block_on(run), outcome);
                    client
                },
                BatchSize::SmallInput,
            );
        });
    }
}

/// What serves by this guest of `guests/`.
fn handler(guest: &str) -> Handler {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/target/wasm/{guest}.wasm"));
    let wasm = Wasm::read(&path).expect("`guests/build --all` has built it");
    let pool = Pool {
        slot: Slot::of_one(&wasm, LIMITS.memory),
        instances: 64,
        spare: 0,
    };
    let engine = Engine::new(&pool).expect("there is memory");
    let job = GuestJob {
        path,
        args: Vec::new(),
        env: Vec::new(),
        dirs: Vec::new(),
        network: Network::default(),
        config: Vec::new(),
        limits: LIMITS,
    };
    let compiler = Compiler::new(engine, None, Progress::new(false));
    Handler::guest(&"bench".into(), &job, &wasm, &compiler).expect("it can be served")
}

/// A connection whose client has said all it has to say.
fn connection() -> (UnixStream, Connection) {
    let (mut client, host) = UnixStream::pair().expect("a pair of sockets");
    client.write_all(&MESSAGE).expect("it is sent");
    client.shutdown(Shutdown::Write).expect("it is ended");
    host.set_nonblocking(true).expect("it is set");
    let since = Instant::now();
    let connection = Connection {
        id: 1,
        since,
        peer: Peer::Inet((Ipv4Addr::LOCALHOST, 1).into()),
        local: Arc::new(Local::Unnamed),
        stream: Stream::new(host.into()),
        meter: Arc::new(Meter::new(since)),
        permits: Permits::none(),
    };
    (client, connection)
}
