//! When a handler has to end though it would go on: at its deadline, when nothing has moved for too
//! long, when more wants to move than may, when the host stops.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::connection::{Ear, Readable, Stream};
use crate::meter::Meter;
use crate::outcome::Outcome;
use crate::plan::GuestLimits;
use crate::shutdown::Drain;

/// How long a handler may take.
#[derive(Debug, Default)]
pub struct Time {
    /// From accept to end; `None`: for ever.
    pub deadline: Option<Duration>,
    /// Without a byte either way; `None`: for ever.
    pub idle: Option<Duration>,
    /// From accept to the first byte of the client, and by what that is heard; `None`: for ever.
    pub first_byte: Option<(Duration, Ear)>,
}

impl Time {
    /// That of an instance with these limits, which serves this connection.
    pub fn of_guest(limits: &GuestLimits, stream: &Stream) -> Self {
        Self {
            deadline: Some(limits.deadline),
            idle: Some(limits.idle),
            first_byte: limits.first_byte.map(|limit| (limit, stream.ear())),
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

/// Resolves with why the handler of the connection that `meter` counts has to end. To be polled after
/// the handler by the same task.
pub async fn watch(time: Time, meter: &Meter, drain: &Drain) -> Outcome {
    let exceeded = poll_fn(|_| meter.exceeded().map_or(Poll::Pending, Poll::Ready));
    tokio::select! {
        biased;
        way = exceeded => Outcome::Bytes(way),
        outcome = expire(time, meter) => outcome,
        () = drain.over() => Outcome::Drained,
    }
}

async fn expire(time: Time, meter: &Meter) -> Outcome {
    let Time {
        deadline,
        idle,
        mut first_byte,
    } = time;
    let since = |then: std::time::Instant, limit| then.checked_add(limit).map(Instant::from_std);
    let deadline = deadline.and_then(|limit| since(meter.since(), limit));
    loop {
        first_byte = first_byte.filter(|_| meter.rx() == 0);
        let begin = first_byte.as_ref();
        let begin = begin.and_then(|(limit, _)| since(meter.since(), *limit));
        let idle = idle.and_then(|limit| since(meter.last_moved(), limit));
        let Some(next) = deadline.into_iter().chain(begin).chain(idle).min() else {
            return std::future::pending().await;
        };
        if next > Instant::now() {
            sleep_until(next).await;
        } else if deadline == Some(next) {
            return Outcome::Deadline;
        } else if begin == Some(next) {
            // It may have said something that the guest has not read yet.
            first_byte = first_byte.filter(|(_, ear)| !ear.hears());
            if first_byte.is_some() {
                return Outcome::Silent;
            }
        } else {
            return Outcome::Idle;
        }
    }
}
