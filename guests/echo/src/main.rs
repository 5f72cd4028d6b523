//! Echo, the smallest whole service: take the listener the host left open, accept the one connection this instance is for, and give
//! back every byte until the client has no more. It is an ordinary Rust program; only the descriptor's number comes from outside.

use std::env;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;

fn main() -> io::Result<()> {
    let (mut connection, _) = listener()?.accept()?;
    let mut buffer = [0; 16 * 1024];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            length => connection.write_all(&buffer[..length])?,
        }
    }
}

/// `UPSTART_FDS` names the listener; systemd's protocol has no name for it, there the first one is always 3.
fn listener() -> io::Result<TcpListener> {
    let fd = match env::var("UPSTART_FDS") {
        Ok(fd) => fd.parse().map_err(io::Error::other)?,
        Err(_) if env::var_os("LISTEN_FDS").is_some() => 3,
        Err(_) => {
            return Err(io::Error::other(
                "no listener was given: neither UPSTART_FDS nor LISTEN_FDS is set",
            ));
        }
    };
    // SAFETY: the host opened this descriptor for us, and nothing else in the program owns it.
    Ok(unsafe { TcpListener::from_raw_fd(fd) })
}
