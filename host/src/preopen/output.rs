//! What a guest says beside its connection: lines on its stdout and stderr become log lines of that
//! connection. Bounded in every direction, since a hostile guest writes it: a line is cut, and a
//! connection that has said enough is heard no more.

use std::sync::Arc;

use tracing::info;

/// Bytes of one line; a longer one continues as the next.
const LINE: usize = 4096;
/// Bytes over the life of one connection.
const BUDGET: usize = 256 * 1024;

/// A stream that becomes log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Stdout,
    Stderr,
}

/// The log of one connection.
#[derive(Debug)]
pub struct Output {
    trigger: Arc<str>,
    id: u64,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    budget: usize,
}

impl Output {
    /// An empty one for the connection `id` of `trigger`.
    pub fn new(trigger: Arc<str>, id: u64) -> Self {
        Self {
            trigger,
            id,
            stdout: Vec::new(),
            stderr: Vec::new(),
            budget: BUDGET,
        }
    }

    /// Takes what was written, and logs each line that is whole.
    pub fn write(&mut self, channel: Channel, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.budget > 0 {
            let pending = match channel {
                Channel::Stdout => &mut self.stdout,
                Channel::Stderr => &mut self.stderr,
            };
            let room = (LINE - pending.len()).min(self.budget).min(bytes.len());
            let (taken, whole) = match bytes[..room].iter().position(|b| *b == b'\n') {
                Some(end) => (end + 1, true),
                None => (room, pending.len() + room == LINE),
            };
            pending.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.budget -= taken;
            if whole || self.budget == 0 {
                self.flush(channel);
            }
            if self.budget == 0 {
                let limit = BUDGET;
                info!(trigger = %self.trigger, id = self.id, limit, "output: the rest is dropped");
            }
        }
    }

    fn flush(&mut self, channel: Channel) {
        let (stream, pending) = match channel {
            Channel::Stdout => ("stdout", &mut self.stdout),
            Channel::Stderr => ("stderr", &mut self.stderr),
        };
        if pending.is_empty() {
            return;
        }
        let line = String::from_utf8_lossy(pending.strip_suffix(b"\n").unwrap_or(pending));
        info!(trigger = %self.trigger, id = self.id, stream, line = &*line, "output");
        pending.clear();
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush(Channel::Stdout);
        self.flush(Channel::Stderr);
    }
}
