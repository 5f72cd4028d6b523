//! Echo in stdio style: standard input goes back to standard output. The one source makes a WASI preview 1 module, a component by
//! `cargo build --target wasm32-wasip2` and a component by `cargo component build`; the host connects all three the same way.

use std::io::{self, Read, Write};

fn main() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut buffer = [0; 16 * 1024];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(()),
            length => output.write_all(&buffer[..length])?,
        }
        // Standard output keeps an unfinished line back; an echo must not.
        output.flush()?;
    }
}
