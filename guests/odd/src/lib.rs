//! The way in that the odd guests share: which listener, and the one connection it gives. Each guest is a file in `bin/` that does one
//! thing a host must survive or answer rightly; its opening paragraph says what it sends, so that a test can say what it hears.

use std::env;
use std::net::{TcpListener, TcpStream};
use std::os::fd::FromRawFd;

/// The listener that `UPSTART_FDS` names.
///
/// # Panics
/// When `UPSTART_FDS` is not a number: then this is no host of ours.
#[must_use]
pub fn listener() -> TcpListener {
    let fd = env::var("UPSTART_FDS").expect("UPSTART_FDS names the listener");
    let fd = fd.parse().expect("UPSTART_FDS is one number");
    // SAFETY: the host opened this descriptor for us, and every guest calls this once.
    unsafe { TcpListener::from_raw_fd(fd) }
}

/// The connection this instance is for. The listener is closed again: a guest that goes on to use it takes `listener()`.
///
/// # Panics
/// When the host gives none.
#[must_use]
pub fn connection() -> TcpStream {
    listener()
        .accept()
        .expect("the first accept gives the connection")
        .0
}

/// Every variable and every argument of this guest, a line each.
#[must_use]
pub fn surroundings() -> String {
    let mut lines: Vec<_> = env::vars()
        .map(|(name, value)| format!("env {name}={value}\n"))
        .collect();
    lines.sort();
    lines.extend(
        env::args()
            .enumerate()
            .map(|(n, value)| format!("arg {n} {value}\n")),
    );
    lines.concat()
}
