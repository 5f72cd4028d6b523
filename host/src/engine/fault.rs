//! What a guest was doing when it was ended by force: the functions on its stack, with their places in
//! its source where it has debug information, and a core dump where the plan wants those. All of it is
//! done once a minute for each kind of fault, off the threads that serve: a guest that traps for every
//! client costs little more than one that does not.

mod places;

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{info, warn};
use wasmtime::{Error, Store, Trap, WasmBacktrace, WasmCoreDump};

use super::{Coredumps, Engine};
use crate::trigger::printable;
use crate::wasm::{Digest, Wasm};
use places::Place;

/// How long nothing more is said of one kind.
const PERIOD: Duration = Duration::from_mins(1);

/// Kinds of one trigger in that time. A guest may have as many as it has instructions.
const KINDS: usize = 16;

/// Lines of one backtrace, and characters of one line.
const LINES: usize = 40;
const LINE: usize = 300;

/// One at a time, over the whole host.
static BUSY: Semaphore = Semaphore::const_new(1);

/// How long a connection waits for that: a disk may not answer for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// The faults of one trigger's guest.
#[derive(Clone, Debug)]
pub struct Faults(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trigger: Arc<str>,
    guest: PathBuf,
    digest: Digest,
    /// Whether the file says where in its source a function is.
    debug: bool,
    coredumps: Option<Arc<Coredumps>>,
    told: Mutex<HashMap<Kind, Instant>>,
}

/// What is the same for faults of one kind: what it was, and the instruction.
type Kind = (Option<Trap>, u32, Option<usize>);

/// A fault that is to be told.
#[derive(Debug)]
pub struct Fault {
    of: Faults,
    id: u64,
    error: Error,
    dump: Option<Dump>,
}

/// A core dump that is not yet written. There is never a second one.
#[derive(Debug)]
struct Dump {
    core: Vec<u8>,
    turn: Turn,
}

/// The right to do what takes a thread, and memory for a dump.
type Turn = SemaphorePermit<'static>;

/// A function on a stack.
#[derive(Clone, Debug)]
struct Frame {
    name: String,
    /// Bytes from the beginning of the file.
    offset: Option<usize>,
}

impl Faults {
    /// Those of the guest in `wasm`, which lies at `guest` and serves `trigger`.
    pub fn new(engine: &Engine, trigger: &Arc<str>, wasm: &Wasm, guest: PathBuf) -> Self {
        Self(Arc::new(Shared {
            trigger: trigger.clone(),
            guest,
            digest: wasm.digest,
            debug: wasm.debug,
            coredumps: engine.coredumps.clone(),
            told: Mutex::default(),
        }))
    }

    /// What ended the instance of the connection `id`, if that is to be told: the first of its kind in a
    /// while.
    pub fn note(&self, id: u64, error: Error) -> Option<Fault> {
        let backtrace = error.downcast_ref::<WasmBacktrace>()?;
        let top = backtrace.frames().first()?;
        let kind = (
            error.downcast_ref::<Trap>().copied(),
            top.func_index(),
            top.module_offset(),
        );
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(&kind).is_some_and(|at| at.elapsed() < PERIOD) {
            return None;
        }
        if told.len() >= KINDS {
            told.retain(|_, at| at.elapsed() < PERIOD);
        }
        if told.len() >= KINDS {
            return None;
        }
        told.insert(kind, Instant::now());
        drop(told);
        Some(Fault {
            of: self.clone(),
            id,
            error,
            dump: None,
        })
    }
}

