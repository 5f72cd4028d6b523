//! Accepts, and takes memory until the host refuses some; then it says `grow: refused after N MiB` on standard error and aborts. Every
//! page it gets is written to, so that the host really has to find it. Sends nothing.

use std::arch::wasm32::memory_grow;
use std::process;

const PAGE: usize = 64 * 1024;
const PAGES_PER_MIB: usize = 16;

fn main() {
    let _connection = odd::connection();
    let mut mebibytes = 0;
    loop {
        let first = memory_grow::<0>(PAGES_PER_MIB);
        if first == usize::MAX {
            eprintln!("grow: refused after {mebibytes} MiB");
            process::abort();
        }
        mebibytes += 1;
        for page in first..first + PAGES_PER_MIB {
            // SAFETY: the page was just added to memory, and the allocator does not know of it.
            unsafe { ((page * PAGE) as *mut u8).write_volatile(1) };
        }
    }
}
