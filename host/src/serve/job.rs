//! Serving with a job that accepts for itself: it gets the listener, and the host sees to it that each
//! connection starts it once.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::{debug, info, warn};

use super::next_id;
use super::post::{Busy, Post, Relief};
use crate::connection::Local;
use crate::handler::exec::{self, Exec};
use crate::log::{self, End};
use crate::outcome::Outcome;
use crate::queue::Verdict;
use crate::shutdown::Drain;

/// A trigger whose job gets the listener.
pub struct HandedOver {
    trigger: Arc<str>,
    exec: Arc<Exec>,
}

impl HandedOver {
    /// For `trigger`.
    pub fn new(trigger: Arc<str>, exec: Exec) -> Self {
        let exec = Arc::new(exec);
        Self { trigger, exec }
    }

    /// Serves a listener until the drain begins or it is withdrawn, and the last process has ended.
    pub(super) async fn serve(self: Arc<Self>, mut post: Post, drain: Drain, mut relief: Relief) {
        loop {
            let shared = post.shared();
            let bound = tokio::select! {
                biased;
                () = drain.begun() => return,
                reply = relief.asked(shared) => return drop(reply.send(post)),
                bound = post.take(&self.trigger) => bound,
            };
            let (socket, local) = (bound.socket(), bound.local.clone());
            post.put(bound);
            // Dropped when the last process has ended.
            let (_over, busy) = oneshot::channel();
            let mut held = Some(post);
            let served = {
                let closed = closed(&mut held, busy, &drain, &mut relief);
                self.run(socket.as_fd(), &local, &drain, closed).await
            };
            let (Err(error), Some(lost)) = (served, held) else {
                return;
            };
            // A trigger does not die of what its job does: the job has lost its own connections, and
            // the next ones find a new listener.
            warn!(trigger = %self.trigger, address = %local, reason = %error, "pause");
            drop(socket);
            post = lost.shut();
        }
    }

    async fn run(
        &self,
        listener: BorrowedFd<'_>,
        local: &Local,
        drain: &Drain,
        close: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let facts = self.exec.facts(local).variables;
        let (cut, stop) = watch::channel(None);
        let runs = Arc::new(Runs {
            trigger: self.trigger.clone(),
        });
        let served = self.exec.serve(listener, facts, runs, close, stop);
        tokio::pin!(served);
        tokio::select! {
            served = &mut served => served,
            () = drain.over() => {
                cut.send_replace(Some(Outcome::Drained));
                served.await
            }
        }
    }
}

/// Resolves when the drain begins, or when the post is asked for and given away.
async fn closed(held: &mut Option<Post>, busy: Busy, drain: &Drain, relief: &mut Relief) {
    let Some(post) = held else { return };
    tokio::select! {
        biased;
        () = drain.begun() => {}
        reply = relief.asked(post.shared()) => {
            if let Some(post) = held.take() {
                let _ = reply.send(post.busy_until(busy));
            }
        }
    }
}

/// The log of a job's runs.
struct Runs {
    trigger: Arc<str>,
}

impl exec::Watch for Runs {
    fn next_id(&self) -> u64 {
        next_id()
    }

    fn started(&self, id: u64, pid: i32) {
        debug!(trigger = %self.trigger, id, pid, "start");
    }

    fn ended(&self, id: u64, outcome: &Outcome, verdict: Verdict, ran: Duration) {
        if let Verdict::Left { closed } = verdict {
            info!(trigger = %self.trigger, id, closed, reason = "not accepted", "reject");
        }
        log::end(&End {
            trigger: &self.trigger,
            id,
            peer: None,
            outcome,
            ms: log::millis(ran),
            cpu_ms: None,
            rx: None,
            tx: None,
        });
    }

    fn paused(&self, pause: Duration) {
        let ms = log::millis(pause);
        warn!(trigger = %self.trigger, reason = "the job keeps failing", ms, "pause");
    }
}
