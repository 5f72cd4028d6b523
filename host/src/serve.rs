//! Serving: one task for each listener, one for each connection. The only place where an outcome is
//! recorded. Several of these may run side by side; what they share is permits and counters.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::connection::{Connection, Local, Peer, Stream};
use crate::handler::exec::{self, Exec};
use crate::handler::{Handler, Serving};
use crate::limits::{HostLimit, Limits, Places};
use crate::listener::{Accepted, Bound, Listener};
use crate::log::{self, End, Sparing};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::plan::{SocketOptions, Trigger};
use crate::preopen::env::Facts;
use crate::queue::Verdict;
use crate::shutdown::Drain;
use crate::workers::{Home, Seat, Work, Workers};

/// A trigger that is ready to be served at any number of listeners.
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
    rejects: Sparing,
}

/// A trigger whose job gets the listener.
pub struct HandedOver {
    trigger: Arc<str>,
    exec: Arc<Exec>,
    socket: SocketOptions,
}

/// How long to wait before a listener that a job has shut down is bound anew, at first and when
/// that keeps failing.
const REBIND: Duration = Duration::from_secs(1);
const REBIND_AT_MOST: Duration = Duration::from_mins(1);

/// One listener of a trigger that accepts.
struct Gate {
    accepting: Arc<Accepting>,
    listener: Listener,
    facts: Arc<Facts>,
    drain: Drain,
    home: Home,
}

impl Service {
    /// Serves `trigger` in a host with these places.
    pub fn new(trigger: &Trigger, serving: Serving, host: &HostLimit) -> Self {
        let socket = trigger.socket.clone();
        let trigger = trigger.name.clone();
        match serving {
            Serving::Accept(handler, admission) => {
                let limits = Limits::new(&admission, handler.files(), host.clone());
                Self::Accept(Arc::new(Accepting {
                    trigger,
                    handler,
                    defer: admission.defer,
                    limits,
                    rejects: Sparing::new(),
                }))
            }
            Serving::HandOver(exec) => Self::HandOver(Arc::new(HandedOver {
                trigger,
                exec: Arc::new(exec),
                socket,
            })),
        }
    }

    /// Begins to serve at one listener, until the drain begins. The listener is closed then, or
    /// when the last process that has it has ended; connections go on.
    ///
    /// # Errors
    /// When the runtime cannot watch the listener.
    pub fn serve(&self, bound: Bound, drain: Drain, workers: &Workers) -> io::Result<()> {
        match self {
            Self::Accept(accepting) => {
                let home = workers.home();
                let inside = home.enter();
                let listener = bound.accepting()?;
                drop(inside);
                let gate = Gate {
                    accepting: accepting.clone(),
                    facts: Arc::new(accepting.handler.facts(&listener.local)),
                    listener,
                    drain,
                    home: home.clone(),
                };
                home.spawn(gate.serve());
            }
            // Where the spawner is heard: no thread has to wake another for each run.
            Self::HandOver(job) => drop(tokio::spawn(hand_over(job.clone(), bound, drain))),
        }
        Ok(())
    }
}

/// The number of the next connection, or run of a job.
fn next_id() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    COUNT.fetch_add(1, Relaxed)
}

impl Gate {
    async fn serve(self) {
        tokio::select! {
            biased;
            () = self.drain.begun() => {}
            () = self.accept() => {}
        }
    }

