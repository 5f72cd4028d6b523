//! Accepts, and goes down 5,000 calls, each of which sends the byte `.` before it makes the next one. Coming back it sends `up`. How far it
//! gets is what its stack holds.

use std::hint::black_box;
use std::io::{self, Write};
use std::net::TcpStream;

fn main() -> io::Result<()> {
    let mut connection = odd::connection();
    go_down(&mut connection, 5_000)?;
    connection.write_all(b"up")
}

/// The call is not the last thing it does: it cannot become a loop.
#[inline(never)]
fn go_down(connection: &mut TcpStream, left: u32) -> io::Result<u32> {
    connection.write_all(b".")?;
    let below = match left {
        1 => 0,
        _ => go_down(connection, left - 1)?,
    };
    Ok(black_box(below + 1))
}
