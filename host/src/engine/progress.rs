//! Tells that guests are being compiled while somebody waits for it: by a line that moves, on a
//! terminal, and by log lines otherwise. What is quickly done is not worth a word.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::{debug, info};

use crate::trigger::printable;

/// How long one waits without a word.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the line on a terminal moves.
const TICK: Duration = Duration::from_millis(100);

/// How it is told.
#[derive(Debug)]
pub enum Progress {
    /// By log lines.
    Log,
    /// By lines that move at the end of stderr, a terminal, and go when the work is done.
    Terminal(MultiProgress),
}

impl Progress {
    /// By lines that move where `terminal` says that a person looks at stderr.
    pub fn new(terminal: bool) -> Self {
        if terminal {
            Self::Terminal(MultiProgress::new())
        } else {
            Self::Log
        }
    }

    /// Does the work of compiling the guest at `path`.
    pub(super) fn watch<T>(&self, path: &Path, work: impl FnOnce() -> T) -> T {
        self.watch_for(PATIENCE, path, work)
    }

    fn watch_for<T>(&self, patience: Duration, path: &Path, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let name = printable(&path.to_string_lossy(), 200);
        let (done, over) = mpsc::channel::<()>();
        let worked = thread::scope(|scope| {
            let name = &name;
            let teller = move || {
                if over.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let line = self.begin(name);
                // Comes to its end when `done` is dropped.
                let _ = over.recv();
                if let Some(line) = line {
                    line.finish_and_clear();
                }
            };
            // Without a thread to spare the work is done all the same.
            let _ = thread::Builder::new().spawn_scoped(scope, teller);
            let worked = work();
            drop(done);
            worked
        });
        let ms = began.elapsed().as_millis();
        if began.elapsed() > patience {
            info!(guest = name, code = "compiled", ms, "start");
        } else {
            debug!(guest = name, code = "compiled", ms, "start");
        }
        worked
    }

    fn begin(&self, name: &str) -> Option<ProgressBar> {
        match self {
            Self::Log => {
                info!(guest = name, code = "compiling", "start");
                None
            }
            Self::Terminal(lines) => {
                let style = ProgressStyle::with_template("{spinner} compiling {msg} {elapsed}");
                let line = ProgressBar::new_spinner().with_message(name.to_owned());
                let line = lines.add(line.with_style(style.ok()?));
                line.enable_steady_tick(TICK);
                Some(line)
            }
        }
    }
}
