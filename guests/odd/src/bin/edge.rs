//! Looks over the end of its memory. Each line of its client is an order, and each answer a line: `mark B` fills a page of its own with the
//! byte B and says how many bytes of it were not 0 before (`mark: N`), `check B` counts those that are not B (`check: N`), `read OFFSET`
//! reads eight bytes that far from the end of memory (`read: B B B B B B B B`), `write OFFSET` writes eight there, each 0xEE (`write: done`),
//! `send OFFSET` asks the host to send eight from there, and `receive OFFSET` to put the client's next ones there (both `ERRNO` in a line).

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use wasip1::wasi_snapshot_preview1 as raw;

const PAGE: usize = 64 * 1024;

static mut OWN: [u8; PAGE] = [0; PAGE];

fn main() -> io::Result<()> {
    let connection = odd::connection();
    let mut orders = BufReader::with_capacity(64, connection);
    let mut order = String::new();
    while orders.read_line(&mut order)? > 0 {
        let (verb, operand) = order.trim_end().split_once(' ').unwrap_or_default();
        let operand: i64 = operand.parse().unwrap_or_default();
        let answer = answer(verb, operand, orders.get_ref());
        writeln!(orders.get_mut(), "{verb}: {answer}")?;
        order.clear();
    }
    Ok(())
}

fn answer(verb: &str, operand: i64, connection: &TcpStream) -> String {
    let byte = operand as u8;
    let fd = connection.as_raw_fd();
    let there = (std::arch::wasm32::memory_size::<0>() * PAGE) as i64 + operand;
    let vector = [there as i32, 8];
    let vector = (&raw const vector).expose_provenance() as i32;
    let mut results = [0_u32; 2];
    let result = (&raw mut results).expose_provenance() as i32;
    match verb {
        "mark" => {
            let before = count_other_than(0);
            let own = (&raw mut OWN).cast::<u8>();
            for at in 0..PAGE {
                // SAFETY: within the page.
                unsafe { own.add(at).write_volatile(byte) };
            }
            before.to_string()
        }
        "check" => count_other_than(byte).to_string(),
        "read" => {
            // SAFETY: none: this is what the host has to hold up.
            let read = |at: i64| unsafe { ((there + at) as *const u8).read_volatile() };
            let read: Vec<_> = (0..8).map(|at| read(at).to_string()).collect();
            read.join(" ")
        }
        "write" => {
            // SAFETY: none: this is what the host has to hold up.
            unsafe { (there as *mut u64).write_unaligned(0xEEEE_EEEE_EEEE_EEEE) };
            "done".into()
        }
        // SAFETY: only the host's view of memory is at stake.
        "send" => unsafe { raw::sock_send(fd, vector, 1, 0, result) }.to_string(),
        // SAFETY: as above.
        "receive" => unsafe { raw::sock_recv(fd, vector, 1, 0, result, result + 4) }.to_string(),
        other => format!("what is {other}?"),
    }
}

fn count_other_than(byte: u8) -> usize {
    let own = (&raw const OWN).cast::<u8>();
    // SAFETY: within the page.
    let at = |at| unsafe { own.add(at).read_volatile() };
    (0..PAGE).filter(|offset| at(*offset) != byte).count()
}
