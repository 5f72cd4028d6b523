//! Accepts, and writes numbered lines to standard error for ever: `flood-log: line 0`, `flood-log: line 1`, … Sends nothing.

use std::io::{self, Write};

fn main() {
    let _connection = odd::connection();
    let mut log = io::stderr();
    for line in 0_u64.. {
        let _ = writeln!(log, "flood-log: line {line}");
    }
}
