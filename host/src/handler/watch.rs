//! When a handler has to end though it would go on: at its deadline, when nothing has moved for too
//! long, when the host stops.

use std::future::poll_fn;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::connection::{Readable, Stream};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::plan::GuestLimits;
use crate::shutdown::Drain;

/// How long a handler may take.
#[derive(Clone, Copy, Debug)]
pub struct Time {
    /// From accept to end; `None`: for ever.
    pub deadline: Option<Duration>,
    /// Without a byte either way; `None`: for ever.
    pub idle: Option<Duration>,
}

impl Time {
    /// That of an instance with these limits.
    pub fn of_guest(limits: &GuestLimits) -> Self {
        Self {
            deadline: Some(limits.deadline),
            idle: Some(limits.idle),
        }
    }
}

/// Waits for the first byte of a client, or the end of what it sends.
///
/// # Errors
/// Why the handler is not to start any more.
pub async fn first_byte(
    stream: &Stream,
    time: Time,
    meter: &Meter,
    drain: &Drain,
) -> Result<(), Outcome> {
    let readable = tokio::select! {
        biased;
        readable = poll_fn(|cx| stream.poll_readable(cx)) => readable,
        outcome = watch(time, meter, drain) => return Err(outcome),
    };
    match readable {
        Ok(Readable {
            count: 0,
            hangup: true,
        })
        | Err(_) => Err(Outcome::Hangup),
        Ok(_) => Ok(()),
    }
}

/// Resolves with why the handler of the connection that `meter` counts has to end.
pub async fn watch(time: Time, meter: &Meter, drain: &Drain) -> Outcome {
    tokio::select! {
        biased;
        outcome = expire(time, meter) => outcome,
        () = drain.over() => Outcome::Drained,
    }
}

async fn expire(time: Time, meter: &Meter) -> Outcome {
    let deadline = time
        .deadline
        .and_then(|limit| meter.since().checked_add(limit));
    loop {
        let idle = time
            .idle
            .and_then(|limit| meter.last_moved().checked_add(limit));
        let Some(next) = deadline.into_iter().chain(idle).min() else {
            return std::future::pending().await;
        };
        let next = Instant::from_std(next);
        if next > Instant::now() {
            sleep_until(next).await;
        } else if deadline.is_some_and(|deadline| Instant::from_std(deadline) <= next) {
            return Outcome::Deadline;
        } else {
            return Outcome::Idle;
        }
    }
}
