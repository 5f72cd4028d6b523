//! Moves its connection to other numbers. To a number that is not open (17), then onto the listener's own, a line each: `to 17: E`,
//! `to LISTENER: E`, and `old: E` for a stat of the number left behind, where E is `ok` or the errno's name (the last must be BADF).
//! Then it echoes on wherever the connection is now.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, IntoRawFd};

use wasip1::{Errno, Fd};

fn main() -> io::Result<()> {
    let listener = odd::listener();
    let (connection, _) = listener.accept()?;
    let listener = listener.into_raw_fd().cast_unsigned();
    let mut here = connection.into_raw_fd().cast_unsigned();
    let mut left = here;

    let mut report = String::new();
    for to in [17, listener] {
        let moved = renumber(here, to);
        if moved.is_ok() {
            left = here;
            here = to;
        }
        report += &format!("to {to}: {}\n", word(moved));
    }
    // SAFETY: the wrapper passes memory of its own.
    report += &format!("old: {}\n", word(unsafe { wasip1::fd_fdstat_get(left) }));

    // SAFETY: the connection was moved here, and nothing else owns the number. A file, because only read and write are used.
    let mut connection = unsafe { File::from_raw_fd(here.cast_signed()) };
    connection.write_all(report.as_bytes())?;
    let mut buffer = [0; 1024];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            length => connection.write_all(&buffer[..length])?,
        }
    }
}

fn renumber(from: Fd, to: Fd) -> Result<(), Errno> {
    // SAFETY: both descriptors were given up by their owners above.
    unsafe { wasip1::fd_renumber(from, to) }
}

fn word<T>(result: Result<T, Errno>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(errno) => errno.name(),
    }
}
