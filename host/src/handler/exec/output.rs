//! What a job writes to stdout or stderr, as log lines. A line has at most 4 KiB and a run at most
//! 256 KiB of them: a job that floods is read on, so that it does not stand still, but not logged.

use std::io;
use std::os::fd::OwnedFd;

use tokio::net::unix::pipe::Receiver;

/// A longer line is logged in pieces.
const LINE: usize = 4096;

/// Bytes of one stream of one run that are logged.
const BUDGET: usize = 256 * 1024;

/// The reading end of one stream of one process.
#[derive(Debug)]
pub(super) struct Output {
    stream: &'static str,
    pipe: Receiver,
    /// A line that has not ended yet.
    line: Vec<u8>,
    budget: usize,
}

impl Output {
    /// The reading end, and the writing end for the process.
    pub fn pipe(stream: &'static str) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        // Only the reader: the process expects its end to block.
        rustix::io::ioctl_fionbio(&reader, true)?;
        let pipe = Receiver::from_owned_fd(reader)?;
        Ok((
            Self {
                stream,
                pipe,
                line: Vec::new(),
                budget: BUDGET,
            },
            writer,
        ))
    }

    /// Logs until the last writer has closed.
    async fn log(&mut self, trigger: &str, id: u64) {
        while self.pipe.readable().await.is_ok() {
            if self.log_ready(trigger, id, 1) {
                return;
            }
        }
    }

    /// Logs what is there now, and the line that was never ended.
    pub fn log_rest(&mut self, trigger: &str, id: u64) {
        // A pipe holds 64 KiB by default; whatever still writes is not the process we waited for.
        self.log_ready(trigger, id, 64);
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.emit(&line, trigger, id);
        }
    }

    /// `true`: there will be nothing more.
    fn log_ready(&mut self, trigger: &str, id: u64, reads: usize) -> bool {
        let mut bytes = [0; LINE];
        for _ in 0..reads {
            match self.pipe.try_read(&mut bytes) {
                Ok(0) => return true,
                Ok(count) => self.take(&bytes[..count], trigger, id),
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    fn take(&mut self, mut bytes: &[u8], trigger: &str, id: u64) {
        while !bytes.is_empty() && self.budget > 0 {
            let room = LINE - self.line.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.unwrap_or(room.min(bytes.len())));
            self.line.extend_from_slice(piece);
            bytes = rest.get(usize::from(end.is_some())..).unwrap_or_default();
            if end.is_some() || self.line.len() >= LINE {
                let line = std::mem::take(&mut self.line);
                self.emit(&line, trigger, id);
            }
        }
    }

    fn emit(&mut self, line: &[u8], trigger: &str, id: u64) {
        if self.budget == 0 {
            return;
        }
        let stream = self.stream;
        // An empty line costs as well.
        self.budget = self.budget.saturating_sub(line.len() + 1);
        let line = String::from_utf8_lossy(line);
        tracing::info!(trigger, id, stream, line = &*line, "output");
        if self.budget == 0 {
            tracing::warn!(
                trigger,
                id,
                stream,
                bytes = BUDGET,
                "no more output of this run is logged"
            );
        }
    }
}

/// Logs one or two streams until both are closed.
pub(super) async fn log_all(outputs: &mut [Output], trigger: &str, id: u64) {
    match outputs {
        [] => {}
        [one] => one.log(trigger, id).await,
        [first, second, ..] => {
            tokio::join!(first.log(trigger, id), second.log(trigger, id));
        }
    }
}
