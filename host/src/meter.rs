//! What one connection has used: bytes each way, when the last of them moved, and time on the
//! processor. One value shared by the instance that uses, the watch that limits and the log line
//! that tells; all of it is counted where it happens and nowhere else.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use crate::outcome::Way;

/// How long a thread believes what its clock said last: how much a turn may be counted wrong, and the
/// longest turn that is counted by the clock on the wall. To ask for time on the processor is a call to
/// the kernel, which most turns are not worth.
const GRAIN: Duration = Duration::from_micros(100);

/// What a thread had used of its processor when it was asked last.
#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Instant,
    used: Duration,
}

thread_local! {
    static LAST: Cell<Option<Reading>> = const { Cell::new(None) };
}

impl Reading {
    /// What this thread's clock says now.
    fn new(at: Instant) -> Self {
        // Without the clock no turn takes any time; every Linux has it.
        let used = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from);
        let reading = Self {
            at,
            used: used.unwrap_or_default(),
        };
        LAST.set(Some(reading));
        reading
    }

    /// What it says now, or said just now.
    fn recent(at: Instant) -> Self {
        let last = LAST.get();
        last.filter(|last| at.saturating_duration_since(last.at) < GRAIN)
            .unwrap_or_else(|| Self::new(at))
    }
}

/// Counters of one connection. Times are kept in nanoseconds.
#[derive(Debug)]
pub struct Meter {
    since: Instant,
    received: AtomicU64,
    sent: AtomicU64,
    /// The most of both.
    most: [u64; 2],
    /// Whether more wanted to go.
    exceeded: OnceLock<Way>,
    /// From `since`.
    moved: AtomicU64,
    /// Time on the processor before the current turn.
    spent: AtomicU64,
    /// When the current turn began, from `since`, plus one; 0 between turns.
    turn: AtomicU64,
    /// What its thread had used of its processor then.
    used: AtomicU64,
    /// Whether a turn has kept others waiting.
    overstayed: AtomicBool,
}

impl Meter {
    /// All zero, the clock starting at `since`.
    pub fn new(since: Instant) -> Self {
        Self::within(since, None, None)
    }

    /// The same for a connection over which no more than so many bytes may come and go.
    pub fn within(since: Instant, rx: Option<u64>, tx: Option<u64>) -> Self {
        Self {
            since,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            most: [rx, tx].map(|most| most.unwrap_or(u64::MAX)),
            exceeded: OnceLock::new(),
            moved: AtomicU64::new(0),
            spent: AtomicU64::new(0),
            turn: AtomicU64::new(0),
            used: AtomicU64::new(0),
            overstayed: AtomicBool::new(false),
        }
    }

    /// When counting began.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// `count` bytes came from the client.
    pub fn received(&self, count: usize) {
        self.count(&self.received, count);
    }

    /// `count` bytes went to the client.
    pub fn sent(&self, count: usize) {
        self.count(&self.sent, count);
    }

    /// Who looks for bytes and finds none has not moved any.
    fn count(&self, way: &AtomicU64, count: usize) {
        if count > 0 {
            way.fetch_add(count as u64, Relaxed);
            // A turn is short, and its beginning is known without asking the clock again.
            let now = self
                .turn
                .load(Relaxed)
                .checked_sub(1)
                .unwrap_or_else(|| nanos(self.since.elapsed()));
            self.moved.store(now, Relaxed);
        }
    }

    /// Bytes from the client.
    pub fn rx(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Bytes to the client.
    pub fn tx(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// How many of so many bytes may still go this way.
    pub fn room(&self, way: Way, wanted: usize) -> usize {
        let [rx, tx] = self.most;
        let room = match way {
            Way::Rx => rx.saturating_sub(self.rx()),
            Way::Tx => tx.saturating_sub(self.tx()),
        };
        usize::try_from(room).map_or(wanted, |room| room.min(wanted))
    }

    /// Notes that there are more bytes than have room. Whoever does waits for ever then: the connection
    /// is ended by who watches it.
    pub fn exceed(&self, way: Way) {
        let _ = self.exceeded.set(way);
    }

    /// Whether there were.
    pub fn exceeded(&self) -> Option<Way> {
        self.exceeded.get().copied()
    }

    /// When the last byte moved; at the beginning, when counting began.
    pub fn last_moved(&self) -> Instant {
        self.since + Duration::from_nanos(self.moved.load(Relaxed))
    }

    /// Time on the processor so far, the current turn included: to be asked by the thread that has it, or
    /// between turns. What the system gave to others meanwhile is not counted.
    pub fn cpu(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Relaxed)) + self.turn().used
    }

    /// What another instance that serves the same connection has used.
    pub fn add(&self, other: &Self) {
        self.spent.fetch_add(other.spent.load(Relaxed), Relaxed);
    }

