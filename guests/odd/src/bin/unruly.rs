//! Misbehaves in stdio style, in the way its first argument names, so that one component stands for what the other odd guests do as
//! modules: `trap`, `spin`, `grow` (takes memory until it is refused, then aborts), `flood` (sends the letter x for ever), `log` (writes
//! numbered lines to standard error for ever), `sleep` (waits on the clock for ever, and reads nothing), `exit` (ends with status 1, the
//! only one that a component of WASI 0.2 can end with but 0). It says `ready` before, so that a client knows it is under way.

use std::io::{self, Write};
use std::process;
use std::thread;
use std::time::Duration;

fn main() -> io::Result<()> {
    let mut client = io::stdout().lock();
    writeln!(client, "ready")?;
    match std::env::args().nth(1).as_deref() {
        Some("trap") => process::abort(),
        Some("spin") => loop {
            std::hint::spin_loop();
        },
        Some("grow") => {
            let mut taken: Vec<Vec<u8>> = Vec::new();
            loop {
                taken.push(vec![1; 1 << 20]);
                std::hint::black_box(&taken);
            }
        }
        Some("flood") => loop {
            client.write_all(&[b'x'; 64 * 1024])?;
        },
        Some("log") => {
            for line in 0_u64.. {
                let _ = writeln!(io::stderr(), "unruly: line {line}");
            }
        }
        Some("sleep") => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        Some("exit") => process::exit(1),
        _ => writeln!(client, "what?")?,
    }
    Ok(())
}
