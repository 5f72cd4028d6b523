//! Asks `poll_oneoff` five questions and sends what it is told, a line each, the events in the order the host gave them:
//! `before accept: …` (listener and a 10 s clock), `writable: …` (listener, connection to read and to write, a 10 s clock), `quiet: …`
//! (listener, connection to read, a 50 ms clock; the client says nothing yet), `data: …` (the same with a 10 s clock; the client sends
//! something after it has heard `quiet`; all of it is then read) and `end: …` (the same; the client half-closes after it has heard
//! `data`). An event is `listener`, `connection`, `write` or `clock`, followed by `=ERRNO` if it failed, `:N` for the bytes a
//! connection says wait, and `+hangup`.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use wasip1::{
    CLOCKID_MONOTONIC, ERRNO_SUCCESS, EVENTRWFLAGS_FD_READWRITE_HANGUP, EVENTTYPE_CLOCK,
    EVENTTYPE_FD_READ, EVENTTYPE_FD_WRITE, Event, Fd, Subscription, SubscriptionClock,
    SubscriptionFdReadwrite, SubscriptionU, SubscriptionUU,
};

const LISTENER: u64 = 1;
const CONNECTION: u64 = 2;
const WRITE: u64 = 3;
const CLOCK: u64 = 4;

fn main() -> io::Result<()> {
    let listener = odd::listener();
    let incoming = read(LISTENER, listener.as_raw_fd().cast_unsigned());
    let before = poll(&[incoming, clock(10_000)]);

    let (mut connection, _) = listener.accept()?;
    let fd = connection.as_raw_fd().cast_unsigned();
    let input = read(CONNECTION, fd);
    let writable = poll(&[incoming, input, write(WRITE, fd), clock(10_000)]);
    let quiet = poll(&[incoming, input, clock(50)]);
    write!(
        connection,
        "before accept: {before}\nwritable: {writable}\nquiet: {quiet}\n"
    )?;

    let data = poll(&[incoming, input, clock(10_000)]);
    let _ = connection.read(&mut [0; 1024])?;
    writeln!(connection, "data: {data}")?;

    let end = poll(&[incoming, input, clock(10_000)]);
    writeln!(connection, "end: {end}")
}

fn poll(interest: &[Subscription]) -> String {
    let mut events = Vec::<Event>::with_capacity(interest.len());
    // SAFETY: there is room for as many events as there are subscriptions, which is what the host is told.
    let polled =
        unsafe { wasip1::poll_oneoff(interest.as_ptr(), events.as_mut_ptr(), interest.len()) };
    match polled {
        // SAFETY: the host says it wrote this many.
        Ok(length) => unsafe { events.set_len(length) },
        Err(errno) => return errno.name().into(),
    }

    let mut line = String::new();
    for event in &events {
        let name = match event.userdata {
            LISTENER => " listener",
            CONNECTION => " connection",
            WRITE => " write",
            CLOCK => " clock",
            _ => " unknown",
        };
        line += name;
        if event.error != ERRNO_SUCCESS {
            let _ = write!(line, "={}", event.error.name());
        }
        if event.userdata == CONNECTION {
            let _ = write!(line, ":{}", event.fd_readwrite.nbytes);
        }
        if event.type_ != EVENTTYPE_CLOCK
            && event.fd_readwrite.flags & EVENTRWFLAGS_FD_READWRITE_HANGUP != 0
        {
            line += "+hangup";
        }
    }
    line.trim_start().into()
}

fn read(userdata: u64, fd: Fd) -> Subscription {
    let fd_read = SubscriptionFdReadwrite {
        file_descriptor: fd,
    };
    let u = SubscriptionU {
        tag: EVENTTYPE_FD_READ.raw(),
        u: SubscriptionUU { fd_read },
    };
    Subscription { userdata, u }
}

fn write(userdata: u64, fd: Fd) -> Subscription {
    let fd_write = SubscriptionFdReadwrite {
        file_descriptor: fd,
    };
    let u = SubscriptionU {
        tag: EVENTTYPE_FD_WRITE.raw(),
        u: SubscriptionUU { fd_write },
    };
    Subscription { userdata, u }
}

fn clock(milliseconds: u64) -> Subscription {
    let clock = SubscriptionClock {
        id: CLOCKID_MONOTONIC,
        timeout: milliseconds * 1_000_000,
        precision: 0,
        flags: 0,
    };
    let u = SubscriptionU {
        tag: EVENTTYPE_CLOCK.raw(),
        u: SubscriptionUU { clock },
    };
    Subscription { userdata: CLOCK, u }
}