    /// Runs `work`, counting the time of its turns as time on the processor: what it waits for is
    /// not counted. Pinned by the caller: it would be kept twice here.
    pub async fn run<T>(&self, mut work: Pin<&mut impl Future<Output = T>>) -> T {
        poll_fn(|cx| {
            let now = Instant::now();
            let began = now.saturating_duration_since(self.since);
            self.used.store(nanos(Reading::recent(now).used), Relaxed);
            self.turn.store(nanos(began) + 1, Relaxed);
            let polled = work.as_mut().poll(cx);
            self.spent.fetch_add(nanos(self.turn().used), Relaxed);
            self.turn.store(0, Relaxed);
            polled
        })
        .await
    }

    /// The current turn so far; nothing between turns.
    fn turn(&self) -> Turn {
        let Some(began) = self.turn.load(Relaxed).checked_sub(1) else {
            return Turn::default();
        };
        let now = Instant::now();
        let lasted = now.saturating_duration_since(self.since + Duration::from_nanos(began));
        if lasted < GRAIN {
            return Turn {
                lasted,
                used: lasted,
            };
        }
        let before = Duration::from_nanos(self.used.load(Relaxed));
        let used = Reading::new(now).used.saturating_sub(before);
        Turn {
            lasted,
            used: used.min(lasted),
        }
    }

    /// To be called at each tick that finds a guest running: tells whether its turns are so long that
    /// others have to wait. One is when it has lasted for `long` and used the processor for `least` of
    /// that; what the system let others do meanwhile does not count, and neither does a tick that came
    /// while the guest waited and is told at the beginning of its turn. Once is enough to have overstayed.
    pub fn overstays(&self, long: Duration, least: Duration) -> bool {
        let turn = self.turn();
        let overstays = turn.lasted >= long && turn.used >= least;
        self.overstayed.fetch_or(overstays, Relaxed);
        overstays
    }

    /// Whether any turn has.
    pub fn has_overstayed(&self) -> bool {
        self.overstayed.load(Relaxed)
    }
}

/// A turn by the clock on the wall and by that of its thread.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    lasted: Duration,
    used: Duration,
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::thread;

    use super::*;

    const TIME: Duration = Duration::from_millis(5);

    fn used() -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
            .unwrap()
            .into()
    }

    /// Has the thread compute for so long by its own clock.
    fn compute(time: Duration) {
        let until = used() + time;
        while used() < until {}
    }

    /// A turn of its own for each call of `work`, here.
    fn turns(meter: &Meter, count: usize, work: impl Fn()) {
        for _ in 0..count {
            let run = pin!(poll_fn(|_| {
                work();
                Poll::Ready(())
            }));
            let turn = pin!(meter.run(run));
            assert!(
                turn.poll(&mut Context::from_waker(Waker::noop()))
                    .is_ready()
            );
        }
    }

    /// Expects what was computed, and for each turn no more beside it than may be counted wrong.
    fn assert_used(meter: &Meter, computed: Duration, turns: u32) {
        let counted = meter.cpu();
        // The clock is asked a little after a turn has begun, and a little after it has ended.
        let most = computed + turns * (GRAIN + Duration::from_millis(5));
        assert!(
            (computed.saturating_sub(turns * GRAIN)..=most).contains(&counted),
            "{counted:?}"
        );
    }

    #[test]
    fn what_a_thread_does_not_compute_is_not_counted_though_its_turn_lasts() {
        let meter = Meter::new(Instant::now());
        turns(&meter, 2, || {
            compute(TIME);
            thread::sleep(10 * TIME);
            assert_used(
                &meter,
                TIME * (1 + u32::from(meter.spent.load(Relaxed) > 0)),
                2,
            );
        });
        assert_used(&meter, 2 * TIME, 2);
    }

    #[test]
    fn turns_on_several_threads_are_added_up() {
        let meter = Meter::new(Instant::now());
        for _ in 0..3 {
            thread::scope(|scope| {
                scope
                    .spawn(|| turns(&meter, 2, || compute(TIME)))
                    .join()
                    .unwrap();
            });
        }
        assert_used(&meter, 6 * TIME, 6);
    }

    #[test]
    fn those_who_take_turns_on_one_thread_are_each_charged_for_their_own() {
        let (busy, idle) = (Meter::new(Instant::now()), Meter::new(Instant::now()));
        for _ in 0..10 {
            turns(&busy, 1, || compute(TIME));
            turns(&idle, 1, || {});
        }
        assert_used(&busy, 10 * TIME, 10);
        assert_used(&idle, Duration::ZERO, 10);
    }

    #[test]
    fn no_more_than_its_room_may_go_either_way() {
        let meter = Meter::within(Instant::now(), Some(10), None);
        assert_eq!(meter.room(Way::Rx, 4), 4);
        meter.received(7);
        assert_eq!(meter.room(Way::Rx, 4), 3);
        meter.received(3);
        assert_eq!(meter.room(Way::Rx, 4), 0);
        assert_eq!(meter.room(Way::Tx, usize::MAX), usize::MAX);
        assert_eq!(meter.exceeded(), None);
    }
}
