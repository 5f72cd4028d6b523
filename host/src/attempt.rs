//! `portcullis try`: one instance with the terminal as its connection. A socket pair stands between
//! the two, so the guest runs exactly as it will when it serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncWriteExt as _, copy, stdin, stdout};
use tokio::net::UnixStream;

use crate::connection::{Connection, Local, Peer, Stream};
use crate::engine::{Cache, Compiler, Engine, Pool, Progress, Slot};
use crate::handler::Handler;
use crate::limits::Permits;
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::plan::{Access, Dir, GuestJob, GuestLimits, Location, Network};
use crate::shutdown::Shutdown;
use crate::wasm::Wasm;

/// A person at a terminal thinks for longer than a client does.
const LIMITS: GuestLimits = GuestLimits {
    memory: 1 << 30,
    stack: GuestLimits::STACK,
    cpu: Duration::from_hours(1),
    deadline: Duration::from_hours(24),
    idle: Duration::from_hours(24),
    first_byte: None,
    rx: None,
    tx: None,
};

/// What to try, and with what.
#[derive(Debug)]
pub struct Attempt {
    /// The wasm file.
    pub guest: PathBuf,
    /// Its arguments, without its own name.
    pub args: Vec<String>,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// Folders as the guest sees them, and where they are.
    pub dirs: Vec<(String, PathBuf)>,
}

impl Attempt {
    /// Loads the guest.
    ///
    /// # Errors
    /// When it cannot be loaded.
    pub fn load(self, progress: Progress) -> anyhow::Result<Loaded> {
        let Self {
            guest,
            args,
            env,
            dirs,
        } = self;
        let dirs = dirs
            .into_iter()
            .map(|(guest, host)| Dir {
                guest,
                host,
                access: Access::ReadOnly,
            })
            .collect();
        let path = guest.display().to_string();
        let wasm = Wasm::read(&guest).with_context(|| format!("cannot load {path}"))?;
        let slot = Slot::of_one(&wasm, LIMITS.memory);
        let engine = Engine::new(&Pool::of_one(slot), None)?;
        let compiler = Compiler::new(engine, Cache::find(&Location::Usual), progress);
        let job = GuestJob {
            path: guest,
            args,
            env,
            dirs,
            network: Network::default(),
            config: Vec::new(),
            limits: LIMITS,
        };
        let handler = Handler::guest(&"try".into(), &job, &wasm, &compiler)
            .with_context(|| format!("cannot load {path}"))?;
        Ok(Loaded(handler))
    }
}

/// A guest that is ready to be tried.
pub struct Loaded(Handler);

impl Loaded {
    /// Runs it once: what is read from stdin goes to it, what it sends goes to stdout.
    ///
    /// # Errors
    /// When the socket pair cannot be made.
    pub async fn run(self) -> anyhow::Result<Outcome> {
        let (ours, theirs) = UnixStream::pair().context("cannot make a socket pair")?;
        let theirs = theirs.into_std().context("cannot make a socket pair")?;
        let since = Instant::now();
        let connection = Connection {
            id: 1,
            since,
            peer: Peer::unix(&theirs).context("cannot tell who is running this")?,
            local: Arc::new(Local::Unnamed),
            stream: Stream::new(theirs.into()),
            meter: Arc::new(Meter::new(since)),
            permits: Permits::none(),
        };
        let facts = self.0.facts(&connection.local);
        let (mut from, mut to) = ours.into_split();
        let typing = tokio::spawn(async move {
            let _ = copy(&mut stdin(), &mut to).await;
            to.shutdown().await
        });
        let showing = tokio::spawn(async move {
            let mut out = stdout();
            let _ = copy(&mut from, &mut out).await;
            out.flush().await
        });
        let shutdown = Shutdown::new();
        let outcome = self.0.run(connection, facts.into(), shutdown.drain()).await;
        // The guest has gone, so its end is closed and this ends; stdin may stay open for ever.
        let _ = showing.await;
        typing.abort();
        Ok(outcome)
    }
}
