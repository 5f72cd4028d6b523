//! Accepts, sends `begun` and a line feed, computes until its clock says that the milliseconds of its first argument are over, without
//! waiting for anything meanwhile, and sends `done`. Without an argument it computes for ever.

use std::env;
use std::io::{self, Write};
use std::time::{Duration, Instant};

fn main() -> io::Result<()> {
    let mut connection = odd::connection();
    let time = env::args().nth(1).and_then(|ms| ms.parse().ok());
    // Whoever hears that it has begun may stop it at once.
    let began = Instant::now();
    connection.write_all(b"begun\n")?;
    while time.is_none_or(|ms| began.elapsed() < Duration::from_millis(ms)) {}
    connection.write_all(b"done")
}
