//! Tries to open files it was not given, in stdio style, and sends a line on each: `NAME: denied: WHY` or `NAME: OPENED`. First as a
//! program does, by path through the standard library; that one asks the host only when there is a preopen to start from, so then
//! also as an attacker does, by calling `path_open` on every descriptor from 0 to 15 (`path_open FD PATH: …`).

use std::fmt::Display;
use std::fs::{self, File};

const PATHS: [&str; 6] = [
    "/etc/passwd",
    "/proc/self/environ",
    "../",
    "../../etc/passwd",
    "/",
    ".",
];

fn main() {
    for path in PATHS {
        report(&format!("open {path}"), File::open(path));
        report(&format!("read_dir {path}"), fs::read_dir(path));
    }
    for fd in 0..16 {
        for path in PATHS {
            // SAFETY: the path is valid for the call, and nothing is done with a descriptor that would come of it.
            let opened = unsafe { wasip1::path_open(fd, 0, path, 0, wasip1::RIGHTS_FD_READ, 0, 0) };
            report(
                &format!("path_open {fd} {path}"),
                opened.map_err(|errno| errno.name()),
            );
        }
    }
}

fn report<T, E: Display>(attempt: &str, result: Result<T, E>) {
    match result {
        Ok(_) => println!("{attempt}: OPENED"),
        Err(error) => println!("{attempt}: denied: {error}"),
    }
}
