//! The pipes of a job's stdout and stderr, read into the log. A job that floods is read on, so that
//! it does not stand still.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

use crate::output::Lines;

/// Bytes read at once.
const CHUNK: usize = 4096;

/// The reading end of one stream of one process.
#[derive(Debug)]
pub(super) struct Output {
    lines: Lines,
    pipe: Receiver,
}

impl Output {
    /// The reading end, and the writing end for the process.
    pub fn pipe(lines: Lines) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Only the reader: the process expects its end to block.
        rustix::io::ioctl_fionbio(&reader, true)?;
        let pipe = Receiver::from_owned_fd_unchecked(reader)?;
        Ok((Self { lines, pipe }, writer))
    }

    /// Logs until the last writer has closed.
    async fn log(&mut self) {
        while self.pipe.readable().await.is_ok() {
            if self.log_ready(1) {
                return;
            }
        }
    }

    /// Logs what is there now, and the line that was never ended.
    pub fn log_rest(mut self) {
        // A pipe holds 64 KiB by default; whatever still writes is not the process we waited for.
        self.log_ready(64 * 1024 / CHUNK);
    }

    /// `true`: there will be nothing more.
    fn log_ready(&mut self, reads: usize) -> bool {
        let mut bytes = [0; CHUNK];
        for _ in 0..reads {
            match self.pipe.try_read(&mut bytes) {
                Ok(0) => return true,
                Ok(count) => self.lines.write(&bytes[..count]),
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        false
    }
}

/// Logs one or two streams until both are closed.
pub(super) async fn log_all(outputs: &mut [Output]) {
    match outputs {
        [] => {}
        [one] => one.log().await,
        [first, second, ..] => {
            tokio::join!(first.log(), second.log());
        }
    }
}
