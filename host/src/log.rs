//! The log: one line for each thing that happens to the host or to a connection, each with one of a
//! closed set of verbs (listen, accept, reject, start, end, pause, reload, drain, exit) and the same
//! field names everywhere. What handlers say themselves has the verb `output`.

mod text;
mod writer;

use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clap::ValueEnum;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tracing::field::display;
use tracing::level_filters::LevelFilter;
use tracing::{Level, event};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt};

use crate::connection::Peer;
use crate::outcome::Outcome;
use text::Text;
pub use writer::Writer;

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

/// How many `Sparing` lines of one trigger are written each second.
const A_SECOND: NonZeroU32 = NonZeroU32::new(20).unwrap();

/// Begins to log on stderr. What it returns writes out the rest when it is dropped.
///
/// # Errors
/// When the system gives no thread.
pub fn start(format: Format, level: LevelFilter) -> io::Result<Writer> {
    let (writer, guard) = Writer::start(io::stderr())?;
    let lines = fmt::layer().with_target(false).with_writer(writer);
    let lines = match format {
        Format::Text => lines.event_format(Text).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let own = Targets::new().with_target("portcullis", level);
    // Filtered for all: a filter of one layer would be asked anew for each line.
    tracing_subscriber::registry().with(own).with(lines).init();
    Ok(guard)
}

/// Milliseconds as a number: a longer integer than this is text in JSON.
#[must_use]
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The line of a connection or a job that has ended. `rx` and `tx` are bytes from and to the
/// client, where the host saw them.
pub fn end(end: &End<'_>) {
    let End {
        trigger,
        id,
        peer,
        outcome,
        ms,
        cpu_ms,
        rx,
        tx,
    } = end;
    let peer = peer.map(display);
    let reason = outcome.reason();
    // The macro wants its level at compile time.
    macro_rules! line {
        ($level:expr) => {
            event!($level, %trigger, id, peer, %outcome, ms, cpu_ms, rx, tx, reason, "end")
        };
    }
    match outcome.level() {
        Level::ERROR => line!(Level::ERROR),
        Level::WARN => line!(Level::WARN),
        _ => line!(Level::INFO),
    }
}

/// What the line of an end says.
#[derive(Debug)]
pub struct End<'a> {
    /// What was served.
    pub trigger: &'a str,
    /// The connection, or the run of a job.
    pub id: u64,
    /// The client, where the host accepted it.
    pub peer: Option<&'a Peer>,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// Milliseconds from accept or start.
    pub ms: u64,
    /// Of these, those that it had a processor, for guests.
    pub cpu_ms: Option<u64>,
    /// Bytes from the client, where they passed through the host.
    pub rx: Option<u64>,
    /// Bytes to the client, likewise.
    pub tx: Option<u64>,
}

/// Lines that a client can cause as often as it likes: some a second are written, the rest counted.
#[derive(Debug)]
pub struct Sparing {
    written: DefaultDirectRateLimiter,
    unwritten: AtomicU64,
}

impl Sparing {
    /// None written yet.
    pub fn new() -> Self {
        Self {
            written: RateLimiter::direct(Quota::per_second(A_SECOND)),
            unwritten: AtomicU64::new(0),
        }
    }

    /// How many were not written since the last one that was, when one may be written now.
    pub fn turn(&self) -> Option<u64> {
        if self.written.check().is_ok() {
            return Some(self.unwritten.swap(0, Relaxed));
        }
        self.unwritten.fetch_add(1, Relaxed);
        None
    }
}

impl Default for Sparing {
    fn default() -> Self {
        Self::new()
    }
}
