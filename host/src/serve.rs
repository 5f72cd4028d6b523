//! Serving: one task for each listener, one for each connection. The only place where an outcome is
//! recorded. Several of these may run side by side; what they share is permits and counters.

mod job;
mod numbers;
mod post;
mod queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::connection::{Connection, Peer, Stream};
use crate::handler::{Handler, Serving};
use crate::limits::{HostLimit, Limits, Places, Refusal};
use crate::listener::{Accepted, Listener};
use crate::log::{self, End, Sparing};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::plan::Trigger;
use crate::preopen::env::Facts;
use crate::shutdown::Drain;
use crate::workers::{Home, Seat, Work, Workers};
use job::HandedOver;
use numbers::Numbers;
pub use post::{Post, Served};
use post::{Relief, served};
use queue::Queue;

/// A trigger that is ready to be served at any number of listeners.
#[derive(Clone)]
pub enum Service {
    /// The host accepts for its handler.
    Accept(Arc<Accepting>),
    /// The job accepts for itself.
    HandOver(Arc<HandedOver>),
}

/// A trigger whose connections the host accepts.
pub struct Accepting {
    trigger: Arc<str>,
    handler: Handler,
    /// Whether it starts at the first byte only.
    defer: bool,
    limits: Limits,
    /// What refused clients hear.
    banner: Option<Box<[u8]>>,
    numbers: Arc<Numbers>,
    rejects: Sparing,
    pauses: Sparing,
}

/// One listener of a trigger that accepts.
struct Gate {
    accepting: Arc<Accepting>,
    listener: Listener,
    facts: Arc<Facts>,
    drain: Drain,
    home: Home,
}

/// How long to wait before a listener is tried again that the runtime cannot watch.
const UNWATCHED: Duration = Duration::from_secs(1);

impl Service {
    /// Serves `trigger` in a host with these places. What `before` has let in for it still counts.
    pub async fn new(
        trigger: &Trigger,
        serving: Serving,
        host: &HostLimit,
        before: Option<&Self>,
    ) -> Self {
        let trigger = trigger.name.clone();
        match serving {
            Serving::Accept(handler, door) => {
                let before = match before {
                    Some(Self::Accept(before)) => Some(&**before),
                    _ => None,
                };
                let limits = before.map(|before| &before.limits);
                let limits = Limits::new(&door, handler.files(), host.clone(), limits);
                limits.resize(door.admission.connections).await;
                let numbers = before.map_or_else(
                    || Arc::new(Numbers::new(trigger.clone())),
                    |before| before.numbers.clone(),
                );
                Self::Accept(Arc::new(Accepting {
                    trigger,
                    handler,
                    defer: door.admission.defer,
                    limits,
                    banner: door.admission.banner.map(|text| text.into_bytes().into()),
                    numbers,
                    rejects: Sparing::new(),
                    pauses: Sparing::new(),
                }))
            }
            Serving::HandOver(exec) => Self::HandOver(Arc::new(HandedOver::new(trigger, exec))),
        }
    }

    /// Whether it takes processes.
    pub fn is_native(&self) -> bool {
        match self {
            Self::Accept(accepting) => matches!(accepting.handler, Handler::Exec(_)),
            Self::HandOver(_) => true,
        }
    }

    /// Begins to serve at one listener, until the drain begins or it is withdrawn. The listener is
    /// closed then, or when the last process that has it has ended; connections go on.
    pub fn serve(&self, post: Post, drain: Drain, workers: &Workers) -> Served {
        let gives = matches!(self, Self::HandOver(_));
        let (served, relief) = served(gives);
        match self {
            Self::Accept(accepting) => {
                let home = workers.home();
                let at = home.clone();
                home.spawn(accept(accepting.clone(), post, drain, at, relief));
            }
            // Where the spawner is heard: no thread has to wake another for each run.
            Self::HandOver(job) => {
                tokio::spawn(job.clone().serve(post, drain, relief));
            }
        }
        served
    }
}

/// The number of the next connection, or run of a job.
fn next_id() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    COUNT.fetch_add(1, Relaxed)
}

/// Accepts at one listener, until the drain begins or it is withdrawn.
async fn accept(
    accepting: Arc<Accepting>,
    mut post: Post,
    drain: Drain,
    home: Home,
    mut relief: Relief,
) {
    let trigger = accepting.trigger.clone();
    let listener = loop {
        let shared = post.shared();
        let bound = tokio::select! {
            biased;
            () = drain.begun() => return,
            reply = relief.asked(shared) => return drop(reply.send(post)),
            bound = post.take(&trigger) => bound,
        };
        match bound.accepting() {
            Ok(listener) => break listener,
            Err((bound, error)) => {
                post.put(bound);
                let ms = log::millis(UNWATCHED);
                warn!(%trigger, address = %post.local, reason = %error, ms, "pause");
                tokio::time::sleep(UNWATCHED).await;
            }
        }
    };
    let gate = Gate {
        facts: Arc::new(accepting.handler.facts(&listener.local)),
        accepting,
        listener,
        drain,
        home,
    };
    tokio::select! {
        biased;
        () = gate.drain.begun() => {}
        reply = relief.asked(post.shared()) => {
            post.put(gate.listener.into_bound());
            let _ = reply.send(post);
        }
        () = gate.accept() => {}
    }
}

