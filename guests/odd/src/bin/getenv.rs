//! Sends all it can see of the world before it reads anything: `env NAME=VALUE` for every variable, sorted, then `arg N VALUE` for every
//! argument in order. Socket style; `getenv-stdio` sends the same in stdio style.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    odd::connection().write_all(odd::surroundings().as_bytes())
}
