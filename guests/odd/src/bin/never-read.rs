//! Accepts, and sleeps on the clock for ever: the client may send what it likes, nobody reads it. Sends nothing.

use std::thread;
use std::time::Duration;

fn main() {
    let _connection = odd::connection();
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}
