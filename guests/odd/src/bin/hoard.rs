//! Opens a file over and over and keeps it, in stdio style, until it is refused; then it says how often, and why no more.

use std::fs::File;

fn main() {
    let mut kept = Vec::new();
    let refused = loop {
        match File::open("/data/file") {
            Ok(file) => kept.push(file),
            Err(error) => break error,
        }
    };
    println!("{} then {refused}", kept.len());
}
