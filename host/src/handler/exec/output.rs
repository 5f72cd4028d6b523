//! The pipes of a job's stdout and stderr, read into the log. A job that floods is read on, so that
//! it does not stand still.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;

use super::serve::register;
use crate::output::Lines;

/// Bytes read at once.
const CHUNK: usize = 4096;

/// How long a process runs before what it says is listened for. One that is over by then, as most are, is read once,
/// at its end, and the runtime never hears of its pipes. A pipe holds 64 KiB meanwhile.
const PATIENCE: Duration = Duration::from_millis(10);

/// The reading end of one stream of one process.
#[derive(Debug)]
pub(super) struct Output {
    lines: Lines,
    pipe: OwnedFd,
}

impl Output {
    /// The reading end, and the writing end for the process.
    pub fn pipe(lines: Lines) -> io::Result<(Self, OwnedFd)> {
        let (pipe, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Only the reader: the process expects its end to block.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok((Self { lines, pipe }, writer))
    }

    /// Logs until the last writer has closed.
    async fn log(&mut self) {
        let Self { lines, pipe } = self;
        let Ok(watched) = register(pipe.as_fd()) else {
            // What it says is read at its end, as far as the pipe holds it.
            return;
        };
        let mut bytes = [0; CHUNK];
        while let Ok(mut ready) = watched.readable().await {
            match rustix::io::read(&*pipe, &mut bytes) {
                Ok(0) => return,
                Ok(count) => lines.write(&bytes[..count]),
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Logs what is there now, and the line that was never ended.
    pub fn log_rest(mut self) {
        let mut bytes = [0; CHUNK];
        // A pipe holds 64 KiB by default; whatever still writes is not the process we waited for.
        for _ in 0..64 * 1024 / CHUNK {
            match rustix::io::read(&self.pipe, &mut bytes) {
                Ok(0) => return,
                Ok(count) => self.lines.write(&bytes[..count]),
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
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
