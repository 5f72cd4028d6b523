//! Accepts, reads once, and executes `unreachable`. Sends nothing.

use std::io::Read;

fn main() {
    let mut connection = odd::connection();
    let _ = connection.read(&mut [0; 64]);
    std::arch::wasm32::unreachable();
}
