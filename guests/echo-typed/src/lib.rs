//! Echo, typed: the host calls `echo` with the connection, which reads and writes like any other stream.

use std::io::{self, Write};

use portcullis_guest::Connection;

portcullis_guest::handler!(echo);

fn echo(mut connection: Connection) -> io::Result<()> {
    while let Some(chunk) = connection.chunk()? {
        connection.write_all(&chunk)?;
    }
    Ok(())
}
