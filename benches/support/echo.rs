//! A handler for a guest of `guests/`, and connections for it without a network.

use std::io::Write as _;
use std::net::{Ipv4Addr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::connection::{Connection, Local, Peer, Stream};
use portcullis::engine::{Compiler, Engine, Pool, Progress, Slot};
use portcullis::handler::Handler;
use portcullis::limits::Permits;
use portcullis::meter::Meter;
use portcullis::plan::{GuestJob, GuestLimits, Network};
use portcullis::wasm::Wasm;

const MESSAGE: [u8; 64] = [b'x'; 64];

const LIMITS: GuestLimits = GuestLimits {
    memory: GuestLimits::MEMORY,
    stack: GuestLimits::STACK,
    cpu: Duration::from_secs(10),
    deadline: Duration::from_hours(1),
    idle: Duration::from_mins(5),
    first_byte: None,
    rx: None,
    tx: None,
};

/// What serves by this guest of `guests/`.
pub fn handler(guest: &str) -> Handler {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("guests/target/wasm/{guest}.wasm"));
    let wasm = Wasm::read(&path).expect("`guests/build --all` has built it");
    let pool = Pool {
        slot: Slot::of_one(&wasm, LIMITS.memory),
        instances: 64,
        spare: 0,
    };
    let engine = Engine::new(&pool, None).expect("there is memory");
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
pub fn connection() -> (UnixStream, Connection) {
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
