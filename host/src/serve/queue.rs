//! The queue of one listener is the kernel's backlog. When connections begin to wait there, for a
//! place or for their turn, the log says so once, and once more when nobody has to wait any longer:
//! a burst pauses a trigger and never ends it.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::Accepting;
use crate::limits::{Places, Shortage};
use crate::listener::Listener;
use crate::log;

pub(super) struct Queue<'a> {
    accepting: &'a Accepting,
    listener: &'a Listener,
    pause: Option<Pause>,
}

/// A time in which connections have to wait.
struct Pause {
    reason: Shortage,
    since: Instant,
    /// When one had to wait last.
    last: Instant,
    /// How many had to.
    queued: u64,
    /// Whether the log has its begin.
    written: bool,
}

/// While connections never stop coming, a pause is over when none of them had to wait for so long.
const CALM: Duration = Duration::from_secs(1);

impl<'a> Queue<'a> {
    pub fn new(accepting: &'a Accepting, listener: &'a Listener) -> Self {
        Self {
            accepting,
            listener,
            pause: None,
        }
    }

    /// Waits for a connection, and for a place for it.
    pub async fn place(&mut self) -> Places {
        let limits = &self.accepting.limits;
        if self.pause.is_some() {
            tokio::select! {
                biased;
                () = self.listener.waiting() => {}
                // Given back at once: it shows that the next one will not have to wait.
                _ = limits.place() => self.resume(),
            }
        }
        self.listener.maybe_waiting().await;
        match limits.place_at_once() {
            Ok(places) => {
                if self
                    .pause
                    .as_ref()
                    .is_some_and(|it| it.last.elapsed() > CALM)
                {
                    self.resume();
                }
                places
            }
            Err(short) => {
                // A turn or a place that has to be waited for is not taken for nobody.
                self.listener.waiting().await;
                self.wait(short);
                let places = limits.place().await;
                if let Some(pause) = &mut self.pause {
                    pause.last = Instant::now();
                }
                places
            }
        }
    }

    /// One more connection has to wait.
    fn wait(&mut self, reason: Shortage) {
        let Accepting {
            trigger,
            numbers,
            pauses,
            ..
        } = self.accepting;
        let address = &self.listener.local;
        let pause = self.pause.get_or_insert_with(|| {
            numbers.pause();
            let unwritten = pauses.turn();
            if let Some(unwritten) = unwritten {
                warn!(%trigger, %address, %reason, unwritten, "pause");
            }
            let now = Instant::now();
            Pause {
                reason,
                since: now,
                last: now,
                queued: 0,
                written: unwritten.is_some(),
            }
        });
        pause.queued += 1;
    }

    /// None has to wait any longer.
    fn resume(&mut self) {
        let Some(pause) = self.pause.take().filter(|pause| pause.written) else {
            return;
        };
        let Pause {
            reason,
            since,
            queued,
            ..
        } = pause;
        let trigger = &self.accepting.trigger;
        let address = &self.listener.local;
        let ms = log::millis(since.elapsed());
        info!(%trigger, %address, %reason, ms, queued, "pause");
    }
}