/// Connections that are taken in one turn: those who are served wait for as long.
const TURN: u32 = 16;

impl Gate {
    /// Accepts for ever, and starts a handler for each connection.
    async fn accept(&self) {
        let trigger = &self.accepting.trigger;
        let mut queue = Queue::new(&self.accepting, &self.listener);
        let mut taken = 0_u32;
        loop {
            // Those who are refused are gone in the turn in which they came, and there may be no end of them.
            taken = (taken + 1) % TURN;
            if taken == 0 {
                tokio::task::yield_now().await;
            }
            let places = queue.place().await;
            match self.listener.accept() {
                Accepted::Connection(stream, peer) => self.begin(places, stream, peer),
                Accepted::Gone => {}
                Accepted::Exhausted(error, pause) => {
                    let ms = log::millis(pause);
                    warn!(%trigger, reason = %error, ms, "pause");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    fn begin(&self, places: Places, stream: Stream, peer: Peer) {
        let Accepting {
            trigger,
            limits,
            numbers,
            ..
        } = &*self.accepting;
        let id = next_id();
        let since = Instant::now();
        let permits = match limits.admit(places, peer.source()) {
            Ok(permits) => permits,
            Err(why) => return self.accepting.refuse(id, &stream, &peer, why),
        };
        numbers.accept();
        debug!(%trigger, id, %peer, "accept");
        let meter = Arc::new(self.accepting.handler.meter(since));
        let local = self.listener.local.clone();
        let connection = Connection {
            id,
            since,
            peer,
            local,
            stream,
            meter,
            permits,
        };
        let record = Record::new(&self.accepting, &connection, self.drain.clone());
        let start = Start {
            accepting: self.accepting.clone(),
            facts: self.facts.clone(),
            connection,
            drain: self.drain.clone(),
        };
        let seat = self.home.seat();
        let home = seat.home().clone();
        if self.accepting.defer {
            home.spawn(deferred(record, start, seat));
        } else {
            home.spawn(one(record, start.run(), seat));
        }
    }
}

impl Accepting {
    /// Sends a client away, at once and without a task: whoever floods the door costs as little as
    /// can be.
    fn refuse(&self, id: u64, stream: &Stream, peer: &Peer, why: Refusal) {
        self.numbers.refuse(why);
        if let Some(banner) = &self.banner {
            stream.dismiss(banner);
        }
        if let Some(unwritten) = self.rejects.turn() {
            info!(trigger = %self.trigger, id, %peer, reason = %why, unwritten, "reject");
        }
    }
}

/// What a handler is started with.
struct Start {
    accepting: Arc<Accepting>,
    facts: Arc<Facts>,
    connection: Connection,
    drain: Drain,
}

impl Start {
    async fn first_byte(&self) -> Result<(), Outcome> {
        let handler = &self.accepting.handler;
        handler.first_byte(&self.connection, &self.drain).await
    }

    fn run(self) -> Work<Outcome> {
        let handler = &self.accepting.handler;
        handler.run(self.connection, self.facts, self.drain)
    }
}

/// One connection, from its start to its line in the log. Its handler's work comes in a box: what a
/// task is made of is copied several times.
async fn one(mut record: Record, run: Work<Outcome>, seat: Seat) {
    let meter = record.meter.clone();
    let workers = seat.home().workers();
    record.outcome = workers.run(run, || meter.has_overstayed()).await;
}

/// The same, begun at the first byte: a client that is silent costs a task and a descriptor.
async fn deferred(mut record: Record, start: Start, seat: Seat) {
    match start.first_byte().await {
        Ok(()) => one(record, start.run(), seat).await,
        Err(outcome) => record.outcome = outcome,
    }
}

/// The line of a connection: written when it is dropped, so that even a panic leaves one.
struct Record {
    trigger: Arc<str>,
    id: u64,
    peer: Peer,
    meter: Arc<Meter>,
    counted: bool,
    outcome: Outcome,
    /// The host waits for the line, and not only for the work: that may have ended on another thread.
    _drain: Drain,
}

impl Record {
    fn new(accepting: &Accepting, connection: &Connection, drain: Drain) -> Self {
        Self {
            trigger: accepting.trigger.clone(),
            id: connection.id,
            peer: connection.peer,
            meter: connection.meter.clone(),
            counted: !matches!(accepting.handler, Handler::Exec(_)),
            outcome: Outcome::Failed("the host failed; this is a bug in it".to_owned()),
            _drain: drain,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        log::end(&End {
            trigger: &self.trigger,
            id: self.id,
            peer: Some(&self.peer),
            outcome: &self.outcome,
            ms: log::millis(self.meter.since().elapsed()),
            rx: self.counted.then(|| self.meter.rx()),
            tx: self.counted.then(|| self.meter.tx()),
            cpu_ms: self.counted.then(|| log::millis(self.meter.cpu())),
        });
    }
}
