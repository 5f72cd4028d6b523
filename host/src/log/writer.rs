//! Lines on their way to stderr. Connections leave them in a buffer and go on; a thread of its own
//! writes out what has come together, so that a busy host makes few large writes instead of waking
//! somebody for each line.

use std::io::{self, Write};
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait to be written. Past it lines are lost rather than connections delayed: a
/// stuck log must not stop the host.
const BACKLOG: usize = 4 << 20;

/// How long the first line of a write waits for others to come along.
const GATHERING: Duration = Duration::from_millis(5);

/// Where lines are left.
#[derive(Clone, Debug)]
pub struct Lines(Arc<Shared>);

/// The thread that writes; it writes the rest when this is dropped.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    lost: u64,
    ended: bool,
}

impl Writer {
    /// Begins to write to `out`.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(out: impl Write + Send + 'static) -> io::Result<(Lines, Self)> {
        let shared = Arc::<Shared>::default();
        let writing = shared.clone();
        let thread = thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writing.write(out))?;
        let writer = Self {
            shared: shared.clone(),
            thread: Some(thread),
        };
        Ok((Lines(shared), writer))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.waiting().ended = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell, and this may be a panic already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut out: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.ended;
            let waiting = self.changed.wait_while(self.waiting(), idle);
            let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            // Whoever adds to a buffer that is not empty wakes nobody.
            let gathered = self
                .changed
                .wait_timeout_while(waiting, GATHERING, |waiting| !waiting.ended);
            let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut bytes, &mut waiting.bytes);
            let (lost, ended) = (mem::take(&mut waiting.lost), waiting.ended);
            drop(waiting);
            // There is nowhere to tell that the log cannot be written.
            let _ = out.write_all(&bytes);
            if lost > 0 {
                let _ = writeln!(
                    out,
                    "{lost} lines of the log are lost: it is written too slowly"
                );
            }
            let _ = out.flush();
            bytes.clear();
            if ended {
                return;
            }
        }
    }
}

impl Write for Lines {
    /// Takes one line, whole.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.0.waiting();
        let first = waiting.bytes.is_empty();
        if waiting.bytes.len() + line.len() > BACKLOG {
            waiting.lost += 1;
        } else {
            waiting.bytes.extend_from_slice(line);
        }
        drop(waiting);
        if first {
            self.0.changed.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Says when it is first written to, and waits for leave.
    struct Stuck {
        page: Page,
        begun: Sender<()>,
        leave: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // The first time it is waited for; then nobody is there any more.
            let _ = self.begun.send(());
            let _ = self.leave.recv();
            self.page.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_many_threads_are_whole_and_all_there_when_the_writer_is_dropped() {
        let page = Page::default();
        let (lines, writer) = Writer::start(page.clone()).unwrap();
        thread::scope(|scope| {
            for thread in 0..8 {
                let mut lines = lines.make_writer();
                scope.spawn(move || {
                    for number in 0..1000 {
                        let line = format!("{thread} {number} {}\n", "x".repeat(number % 97));
                        assert_eq!(lines.write(line.as_bytes()).unwrap(), line.len());
                    }
                });
            }
        });
        drop(writer);
        let text = page.text();
        let found: BTreeSet<_> = text.lines().collect();
        assert_eq!((text.lines().count(), found.len()), (8000, 8000));
        for line in found {
            let words: Vec<_> = line.split(' ').collect();
            let number: usize = words[1].parse().unwrap();
            assert_eq!(words[2], "x".repeat(number % 97), "{line}");
        }
    }

    #[test]
    fn lines_of_one_thread_keep_their_order() {
        let page = Page::default();
        let (mut lines, writer) = Writer::start(page.clone()).unwrap();
        let all: Vec<_> = (0..1000).map(|number| format!("{number}\n")).collect();
        for line in &all {
            lines.write_all(line.as_bytes()).unwrap();
        }
        drop(writer);
        assert_eq!(page.text(), all.concat());
    }

    #[test]
    fn a_log_that_is_stuck_delays_nobody_and_says_how_many_lines_it_has_lost() {
        let page = Page::default();
        let ((begun, has_begun), (go, leave)) = (channel(), channel());
        let stuck = Stuck {
            page: page.clone(),
            begun,
            leave,
        };
        let (mut lines, writer) = Writer::start(stuck).unwrap();
        lines.write_all(b"first\n").unwrap();
        has_begun.recv().unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..BACKLOG / line.len() + 3 {
            lines.write_all(&line).unwrap();
        }
        drop((go, has_begun));
        drop(writer);
        let text = page.text();
        assert!(text.starts_with("first\nxxx"));
        assert_eq!(text.lines().count(), 1 + BACKLOG / line.len() + 1);
        let last = text.lines().last().unwrap();
        assert_eq!(
            last,
            "3 lines of the log are lost: it is written too slowly"
        );
    }
}
