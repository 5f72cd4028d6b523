//! Takes one message and acknowledges it: what one read gave goes back behind `I got your message: `. The same service is in `../c`
//! in C and in `../native` in Python; a client cannot tell them apart.

use std::env;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;

fn main() -> io::Result<()> {
    let fd = env::var("UPSTART_FDS").map_err(io::Error::other)?;
    let fd = fd.parse().map_err(io::Error::other)?;
    // SAFETY: the host opened this descriptor for us, and nothing else in the program owns it.
    let listener = unsafe { TcpListener::from_raw_fd(fd) };

    let (mut connection, _) = listener.accept()?;
    let mut message = [0; 1024];
    let length = connection.read(&mut message)?;
    connection.write_all(&[b"I got your message: ", &message[..length]].concat())
}
