//! What a handler says beside its connection: lines on its stdout and stderr become log lines.
//! Bounded in every direction, since a hostile guest writes it: a line is cut, and a stream that has
//! said enough is not heard for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

/// Bytes of one line; a longer one continues as the next.
const LINE: usize = 1024;

/// Bytes of one stream in one `PERIOD`: a daemon is heard for as long as it lives, and a flood fills
/// no disk.
const BUDGET: usize = 256 * 1024;
const PERIOD: Duration = Duration::from_mins(1);

/// What a line costs beside its text: about what the log adds to it.
const LINE_COST: usize = 128;

/// A stream that becomes log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// Descriptor 1, where that is not the connection.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// One stream of the handler of one connection, or of one run of a job. What was not ended by a
/// line feed is logged when this is dropped.
#[derive(Debug)]
pub struct Lines {
    trigger: Arc<str>,
    id: u64,
    channel: Channel,
    pending: Vec<u8>,
    allowance: Allowance,
}

/// What one stream may still say, and since when it is spent from. Several instances that serve one
/// connection share it.
#[derive(Clone, Debug)]
struct Allowance(Arc<Mutex<(usize, Instant)>>);

impl Lines {
    /// Nothing said yet, by what serves the connection `id` of `trigger`.
    pub fn new(trigger: Arc<str>, id: u64, channel: Channel) -> Self {
        Self {
            trigger,
            id,
            channel,
            pending: Vec::new(),
            allowance: Allowance(Arc::new(Mutex::new((BUDGET, Instant::now())))),
        }
    }

    /// The same stream of another instance that serves the same connection: together they may say as
    /// much as one.
    #[must_use]
    pub fn another(&self) -> Self {
        Self {
            trigger: self.trigger.clone(),
            id: self.id,
            channel: self.channel,
            pending: Vec::new(),
            allowance: self.allowance.clone(),
        }
    }

    /// Takes what was written, and logs each line that is whole.
    pub fn write(&mut self, mut bytes: &[u8]) {
        let allowance = self.allowance.clone();
        let mut allowance = allowance.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (budget, since) = &mut *allowance;
        if *budget == 0 && since.elapsed() >= PERIOD {
            (*budget, *since) = (BUDGET, Instant::now());
        }
        while !bytes.is_empty() && *budget > 0 {
            let room = (LINE - self.pending.len()).min(*budget).min(bytes.len());
            let end = bytes[..room].iter().position(|byte| *byte == b'\n');
            let (piece, rest) = bytes.split_at(end.map_or(room, |end| end + 1));
            self.pending.extend_from_slice(piece);
            *budget -= piece.len();
            bytes = rest;
            if end.is_some() || self.pending.len() == LINE || *budget == 0 {
                self.log();
                *budget = budget.saturating_sub(LINE_COST);
            }
            if *budget == 0 {
                let (trigger, id, stream) = (&self.trigger, self.id, self.stream());
                let reason = "it says too much, and is not heard for a while";
                warn!(%trigger, id, stream, bytes = BUDGET, reason, "output");
            }
        }
    }

    fn log(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let line = self.pending.strip_suffix(b"\n").unwrap_or(&self.pending);
        let line = String::from_utf8_lossy(line);
        let (trigger, id, stream) = (&self.trigger, self.id, self.stream());
        info!(%trigger, id, stream, line = &*line, "output");
        self.pending.clear();
    }

    fn stream(&self) -> &'static str {
        match self.channel {
            Channel::Stdout => "stdout",
            Channel::Stderr => "stderr",
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.log();
    }
}
