//! Calls of preview 1 with arbitrary arguments, made by a real instance on a real connection. A model of the calls, of the instance's
//! memory and of its connection foretells each answer, each byte that is written to memory, what the client hears and how the
//! instance ends.

mod guest;
mod model;
mod script;

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::connection::{Connection, Local, Peer, Stream};
use portcullis::engine::{Compiler, Engine, Pool, Progress, Slot};
use portcullis::handler::Handler;
use portcullis::limits::Permits;
use portcullis::meter::Meter;
use portcullis::outcome::Outcome;
use portcullis::plan::{GuestJob, GuestLimits, Network};
use portcullis::preopen::Style;
use portcullis::preopen::env::Facts;
use portcullis::shutdown::Shutdown as Stop;
use portcullis::wasm::Wasm;
use tokio::io::AsyncReadExt as _;
use tokio::runtime::{Builder, Runtime};

use model::Ending;
use script::Script;

const LIMITS: GuestLimits = GuestLimits {
    memory: model::MEMORY as u64,
    stack: GuestLimits::STACK,
    cpu: Duration::from_secs(2),
    deadline: Duration::from_secs(4),
    idle: Duration::from_secs(4),
    first_byte: None,
    rx: None,
    tx: None,
};

/// Makes the calls that `data` stands for.
///
/// # Panics
/// When the host answers one of them as it must not, or not at all.
pub fn preview1(data: &[u8]) {
    thread_local! {
        static STAGE: Stage = Stage::new();
    }
    STAGE.with(|stage| stage.play(&Script::new(data)));
}

/// What makes calls: one guest, to whom each instance is told another script.
struct Stage {
    runtime: Runtime,
    handler: Handler,
}

impl Stage {
    fn new() -> Self {
        let wasm = Wasm::new(guest::module()).expect("it is well formed");
        let pool = Pool::of_one(Slot::of_one(&wasm, LIMITS.memory));
        let engine = Engine::new(&pool, None).expect("there is memory");
        let job = GuestJob {
            path: "/fuzz.wasm".into(),
            args: Vec::new(),
            env: Vec::new(),
            dirs: Vec::new(),
            network: Network::default(),
            config: Vec::new(),
            limits: LIMITS,
        };
        let compiler = Compiler::new(engine, None, Progress::new(false));
        let handler = Handler::guest(&"fuzz".into(), &job, &wasm, &compiler);
        Self {
            runtime: Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime starts"),
            handler: handler.expect("it can be served"),
        }
    }

    fn play(&self, script: &Script) {
        let (mut client, host) = UnixStream::pair().expect("a pair of sockets");
        client.write_all(&model::input()).expect("it is sent");
        client.shutdown(Shutdown::Write).expect("it is ended");
        for socket in [&client, &host] {
            socket.set_nonblocking(true).expect("it is set");
        }
        let since = Instant::now();
        let meter = Arc::new(Meter::new(since));
        let connection = Connection {
            id: 1,
            since,
            peer: Peer::Unix {
                uid: 0,
                gid: 0,
                pid: None,
            },
            local: Arc::new(Local::Unnamed),
            stream: Stream::new(host.into()),
            meter: meter.clone(),
            permits: Permits::none(),
        };
        let told = [(guest::SCRIPT.to_owned(), script.written())];
        let facts = Facts::new("fuzz", &told, Style::Socket, &Local::Unnamed);
        let stop = Stop::new();
        let (outcome, heard) = self.runtime.block_on(async {
            let mut client = tokio::net::UnixStream::from_std(client).expect("it is watched");
            let run = self.handler.run(connection, facts.into(), stop.drain());
            let hear = async {
                let mut heard = Vec::new();
                // It is reset when the guest leaves something unread, after all that was sent.
                let _ = client.read_to_end(&mut heard).await;
                heard
            };
            tokio::join!(run, hear)
        });
        let wrong = match &outcome {
            Outcome::Exit(status) => guest::verdict(*status),
            _ => None,
        };
        assert_eq!(wrong, None, "in {script:?}");
        let fits = match script.ending {
            Ending::Done | Ending::Exit(0) => outcome == Outcome::Done,
            Ending::Exit(status) => outcome == Outcome::Exit(status),
            Ending::Trap => match &outcome {
                Outcome::Trap(why) => why.starts_with("Pointer") || why.starts_with("Invalid"),
                _ => false,
            },
        };
        assert!(fits, "{outcome:?} after {script:?}");
        assert!(
            heard == script.sent,
            "heard {} bytes after {script:?}",
            heard.len()
        );
        let counted = (meter.rx(), meter.tx());
        assert_eq!(
            counted,
            (script.read as u64, heard.len() as u64),
            "{script:?}"
        );
    }
}
