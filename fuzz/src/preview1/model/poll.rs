//! `poll_oneoff` by the model.

use super::errno::{INVAL, NOTSUP};
use super::{Answer, Descriptor, Ending, Link, Model, Not, error};

const SUBSCRIPTIONS: u32 = 4096;

/// Nanoseconds after which a clock has rung for certain by the time that somebody looks, and before which none rings while the instance
/// lives.
const SOON: u64 = 1_000_000;
const NEVER: u64 = 3_600_000_000_000;

/// Bytes and writes that find room for certain, however slow the client is.
const ROOM: (usize, u32) = (8 << 10, 16);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wait {
    Soon,
    Never,
    Accept,
    Now {
        errno: u32,
        count: u64,
        hangup: bool,
    },
}

impl Model {
    pub fn poll_oneoff(&mut self, from: u32, to: u32, count: u32, told: u32) -> Answer {
        if count == 0 || count > SUBSCRIPTIONS {
            return error(INVAL);
        }
        let mut waits = Vec::new();
        for index in 0..count {
            let at = from.checked_add(index * 48).ok_or(super::TRAP)?;
            super::within(at, 48, 8)?;
            waits.push(self.subscription(at)?);
        }
        let idle = |wait: &Wait| matches!(wait, Wait::Soon | Wait::Never | Wait::Accept);
        let accepts = waits.iter().any(|(_, _, wait)| *wait == Wait::Accept);
        if self.link == Link::Closed && accepts && waits.iter().all(|(_, _, wait)| idle(wait)) {
            return Err(Not::End(Ending::Done));
        }
        let offered = self.link == Link::Offered;
        let ready: Vec<_> = waits
            .iter()
            .filter_map(|(userdata, kind, wait)| match *wait {
                Wait::Now {
                    errno,
                    count,
                    hangup,
                } => Some((*userdata, *kind, errno, count, hangup)),
                Wait::Accept if offered => Some((*userdata, *kind, 0, 1, false)),
                _ => None,
            })
            .collect();
        let clocks: Vec<_> = waits
            .iter()
            .filter(|(_, _, wait)| *wait == Wait::Soon)
            .collect();
        let happened = match (&ready[..], &clocks[..]) {
            (_, []) if !ready.is_empty() => ready,
            // It rings, and nothing else comes: one, so that nobody has to tell which is first.
            ([], [(userdata, kind, _)]) => vec![(*userdata, *kind, 0, 0, false)],
            _ => return Err(Not::Unforeseen),
        };
        let total = u32::try_from(happened.len()).expect("few");
        for (index, (userdata, kind, errno, count, hangup)) in (0..).zip(happened) {
            let at = to.checked_add(index * 32).ok_or(super::TRAP)?;
            super::within(at, 32, 8)?;
            self.store(at, &userdata.to_le_bytes(), 8)?;
            self.store(at + 8, &errno.to_le_bytes()[..2], 2)?;
            self.store(at + 10, &[kind], 1)?;
            self.store(at + 16, &u64::to_le_bytes(count), 8)?;
            self.store(at + 24, &u16::from(hangup).to_le_bytes(), 2)?;
        }
        self.store(told, &total.to_le_bytes(), 4)
    }

    /// Its user's data, its kind, and what it waits for.
    fn subscription(&self, at: u32) -> Answer<(u64, u8, Wait)> {
        let long = |at| {
            Ok(u64::from_le_bytes(
                self.load(at, 8, 8)?.try_into().expect("eight bytes"),
            ))
        };
        let userdata = long(at)?;
        let kind = self.load(at + 8, 1, 1)?[0];
        let wait = match kind {
            0 => {
                let clock = self.word(at + 16)?;
                if clock > 3 {
                    return error(INVAL);
                }
                let flags =
                    u16::from_le_bytes(self.load(at + 40, 2, 2)?.try_into().expect("two bytes"));
                if flags > 1 {
                    return error(INVAL);
                }
                clock_wait(clock, long(at + 24)?, flags == 1)?
            }
            1 | 2 => self.ready(self.word(at + 16)?, kind == 1)?,
            _ => return error(INVAL),
        };
        Ok((userdata, kind, wait))
    }

    fn ready(&self, fd: u32, reading: bool) -> Answer<Wait> {
        let now = |count| Wait::Now {
            errno: 0,
            count,
            hangup: false,
        };
        Ok(match self.get(fd) {
            Err(Not::Errno(errno)) => Wait::Now {
                errno,
                count: 0,
                hangup: false,
            },
            Err(other) => return Err(other),
            Ok(Descriptor::Empty) => now(0),
            Ok(Descriptor::Log) => now(1),
            Ok(Descriptor::Listener) if reading => Wait::Accept,
            Ok(Descriptor::Listener) => Wait::Never,
            // The client has said all, so there is something, or the end.
            Ok(Descriptor::Connection) if reading => Wait::Now {
                errno: 0,
                count: (self.input.len() - self.read) as u64,
                hangup: self.write_ended,
            },
            Ok(Descriptor::Connection) if self.sent.len() <= ROOM.0 && self.writes <= ROOM.1 => {
                now(1)
            }
            Ok(Descriptor::Connection) => return Err(Not::Unforeseen),
        })
    }
}

fn clock_wait(clock: u32, timeout: u64, absolute: bool) -> Answer<Wait> {
    // The time of day is somewhere between the years 2001 and 2096.
    let (soon, never) = match (clock, absolute) {
        (0, true) => (1_000_000_000_000_000_000, 4_000_000_000_000_000_000),
        (0 | 1, _) => (SOON, NEVER),
        _ => {
            return Ok(Wait::Now {
                errno: NOTSUP,
                count: 0,
                hangup: false,
            });
        }
    };
    match timeout {
        timeout if timeout <= soon => Ok(Wait::Soon),
        timeout if timeout >= never => Ok(Wait::Never),
        _ => Err(Not::Unforeseen),
    }
}
