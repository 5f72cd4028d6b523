//! Looks for a socket it was not given. Preview 1 has no call to open one, so it tries every socket call on every descriptor from 0 to 20
//! except the connection, and a read, a stat and a prestat on all of them; each descriptor is one line:
//! `fd N: accept=E recv=E send=E shutdown=E read=E filestat=E prestat=E`, where E is `ok` or the errno's name; the connection's own line
//! has the last three only. Both sockets are non-blocking meanwhile, so that nothing waits.

use std::io::{self, Write};
use std::os::fd::AsRawFd;

use wasip1::{Ciovec, Errno, Fd, Iovec};

fn main() -> io::Result<()> {
    let listener = odd::listener();
    listener.set_nonblocking(true)?;
    let (mut connection, _) = listener.accept()?;
    connection.set_nonblocking(true)?;
    let mine = connection.as_raw_fd().cast_unsigned();

    let mut report = String::new();
    for fd in 0..=20 {
        report += &format!("fd {fd}:");
        if fd != mine {
            report += &format!(
                " accept={} recv={} send={} shutdown={}",
                // SAFETY: a connection that came of it would be nobody else's.
                word(unsafe { wasip1::sock_accept(fd, 0) }),
                word(recv(fd)),
                word(send(fd)),
                // SAFETY: the call takes numbers only.
                word(unsafe { wasip1::sock_shutdown(fd, wasip1::SDFLAGS_RD | wasip1::SDFLAGS_WR) }),
            );
        }
        report += &format!(
            " read={} filestat={} prestat={}\n",
            word(read(fd)),
            // SAFETY: the wrapper passes memory of its own.
            word(unsafe { wasip1::fd_filestat_get(fd) }),
            // SAFETY: as above.
            word(unsafe { wasip1::fd_prestat_get(fd) }),
        );
    }

    connection.set_nonblocking(false)?;
    connection.write_all(report.as_bytes())
}

fn recv(fd: Fd) -> Result<wasip1::Size, Errno> {
    let mut buffer = [0; 16];
    let into = [Iovec {
        buf: buffer.as_mut_ptr(),
        buf_len: buffer.len(),
    }];
    // SAFETY: the buffer outlives the call.
    unsafe { wasip1::sock_recv(fd, &into, 0) }.map(|(length, _)| length)
}

fn send(fd: Fd) -> Result<wasip1::Size, Errno> {
    let from = [Ciovec {
        buf: b"stray".as_ptr(),
        buf_len: 5,
    }];
    // SAFETY: the bytes are static.
    unsafe { wasip1::sock_send(fd, &from, 0) }
}

fn read(fd: Fd) -> Result<wasip1::Size, Errno> {
    let mut buffer = [0; 16];
    let into = [Iovec {
        buf: buffer.as_mut_ptr(),
        buf_len: buffer.len(),
    }];
    // SAFETY: the buffer outlives the call.
    unsafe { wasip1::fd_read(fd, &into) }
}

fn word<T>(result: Result<T, Errno>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(errno) => errno.name(),
    }
}
