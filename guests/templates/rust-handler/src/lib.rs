//! Sends back what it receives. The host calls `serve` with the connection, once in the life of an instance.

use std::io::{self, Write};

use portcullis_guest::Connection;

portcullis_guest::handler!(serve);

fn serve(mut connection: Connection) -> io::Result<()> {
    // It is `Read` and `Write`, and it knows its `peer()`. This way of reading copies nothing.
    while let Some(chunk) = connection.chunk()? {
        connection.write_all(&chunk)?;
    }
    Ok(())
}
