//! Sends `bye`, closes its own direction, then reads what the client still has to say until that ends, and notes on standard error how
//! much it was: `half-close: N bytes after bye`.

use std::io::{self, Read, Write};
use std::net::Shutdown;

fn main() -> io::Result<()> {
    let mut connection = odd::connection();
    connection.write_all(b"bye")?;
    connection.shutdown(Shutdown::Write)?;

    let mut total = 0;
    let mut buffer = [0; 4096];
    loop {
        match connection.read(&mut buffer)? {
            0 => break,
            length => total += length,
        }
    }
    eprintln!("half-close: {total} bytes after bye");
    Ok(())
}
