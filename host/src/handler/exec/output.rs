//! The pipes of a job's stdout and stderr, read into the log. A job that floods is read on, so that
//! it does not stand still.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use tokio::task::coop;

use super::serve::register;
use crate::output::Lines;

/// Bytes read at once.
const CHUNK: usize = 4096;

/// How long a process runs before what it says is listened for. One that is over by then, as most are, is read once,
/// at its end, and the runtime never hears of its pipes: their closing would wake the host in the moment in which the next
/// process is to begin. A pipe holds 64 KiB meanwhile.
const PATIENCE: Duration = Duration::from_millis(10);

/// A pipe: the reading end, and the writing end for a process.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), String> {
    let pipe = || {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Only the reader: the process expects its end to block.
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok::<_, Errno>((reader, writer))
    };
    pipe().map_err(|error| format!("cannot make a pipe: {error}"))
}

/// The reading end of one stream of one process.
#[derive(Debug)]
pub(super) struct Output {
    lines: Lines,
    pipe: OwnedFd,
}

impl Output {
    /// What comes through a pipe of [`pipe`] becomes `lines`.
    pub fn new(lines: Lines, pipe: OwnedFd) -> Self {
        Self { lines, pipe }
    }

    /// Logs until the last writer has closed.
    async fn log(&mut self) {
        let Self { lines, pipe } = self;
        let Ok(watched) = register(pipe.as_fd()) else {
            // What it says is read at its end, as far as the pipe holds it.
            return;
        };
        while let Ok(mut ready) = watched.readable().await {
            match read(pipe, lines) {
                Ok(0) => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(_) => return,
            }
            // A pipe that is never empty is no reason to do nothing else: its process may have to be ended.
            coop::consume_budget().await;
        }
    }

    /// Logs what is there now, and the line that was never ended.
    pub fn log_rest(mut self) {
        // A pipe holds 64 KiB by default; whatever still writes is not the process we waited for.
        for _ in 0..64 * 1024 / CHUNK {
            match read(&self.pipe, &mut self.lines) {
                Ok(1..) | Err(Errno::INTR) => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

/// Logs what one read gives. The bytes are never part of a task, which is copied when it is begun.
fn read(pipe: &OwnedFd, lines: &mut Lines) -> Result<usize, Errno> {
    let mut bytes = [0; CHUNK];
    let count = rustix::io::read(pipe, &mut bytes)?;
    lines.write(&bytes[..count]);
    Ok(count)
}

/// Logs one or two streams until both are closed.
pub(super) async fn log_all(outputs: &mut [Output]) {
    tokio::time::sleep(PATIENCE).await;
    match outputs {
        [] => {}
        [one] => one.log().await,
        [first, second, ..] => {
            tokio::join!(first.log(), second.log());
        }
    }
}
