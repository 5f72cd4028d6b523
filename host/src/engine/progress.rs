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
        let guest = &printable(&path.to_string_lossy(), 200);
        let (done, over) = mpsc::channel::<()>();
        let (worked, told) = thread::scope(|scope| {
            let teller = move || {
                if over.recv_timeout(patience) != Err(RecvTimeoutError::Timeout) {
                    return false;
                }
                let line = self.begin(guest, began);
                // Comes to its end when `done` is dropped.
                let _ = over.recv();
                if let Some(line) = line {
                    line.finish_and_clear();
                }
                true
            };
            // Without a thread to spare the work is done all the same.
            let teller = thread::Builder::new().spawn_scoped(scope, teller);
            let worked = work();
            drop(done);
            let told = teller.is_ok_and(|teller| teller.join().unwrap_or(false));
            (worked, told)
        });
        let ms = millis(began);
        if told {
            info!(%guest, code = %"compiled", ms, "start");
        } else {
            debug!(%guest, code = %"compiled", ms, "start");
        }
        worked
    }

    fn begin(&self, guest: &str, began: Instant) -> Option<ProgressBar> {
        match self {
            Self::Log => {
                info!(%guest, code = %"compiling", "start");
                None
            }
            Self::Terminal(lines) => {
                let style = ProgressStyle::with_template("{spinner} compiling {msg} {elapsed}");
                let line = ProgressBar::new_spinner().with_elapsed(began.elapsed());
                let line = line.with_message(guest.to_owned());
                let line = lines.add(line.with_style(style.ok()?));
                line.enable_steady_tick(TICK);
                Some(line)
            }
        }
    }
}

/// Since then, as a number that JSON has.
pub(super) fn millis(since: Instant) -> u64 {
    since.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Condvar, Mutex};

    use indicatif::{ProgressDrawTarget, TermLike};

    use super::*;

    /// A terminal of one line: what was ever written to it, and what stands there.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<(Mutex<(String, String)>, Condvar)>);

    impl Screen {
        fn change(&self, change: impl FnOnce(&mut (String, String))) {
            change(&mut self.0.0.lock().unwrap());
            self.0.1.notify_all();
        }

        fn wait_for(&self, text: &str) {
            let shown = self.0.0.lock().unwrap();
            let waits = |shown: &mut (String, String)| !shown.0.contains(text);
            drop(self.0.1.wait_while(shown, waits).unwrap());
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            80
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.change(|(ever, now)| {
                ever.push_str(text);
                now.push_str(text);
            });
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.change(|(_, now)| now.clear());
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn work_that_takes_long_is_told_on_the_terminal_and_leaves_nothing_there() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let progress = Progress::Terminal(MultiProgress::with_draw_target(target));
        let path = Path::new("a/py\u{1b}[2J.wasm");
        // The work does not end before it was told that it goes on.
        let told = || screen.wait_for("compiling a/py");
        progress.watch_for(Duration::ZERO, path, told);
        let shown = screen.0.0.lock().unwrap();
        assert!(!shown.0.contains("\u{1b}[2J"), "{:?}", shown.0);
        assert_eq!(shown.1.trim(), "", "something is left");
    }

    #[test]
    fn work_that_is_done_soon_is_not_worth_a_word() {
        let screen = Screen::default();
        let target = ProgressDrawTarget::term_like(Box::new(screen.clone()));
        let progress = Progress::Terminal(MultiProgress::with_draw_target(target));
        let made = progress.watch_for(Duration::from_hours(1), Path::new("c.wasm"), || 7);
        assert_eq!(made, 7);
        assert_eq!(screen.0.0.lock().unwrap().0, "");
    }
}
