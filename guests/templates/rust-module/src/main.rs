//! Asks for a name and greets. The listener is descriptor 3; the first `accept` gives the connection, and there is no second one.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::fd::FromRawFd;

fn main() -> io::Result<()> {
    // SAFETY: the host opened this descriptor for us, and nothing else in the program owns it.
    let listener = unsafe { TcpListener::from_raw_fd(3) };
    let (mut client, _) = listener.accept()?;
    writeln!(client, "what is your name?")?;
    let mut name = String::new();
    BufReader::new(&client).read_line(&mut name)?;
    writeln!(client, "hello, {}", name.trim())
}