    /// Accepts for ever, and starts a handler for each connection.
    async fn accept(&self) {
        let Accepting {
            trigger, limits, ..
        } = &*self.accepting;
        loop {
            self.listener.maybe_waiting().await;
            let places = if let Some(places) = limits.place_at_once() {
                places
            } else {
                // A turn or a place that has to be waited for is not taken for nobody.
                self.listener.waiting().await;
                limits.place().await
            };
            match self.listener.accept() {
                Accepted::Connection(stream, peer) => self.begin(places, stream, peer),
                Accepted::Gone => {}
                Accepted::Exhausted(error, pause) => {
                    let ms = pause.as_millis();
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
            rejects,
            ..
        } = &*self.accepting;
        let id = next_id();
        let since = Instant::now();
        let Ok(permits) = limits.admit(places, peer.source()) else {
            if let Some(unwritten) = rejects.turn() {
                info!(%trigger, id, %peer, reason = "per_source", unwritten, "reject");
            }
            return;
        };
        debug!(%trigger, id, %peer, "accept");
        let meter = Arc::new(Meter::new(since));
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
        let record = Record::new(&self.accepting, &connection);
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

/// Serves a listener whose job accepts for itself, until the drain begins and its last process has
/// ended.
async fn hand_over(job: Arc<HandedOver>, mut bound: Bound, drain: Drain) {
    loop {
        let local = bound.local.clone();
        let Err(error) = serve_job(&job, &bound, &drain).await else {
            return;
        };
        // A trigger does not die of what its job does: the job has lost its own connections, and
        // the next ones find a new listener.
        warn!(trigger = %job.trigger, address = %local, reason = %error, "pause");
        drop(bound);
        bound = tokio::select! {
            () = drain.begun() => return,
            bound = rebind(&job, &local) => bound,
        };
        info!(trigger = %job.trigger, address = %local, "listen");
    }
}

/// Binds a listener anew, however long that takes.
async fn rebind(job: &HandedOver, local: &Local) -> Bound {
    let mut pause = REBIND;
    loop {
        tokio::time::sleep(pause).await;
        match Bound::again(local, &job.socket) {
            Ok(bound) => return bound,
            Err(error) => {
                pause = (pause * 2).min(REBIND_AT_MOST);
                let (reason, ms) = (format!("{error:#}"), pause.as_millis());
                warn!(trigger = %job.trigger, address = %local, reason, ms, "pause");
            }
        }
    }
}

async fn serve_job(job: &HandedOver, bound: &Bound, drain: &Drain) -> io::Result<()> {
    let facts = job.exec.facts(&bound.local).variables;
    let (cut, stop) = watch::channel(None);
    let runs = Arc::new(Runs {
        trigger: job.trigger.clone(),
    });
    let served = job
        .exec
        .serve(bound.as_fd(), facts, runs, drain.begun(), stop);
    tokio::pin!(served);
    tokio::select! {
        served = &mut served => served,
        () = drain.over() => {
            cut.send_replace(Some(Outcome::Drained));
            served.await
        }
    }
}

/// The log of a job's runs.
struct Runs {
    trigger: Arc<str>,
}

impl exec::Watch for Runs {
    fn next_id(&self) -> u64 {
        next_id()
    }

    fn started(&self, id: u64, pid: i32) {
        debug!(trigger = %self.trigger, id, pid, "start");
    }

    fn ended(&self, id: u64, outcome: &Outcome, verdict: Verdict, ran: Duration) {
        if let Verdict::Left { closed } = verdict {
            info!(trigger = %self.trigger, id, closed, reason = "not accepted", "reject");
        }
        log::end(&End {
            trigger: &self.trigger,
            id,
            peer: None,
            outcome,
            ms: u64::try_from(ran.as_millis()).unwrap_or(u64::MAX),
            rx: None,
            tx: None,
        });
    }

    fn paused(&self, pause: Duration) {
        let ms = pause.as_millis();
        warn!(trigger = %self.trigger, reason = "the job keeps failing", ms, "pause");
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
}

impl Record {
    fn new(accepting: &Accepting, connection: &Connection) -> Self {
        Self {
            trigger: accepting.trigger.clone(),
            id: connection.id,
            peer: connection.peer,
            meter: connection.meter.clone(),
            counted: !matches!(accepting.handler, Handler::Exec(_)),
            outcome: Outcome::Failed("the host failed; this is a bug in it".to_owned()),
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
            ms: u64::try_from(self.meter.since().elapsed().as_millis()).unwrap_or(u64::MAX),
            rx: self.counted.then(|| self.meter.rx()),
            tx: self.counted.then(|| self.meter.tx()),
        });
    }
}
