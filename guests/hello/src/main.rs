//! Hello, a conversation in stdio style: standard input and output are the connection, so the program needs no socket at all and
//! runs just as well in a terminal. `GREETING` is the word it greets with, `REMOTE_ADDR` is who the host says is calling.

use std::env;
use std::io::{self, Write};

fn main() -> io::Result<()> {
    let greeting = env::var("GREETING").unwrap_or_else(|_| "hello".into());
    let caller = env::var("REMOTE_ADDR").unwrap_or_else(|_| "somewhere".into());

    let mut client = io::stdout().lock();
    writeln!(client, "{greeting}, who is there?")?;

    let mut name = String::new();
    io::stdin().read_line(&mut name)?;
    let name = match name.trim() {
        "" => "stranger",
        name => name,
    };
    writeln!(client, "{greeting}, {name} from {caller}")
}
