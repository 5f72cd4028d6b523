//! Tries what the crate for guests offers in the clothes of WASI 0.2, by the word that is its first argument:
//!
//! - `lines` answers each line with its number and itself, through a `BufReader` and `write!`;
//! - `all` reads to the end and answers how many bytes there were;
//! - `small` echoes through a buffer of three bytes;
//! - `half` says `bye`, ends its direction, and reads on; what it read and how a late write fails, it says in the log;
//! - `deaf` ends the other direction, and answers how much it still reads;
//! - `wait` says `ready` and reads to the end; how reading fails, it says in the log;
//! - `push` sends the letter x until that fails, and says in the log how;
//! - `debug` answers what the connection looks like to a programmer.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;

use portcullis_guest::Connection;

portcullis_guest::handler!(probe);

fn probe(mut connection: Connection) -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("lines") => {
            for (number, line) in (1..).zip(BufReader::new(&connection).lines()) {
                writeln!(&connection, "{number} {}", line?)?;
            }
        }
        Some("all") => {
            let mut all = Vec::new();
            let length = connection.read_to_end(&mut all)?;
            writeln!(connection, "{length} {}", all.len())?;
        }
        Some("small") => {
            let mut buffer = [0; 3];
            loop {
                match connection.read(&mut buffer)? {
                    0 => break,
                    length => connection.write_all(&buffer[..length])?,
                }
            }
        }
        Some("half") => {
            connection.write_all(b"bye\n")?;
            connection.shutdown(Shutdown::Write);
            let read = count(&connection)?;
            let late = connection.write(b"late").map_err(|error| error.kind());
            eprintln!("read {read}, wrote {late:?}");
        }
        Some("deaf") => {
            connection.shutdown(Shutdown::Read);
            let read = count(&connection)?;
            writeln!(connection, "read {read}")?;
        }
        Some("wait") => {
            connection.write_all(b"ready\n")?;
            let read = count(&connection).map_err(|error| error.kind());
            eprintln!("read {read:?}");
        }
        Some("push") => loop {
            if let Err(error) = connection.write_all(&[b'x'; 64 * 1024]) {
                eprintln!("wrote {:?}", error.kind());
                break;
            }
        },
        Some("debug") => writeln!(&connection, "{connection:?}")?,
        other => return Err(format!("no way to try {other:?}").into()),
    }
    Ok(())
}

fn count(connection: &Connection) -> io::Result<usize> {
    let mut read = 0;
    for chunk in connection.chunks() {
        read += chunk?.len();
    }
    Ok(read)
}
