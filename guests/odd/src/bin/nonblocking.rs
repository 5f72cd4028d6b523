//! Does without waiting what would otherwise block, and sends a line on each: `accept: eagain` for a second accept on the non-blocking
//! listener, `read: eagain` for a read before the client has sent anything. Then it sets the connection to blocking again and sends
//! `read: N bytes` for one read, so a client speaks only after the second line.

use std::fmt::Debug;
use std::io::{self, ErrorKind, Read, Write};

fn main() -> io::Result<()> {
    let listener = odd::listener();
    listener.set_nonblocking(true)?;
    let (mut connection, _) = listener.accept()?;
    let accepted = eagain(listener.accept());

    connection.set_nonblocking(true)?;
    let mut buffer = [0; 1024];
    let read = eagain(connection.read(&mut buffer));

    connection.set_nonblocking(false)?;
    write!(connection, "accept: {accepted}\nread: {read}\n")?;
    let length = connection.read(&mut buffer)?;
    writeln!(connection, "read: {length} bytes")
}

fn eagain<T: Debug>(result: io::Result<T>) -> String {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => "eagain".into(),
        other => format!("{other:?}"),
    }
}
