//! Accepts, and sends the letter x for ever, 64 KiB at a time, whether the client reads or not. Reads nothing.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let mut connection = odd::connection();
    loop {
        connection.write_all(&[b'x'; 64 * 1024])?;
    }
}