impl Fault {
    /// Takes a core dump, if there are to be any, and lets go of the store.
    pub async fn dump<T: Send + 'static>(mut self, mut store: Store<T>) -> Self {
        if self.of.0.coredumps.is_none() || !self.error.is::<WasmCoreDump>() {
            return self;
        }
        let Some(turn) = turn().await else {
            return self;
        };
        let taken = spawn_blocking(move || {
            let name = self.of.0.guest.to_string_lossy();
            let dump = self.error.downcast_ref::<WasmCoreDump>();
            self.dump = dump.map(|dump| Dump {
                core: dump.serialize(&mut store, &name),
                turn,
            });
            self
        });
        match taken.await {
            Ok(fault) => fault,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // It is never aborted: its runtime is going down, and this one with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Writes it to the log, and its core dump to the disk. A place that is held meanwhile is had for some seconds more
    /// by nobody, where the disk is slow.
    pub async fn tell(self) {
        let Self {
            of: Faults(shared),
            id,
            error,
            dump,
        } = self;
        let frames: Vec<_> = error
            .downcast_ref::<WasmBacktrace>()
            .into_iter()
            .flat_map(WasmBacktrace::frames)
            .map(|frame| Frame {
                name: match frame.func_name() {
                    Some(name) => demangled(name),
                    None => format!("function {}", frame.func_index()),
                },
                offset: frame.module_offset(),
            })
            .collect();
        let (core, turn) = match dump {
            Some(Dump { core, turn }) => (Some(core), Some(turn)),
            None if shared.debug => (None, turn().await),
            None => (None, None),
        };
        let Some(turn) = turn else {
            return say(&shared, id, &frames, &[]);
        };
        let told = spawn_blocking(move || {
            let _turn = turn;
            let places = if shared.debug {
                places::of(&shared.guest, &shared.digest, &frames)
            } else {
                Vec::new()
            };
            say(&shared, id, &frames, &places);
            if let (Some(core), Some(coredumps)) = (core, &shared.coredumps) {
                keep(&shared, id, &core, coredumps);
            }
        });
        // It goes on by itself when it takes long; and when it panics the runtime tells.
        let _ = timeout(PATIENCE, told).await;
    }
}

/// The right to do such a thing; `None` when others do for too long.
async fn turn() -> Option<Turn> {
    timeout(PATIENCE, BUSY.acquire()).await.ok()?.ok()
}

/// A line for each function, the one that was running first. One that was compiled into another has a
/// line of its own, under the same number.
fn say(shared: &Shared, id: u64, frames: &[Frame], places: &[Vec<Place>]) {
    let lines = frames.iter().enumerate().flat_map(|(number, frame)| {
        let places = places.get(number).filter(|places| !places.is_empty());
        let shown = match places {
            Some(places) => places.iter().map(|place| place.in_words(frame)).collect(),
            None => vec![match frame.offset {
                Some(offset) => format!("{} at {offset:#x}", frame.name),
                None => frame.name.clone(),
            }],
        };
        shown.into_iter().map(move |shown| (number, shown))
    });
    for (number, shown) in lines.take(LINES) {
        let line = format!("{number}: {}", printable(&shown, LINE));
        warn!(trigger = %shared.trigger, id, stream = "backtrace", line, "output");
    }
}

fn keep(shared: &Shared, id: u64, core: &[u8], coredumps: &Coredumps) {
    let trigger = &shared.trigger;
    let name = format!("{trigger}-{id}");
    match coredumps.keep(&name, SystemTime::now(), core) {
        Ok(path) => {
            let coredump = path.to_string_lossy();
            info!(%trigger, id, coredump = &*coredump, bytes = core.len(), "output");
        }
        Err(error) => {
            let folder = coredumps.path().display();
            let reason = format!("cannot keep a core dump in {folder}: {error}");
            warn!(%trigger, id, bytes = core.len(), reason, "output");
        }
    }
}

/// A name as its source has it, as much of that as a line holds. What it means is the guest's to say, and may be of any length.
fn demangled(name: &str) -> String {
    let mut short = Short(String::new());
    // An error: there was more.
    let _ = write!(short, "{:#}", rustc_demangle::demangle(name));
    short.0
}

/// The beginning of a text.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        for character in more.chars() {
            if self.0.len() >= LINE {
                return Err(fmt::Error);
            }
            self.0.push(character);
        }
        Ok(())
    }
}
