//! Hands the host addresses and lengths that are not there. The client sends a case's number, or `all`, as its first line, then a few
//! hundred bytes more and its half-close, so that no read waits; each case is answered with `NUMBER NAME: ERRNO`, 0 for success; a
//! number past the last is answered with nothing. The name is sent before the call: should the host end the instance over it, the client
//! knows which one it was. With the argument `accept` the very first call is an accept with nowhere to put the new descriptor, reported
//! in a line of its own before the others, `accept to nowhere: ERRNO`.

use std::env;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use wasip1::wasi_snapshot_preview1 as raw;

/// One page below the end of what 32 bits can name: out of memory for every guest that is not at its full 4 GiB.
const NOWHERE: i32 = -65_536;
const HUGE: i32 = -1;

/// What every case is given: the connection, the listener, and where results may go.
struct Call {
    fd: i32,
    listener: i32,
    result: i32,
}

type Case = (&'static str, fn(&Call) -> i32);

const CASES: &[Case] = &[
    ("fd_read: vectors nowhere", |call| fd_read(call, NOWHERE, 1)),
    ("fd_read: vectors across the end", |call| {
        fd_read(call, end_of_memory() - 4, 1)
    }),
    ("fd_read: too many vectors", |call| {
        fd_read(call, address(&[[0; 2]]), HUGE)
    }),
    ("fd_read: unaligned vectors", |call| {
        fd_read(call, address(&[[0; 2]; 2]) + 1, 1)
    }),
    ("fd_read: no vectors", |call| fd_read(call, NOWHERE, 0)),
    ("fd_read: buffer nowhere", |call| {
        fd_read(call, address(&[[NOWHERE, 16]]), 1)
    }),
    ("fd_read: buffer across the end", |call| {
        fd_read(call, address(&[[end_of_memory() - 4, 16]]), 1)
    }),
    ("fd_read: buffer too long", |call| {
        fd_read(call, address(&[[scratch(), HUGE]]), 1)
    }),
    ("fd_read: empty buffer nowhere", |call| {
        fd_read(call, address(&[[NOWHERE, 0]]), 1)
    }),
    ("fd_read: second buffer nowhere", |call| {
        fd_read(call, address(&[[scratch(), 4], [NOWHERE, 16]]), 2)
    }),
    ("fd_read: overlapping buffers", |call| {
        fd_read(call, address(&[[scratch(), 16], [scratch() + 8, 16]]), 2)
    }),
    ("fd_read: buffer over its own vectors", |call| {
        let mut vectors = [[0; 2]; 2];
        vectors = [[address(&vectors), 16], [address(&vectors), 16]];
        fd_read(call, address(&vectors), 2)
    }),
    ("fd_read: result nowhere", |call| {
        // SAFETY: only the host's view of memory is at stake.
        unsafe { raw::fd_read(call.fd, address(&[[scratch(), 4]]), 1, NOWHERE) }
    }),
    ("fd_write: vectors nowhere", |call| {
        fd_write(call, NOWHERE, 1)
    }),
    ("fd_write: too many vectors", |call| {
        fd_write(call, address(&[[0; 2]]), HUGE)
    }),
    ("fd_write: no vectors", |call| fd_write(call, NOWHERE, 0)),
    ("fd_write: buffer nowhere", |call| {
        fd_write(call, address(&[[NOWHERE, 16]]), 1)
    }),
    ("fd_write: buffer too long", |call| {
        fd_write(call, address(&[[scratch(), HUGE]]), 1)
    }),
    ("fd_write: empty buffer nowhere", |call| {
        fd_write(call, address(&[[NOWHERE, 0]]), 1)
    }),
    ("fd_write: result nowhere", |call| {
        // SAFETY: as above.
        unsafe { raw::fd_write(call.fd, address(&[[scratch(), 0]]), 1, NOWHERE) }
    }),
    ("sock_recv: vectors nowhere", |call| {
        sock_recv(call, NOWHERE, 1, 0)
    }),
    ("sock_recv: buffer nowhere", |call| {
        sock_recv(call, address(&[[NOWHERE, 16]]), 1, 0)
    }),
    ("sock_recv: peek at nowhere", |call| {
        sock_recv(call, address(&[[NOWHERE, 16]]), 1, 1)
    }),
    ("sock_recv: wait for too much", |call| {
        sock_recv(call, address(&[[scratch(), HUGE]]), 1, 2)
    }),
    ("sock_recv: unknown flags", |call| {
        sock_recv(call, address(&[[scratch(), 4]]), 1, 0xFFF0)
    }),
    ("sock_recv: overlapping buffers", |call| {
        sock_recv(call, address(&[[scratch(), 16], [scratch() + 8, 16]]), 2, 0)
    }),
    ("sock_recv: results nowhere", |call| {
        // SAFETY: as above.
        unsafe { raw::sock_recv(call.fd, address(&[[scratch(), 4]]), 1, 0, NOWHERE, NOWHERE) }
    }),
    ("sock_send: vectors nowhere", |call| {
        sock_send(call, NOWHERE, 1, 0)
    }),
    ("sock_send: buffer nowhere", |call| {
        sock_send(call, address(&[[NOWHERE, 16]]), 1, 0)
    }),
    ("sock_send: unknown flags", |call| {
        sock_send(call, address(&[[scratch(), 0]]), 1, 0xFFFF)
    }),
    ("sock_shutdown: nothing", |call| {
        // SAFETY: the call takes numbers only.
        unsafe { raw::sock_shutdown(call.fd, 0) }
    }),
    ("sock_shutdown: unknown flags", |call| {
        // SAFETY: as above.
        unsafe { raw::sock_shutdown(call.fd, 0xF0) }
    }),
    ("sock_accept: unknown flags", |call| {
        // SAFETY: the listener is non-blocking by now and has no connection left to give.
        unsafe { raw::sock_accept(call.listener, 0xFFE0, call.result) }
    }),
    ("sock_accept: result nowhere", |call| {
        // SAFETY: as above.
        unsafe { raw::sock_accept(call.listener, 0, NOWHERE) }
    }),
    ("poll_oneoff: nothing", |call| {
        poll(call, scratch(), scratch(), 0)
    }),
    ("poll_oneoff: nothing nowhere", |call| {
        poll(call, NOWHERE, NOWHERE, 0)
    }),
    ("poll_oneoff: too many", |call| {
        poll(call, scratch(), scratch(), HUGE)
    }),
    ("poll_oneoff: as many as memory holds", |call| {
        poll(call, 0, 0, end_of_memory() / 48)
    }),
    ("poll_oneoff: subscriptions nowhere", |call| {
        poll(call, NOWHERE, scratch(), 1)
    }),
    ("poll_oneoff: events nowhere", |call| {
        poll(call, address(&now()), NOWHERE, 1)
    }),
    ("poll_oneoff: events over subscriptions", |call| {
        let clock = now();
        poll(call, address(&clock), address(&clock), 1)
    }),
    ("poll_oneoff: result nowhere", |_| {
        // SAFETY: only the host's view of memory is at stake.
        unsafe { raw::poll_oneoff(address(&now()), scratch(), 1, NOWHERE) }
    }),
    ("poll_oneoff: unknown kind", |call| {
        poll(call, address(&[0_u64, 77, 0, 0, 0, 0]), scratch(), 1)
    }),
    ("poll_oneoff: unknown clock", |call| {
        poll(call, address(&[0_u64, 0, 77, 0, 0, 0]), scratch(), 1)
    }),
    ("poll_oneoff: no such descriptor", |call| {
        poll(call, address(&[0_u64, 1, 999, 0, 0, 0]), scratch(), 1)
    }),
    ("fd_fdstat_get: result nowhere", |call| {
        // SAFETY: as above.
        unsafe { raw::fd_fdstat_get(call.fd, NOWHERE) }
    }),
    ("fd_fdstat_set_flags: unknown flags", |call| {
        // SAFETY: the call takes numbers only.
        unsafe { raw::fd_fdstat_set_flags(call.fd, 0xFFE0) }
    }),
    ("fd_prestat_get: result nowhere", |call| {
        // SAFETY: as above.
        unsafe { raw::fd_prestat_get(call.listener, NOWHERE) }
    }),
    ("fd_prestat_dir_name: nowhere", |call| {
        // SAFETY: as above.
        unsafe { raw::fd_prestat_dir_name(call.listener, NOWHERE, HUGE) }
    }),
    ("fd_close: a huge number", |_| {
        // SAFETY: nothing of ours has that number.
        unsafe { raw::fd_close(HUGE) }
    }),
    ("random_get: too much", |_| {
        // SAFETY: the range does not fit in memory, so nothing of ours may be written.
        unsafe { raw::random_get(scratch(), HUGE) }
    }),
    ("environ_get: nowhere", |_| {
        // SAFETY: as above.
        unsafe { raw::environ_get(NOWHERE, NOWHERE) }
    }),
    ("fd_renumber: to a huge number", |call| {
        // SAFETY: the call takes numbers only. Last of all cases: should the host do it, the report ends here.
        unsafe { raw::fd_renumber(call.fd, i32::MAX) }
    }),
];

fn main() -> io::Result<()> {
    let listener = odd::listener();
    let fd = listener.as_raw_fd();
    let to_nowhere = env::args().any(|argument| argument == "accept").then(|| {
        // SAFETY: only the host's view of memory is at stake.
        unsafe { raw::sock_accept(fd, 0, NOWHERE) }
    });
    let (mut client, _) = listener.accept()?;
    listener.set_nonblocking(true)?;
    if let Some(errno) = to_nowhere {
        writeln!(client, "accept to nowhere: {errno}")?;
    }

    let mut line = String::new();
    while !line.ends_with('\n') {
        let mut byte = [0];
        if client.read(&mut byte)? == 0 {
            break;
        }
        line.push(byte[0].into());
    }
    let wanted = line.trim().parse::<usize>();

    let call = Call {
        fd: client.as_raw_fd(),
        listener: fd,
        result: scratch(),
    };
    for (number, (name, case)) in CASES.iter().enumerate() {
        if wanted.as_ref().is_ok_and(|wanted| *wanted != number) {
            continue;
        }
        write!(client, "{number} {name}: ")?;
        writeln!(client, "{}", case(&call))?;
    }
    Ok(())
}

fn fd_read(call: &Call, vectors: i32, count: i32) -> i32 {
    // SAFETY: what can be written is scratch memory, or a case's own vectors.
    unsafe { raw::fd_read(call.fd, vectors, count, call.result) }
}

fn fd_write(call: &Call, vectors: i32, count: i32) -> i32 {
    // SAFETY: the host only reads.
    unsafe { raw::fd_write(call.fd, vectors, count, call.result) }
}

fn sock_recv(call: &Call, vectors: i32, count: i32, flags: i32) -> i32 {
    // SAFETY: as for `fd_read`.
    unsafe { raw::sock_recv(call.fd, vectors, count, flags, call.result, call.result + 4) }
}

fn sock_send(call: &Call, vectors: i32, count: i32, flags: i32) -> i32 {
    // SAFETY: the host only reads.
    unsafe { raw::sock_send(call.fd, vectors, count, flags, call.result) }
}

fn poll(call: &Call, subscriptions: i32, events: i32, count: i32) -> i32 {
    // SAFETY: what can be written is scratch memory, or a case's own subscriptions.
    unsafe { raw::poll_oneoff(subscriptions, events, count, call.result) }
}

/// A subscription to a clock that has run out already: no case waits for it.
fn now() -> [u64; 6] {
    [0, 0, 1, 0, 0, 0]
}

fn address<T>(of: &T) -> i32 {
    std::ptr::from_ref(of).expose_provenance() as i32
}

fn end_of_memory() -> i32 {
    (std::arch::wasm32::memory_size::<0>() * 64 * 1024) as i32
}

/// Memory that nothing else uses, for results and for input nobody looks at.
fn scratch() -> i32 {
    static mut SCRATCH: [u64; 512] = [0; 512];
    (&raw mut SCRATCH).expose_provenance() as i32
}
