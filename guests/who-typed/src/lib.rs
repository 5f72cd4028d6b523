//! Says in one line who is at the two ends of its connection and for which trigger it works, as the typed world tells it:
//! `peer=inet 127.0.0.1:4321 local=inet 127.0.0.1:80 trigger=who`. Then it ends.

mod line;

use std::io::{self, Write};

use portcullis_guest::Connection;

portcullis_guest::handler!(who);

fn who(mut connection: Connection) -> io::Result<()> {
    let line = line::line(
        &connection.peer(),
        &connection.local(),
        &connection.trigger(),
    );
    connection.write_all(line.as_bytes())
}
