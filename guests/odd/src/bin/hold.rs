//! Echo that stays small: 64 bytes at a time, nothing on the heap but the listener's number. Ten thousand of these are held open at once,
//! and every one of them still answers, until its client closes.

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let mut connection = odd::connection();
    let mut buffer = [0; 64];
    loop {
        match connection.read(&mut buffer)? {
            0 => return Ok(()),
            length => connection.write_all(&buffer[..length])?,
        }
    }
}
