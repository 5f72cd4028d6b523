//! Accepts, and computes for ever without a single call to the host. Sends nothing.

use std::hint;

fn main() {
    let _connection = odd::connection();
    loop {
        hint::spin_loop();
    }
}
