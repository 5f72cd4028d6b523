//! `poll_oneoff`: what select, poll, sleep and every event loop of a preview-1 guest come down to.
//! The listener is ready until its connection is taken, the connection when the kernel says so,
//! files and logs always; a guest that can only wait for another client has finished.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use wasmtime_wasi::p1::types::{
    Clockid, Errno, Error, Event, EventFdReadwrite, Eventrwflags, Eventtype, Fd, Size,
    Subclockflags, Subscription, SubscriptionClock, SubscriptionU,
};
use wiggle::{GuestMemory, GuestPtr};

use super::descriptors::Descriptor;
use super::guest::{Finish, Guest};
use super::socket::Socket;

/// Subscriptions of one call: enough for select over every descriptor a C library numbers, twice.
const SUBSCRIPTIONS: u32 = 4096;

/// What one subscription waits for.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// A time on the host's clock; `None` is further away than anybody waits.
    Until(Option<tokio::time::Instant>),
    Readable,
    Writable,
    /// The connection behind the listener.
    Accept,
    /// What never happens, such as room to write to a listener.
    Never,
    /// What is always so.
    Now {
        nbytes: u64,
    },
    Wrong(Errno),
}

impl Guest {
    pub(super) async fn poll(
        &mut self,
        memory: &mut GuestMemory<'_>,
        subscriptions: GuestPtr<Subscription>,
        events: GuestPtr<Event>,
        count: Size,
    ) -> Result<Size, Error> {
        if count == 0 || count > SUBSCRIPTIONS {
            return Err(Errno::Inval.into());
        }
        let mut waits = Vec::with_capacity(count as usize);
        for pointer in subscriptions.as_array(count).iter() {
            let subscription = memory.read(pointer?)?;
            let (kind, wait) = self.wait(&subscription.u);
            waits.push((subscription.userdata, kind, wait));
        }
        if self.only_waits_to_accept(waits.iter().map(|(_, _, wait)| *wait)) {
            return Err(Error::trap(self.end(Finish::Served)));
        }

        let alarm = waits.iter().filter_map(|(_, _, wait)| match wait {
            Wait::Until(time) => *time,
            _ => None,
        });
        // Without a time to wait for, the alarm never rings: a year is what no deadline allows.
        let far = tokio::time::Instant::now() + Duration::from_hours(365 * 24);
        let mut alarm = pin!(tokio::time::sleep_until(alarm.min().unwrap_or(far)));

        let socket = &self.socket;
        let happened = poll_fn(|cx| {
            let rang = alarm.as_mut().poll(cx).is_ready();
            let mut happened = Vec::new();
            for (userdata, kind, wait) in &waits {
                if let Some((error, ready)) = ready(socket, cx, *wait, rang) {
                    happened.push(Event {
                        userdata: *userdata,
                        error,
                        type_: *kind,
                        fd_readwrite: ready,
                    });
                }
            }
            if happened.is_empty() {
                Poll::Pending
            } else {
                Poll::Ready(happened)
            }
        })
        .await;

        let total = u32::try_from(happened.len()).map_err(|_| Errno::Overflow)?;
        for (pointer, event) in events.as_array(total).iter().zip(happened) {
            memory.write(pointer?, event)?;
        }
        Ok(total)
    }

    fn wait(&self, subscription: &SubscriptionU) -> (Eventtype, Wait) {
        match subscription {
            SubscriptionU::Clock(clock) => (Eventtype::Clock, self.until(clock)),
            SubscriptionU::FdRead(read) => (
                Eventtype::FdRead,
                self.wait_on(read.file_descriptor, Wait::Readable),
            ),
            SubscriptionU::FdWrite(write) => (
                Eventtype::FdWrite,
                self.wait_on(write.file_descriptor, Wait::Writable),
            ),
        }
    }

    fn wait_on(&self, fd: Fd, connection: Wait) -> Wait {
        let reading = matches!(connection, Wait::Readable);
        match self.descriptors.get(fd) {
            Err(errno) => Wait::Wrong(errno),
            Ok(Descriptor::Connection) => connection,
            Ok(Descriptor::Listener) if reading => Wait::Accept,
            Ok(Descriptor::Listener) => Wait::Never,
            Ok(Descriptor::Empty) => Wait::Now { nbytes: 0 },
            Ok(Descriptor::Log(_) | Descriptor::File(_)) => Wait::Now { nbytes: 1 },
        }
    }

    fn until(&self, clock: &SubscriptionClock) -> Wait {
        let wanted = Duration::from_nanos(clock.timeout);
        let absolute = clock
            .flags
            .contains(Subclockflags::SUBSCRIPTION_CLOCK_ABSTIME);
        let left = match (clock.id, absolute) {
            (Clockid::Monotonic | Clockid::Realtime, false) => wanted,
            (Clockid::Monotonic, true) => wanted.saturating_sub(self.meter.since().elapsed()),
            (Clockid::Realtime, true) => wanted.saturating_sub(since_epoch()),
            (Clockid::ProcessCputimeId | Clockid::ThreadCputimeId, _) => {
                return Wait::Wrong(Errno::Notsup);
            }
        };
        Wait::Until(tokio::time::Instant::now().checked_add(left))
    }

    /// Whether nothing but another connection or a clock could end this wait, and the guest's own
    /// connection is closed.
    fn only_waits_to_accept(&self, mut waits: impl Iterator<Item = Wait> + Clone) -> bool {
        self.socket.is_closed()
            && waits.clone().any(|wait| matches!(wait, Wait::Accept))
            && waits.all(|wait| matches!(wait, Wait::Accept | Wait::Until(_) | Wait::Never))
    }
}

/// Whether `wait` is over: its error, and what is there to read or write. An error of the
/// connection counts as ready, as poll(2) has it: the read or write that follows tells it.
fn ready(
    socket: &Socket,
    cx: &mut Context<'_>,
    wait: Wait,
    rang: bool,
) -> Option<(Errno, EventFdReadwrite)> {
    let event = |error, nbytes, hangup: bool| {
        let flags = if hangup {
            Eventrwflags::FD_READWRITE_HANGUP
        } else {
            Eventrwflags::empty()
        };
        Some((error, EventFdReadwrite { nbytes, flags }))
    };
    let plain = |nbytes| event(Errno::Success, nbytes, false);
    match (wait, socket.stream()) {
        (Wait::Wrong(errno), _) => event(errno, 0, false),
        (Wait::Until(Some(time)), _) if rang && time <= tokio::time::Instant::now() => plain(0),
        (Wait::Accept, _) if socket.is_offered() => plain(1),
        (Wait::Now { nbytes }, _) => plain(nbytes),
        (Wait::Readable, Ok(stream)) => match stream.poll_readable(cx) {
            Poll::Pending => None,
            Poll::Ready(Ok(now)) => event(Errno::Success, now.count, now.hangup),
            Poll::Ready(Err(_)) => plain(0),
        },
        (Wait::Writable, Ok(stream)) => match stream.poll_writable(cx) {
            Poll::Pending => None,
            Poll::Ready(_) => plain(1),
        },
        _ => None,
    }
}

/// The time of day.
pub(super) fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
}
